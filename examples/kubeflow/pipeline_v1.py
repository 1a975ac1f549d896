"""Metrics on the Runs page of Kubeflow Pipelines 1, in four ways. ``python pipeline_v1.py`` compiles the pipeline."""

from pathlib import Path
from typing import NamedTuple

from kfp import compiler, components, dsl
from kfp.components import OutputPath

IMAGE = "registry.example.com/digits:1.0-python3.11"  # a Kedro project and kedro-mlflow-metrics

# The first way: a program writes Kubeflow's file to the path of its output mlpipeline_metrics.
train = components.load_component_from_file(str(Path(__file__).with_name("component.yaml")))

# The second way: a shell exports the metrics of the MLflow run to the path of its output MLPipeline Metrics.
export = components.load_component_from_file(str(Path(__file__).with_name("shell.yaml")))


# The third way: a function returns the text of that file in a field mlpipeline_metrics.
def evaluate(labels: list, guesses: list) -> NamedTuple("Outputs", [("mlpipeline_metrics", "Metrics")]):  # noqa: F821 - Kubeflow's type
    from kedro_mlflow_metrics.kubeflow import to_json

    right = sum(label == guess for label, guess in zip(labels, guesses, strict=True))
    metrics = {"accuracy": right / len(labels), "mistakes": len(labels) - right}
    return (to_json(metrics, prefix="my_model_metrics", percentage=["*accuracy*"]),)


evaluate = components.create_component_from_func(evaluate, base_image=IMAGE)


# The fourth way: a function writes it to the path of its output, which kfp calls mlpipeline_metrics, without _path.
def measure(mlpipeline_metrics_path: OutputPath("Metrics")):
    from pathlib import Path

    from kedro_mlflow_metrics.kubeflow import to_json

    text = to_json({"accuracy-score": 0.9}, percentage="accuracy-score")
    Path(mlpipeline_metrics_path).write_text(text, encoding="utf-8")


measure = components.create_component_from_func(measure, base_image=IMAGE)


@dsl.pipeline(name="digits")
def digits():
    train()
    export()
    measure()
    evaluate(labels=[3, 8, 8, 1], guesses=[3, 8, 9, 1])


if __name__ == "__main__":
    compiler.Compiler().compile(digits, "pipeline_v1.yaml")
