"""Kedro's spaceflights, with a modelling pipeline in two namespaces: one factory entry names the metrics of both."""

from __future__ import annotations

ENTRY = """
"{namespace}.metrics":
  type: kedro_mlflow_metrics.MlflowMetricsDataSet
"""
PIPELINES = """
import numpy as np
from kedro.pipeline import node, pipeline
from sklearn.linear_model import LinearRegression
from sklearn.metrics import max_error, mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split

def preprocess():
    random = np.random.default_rng(0)
    engines, passengers, review = random.random((3, 200))
    price = 1000 * engines + 500 * passengers + 100 * review + random.normal(0, 5, 200)
    return {"engines": engines, "passenger_capacity": passengers, "review_scores_rating": review, "price": price}

def split_data(table, options):
    features = np.column_stack([table[name] for name in options["features"]])
    return train_test_split(features, table["price"], test_size=options["test_size"], random_state=3)

def train_model(x, y):
    return LinearRegression().fit(x, y)

def evaluate_model(regressor, x, y):
    guess = regressor.predict(x)
    return {"r2_score": r2_score(y, guess), "mae": mean_absolute_error(y, guess), "max_error": max_error(y, guess)}

def modelling(namespace):
    return pipeline(
        [
            node(split_data, ["model_input_table", "params:model_options"], ["x_train", "x_test", "y_train", "y_test"]),
            node(train_model, ["x_train", "y_train"], "regressor"),
            node(evaluate_model, ["regressor", "x_test", "y_test"], "metrics"),
        ],
        namespace=namespace,
        inputs={"model_input_table"},
    )

def register_pipelines():
    table = pipeline([node(preprocess, None, "model_input_table")])
    return {"__default__": table + modelling("active_modelling_pipeline") + modelling("candidate_modelling_pipeline")}
"""
PARAMETERS = """
active_modelling_pipeline:
  model_options: {test_size: 0.2, features: [engines, passenger_capacity, review_scores_rating]}
candidate_modelling_pipeline:
  model_options: {test_size: 0.2, features: [engines]}
"""


def test_two_lines_of_yaml(project):
    """They give each namespace its metrics, by its name; the better model has the better score."""
    project.catalog(ENTRY)
    project.pipeline(PIPELINES)
    project.write("conf/base/parameters.yml", PARAMETERS)
    project.kedro("run")
    points = project.store.points()
    assert set(points) == {
        f"{namespace}.metrics.{name}"
        for namespace in ("active_modelling_pipeline", "candidate_modelling_pipeline")
        for name in ("r2_score", "mae", "max_error")
    }
    ((_, active),) = points["active_modelling_pipeline.metrics.r2_score"]
    ((_, candidate),) = points["candidate_modelling_pipeline.metrics.r2_score"]
    assert candidate < 0.9 < active <= 1
