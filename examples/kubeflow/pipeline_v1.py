"""Metrics on the Runs page of Kubeflow Pipelines 1, in two ways. ``python pipeline_v1.py`` compiles the pipeline."""

from pathlib import Path
from typing import NamedTuple

from kfp import compiler, components, dsl

IMAGE = "registry.example.com/digits:1.0-python3.11"  # a Kedro project and kedro-mlflow-metrics

# The first way: a program writes Kubeflow's file to the path of its output mlpipeline_metrics.
train = components.load_component_from_file(str(Path(__file__).with_name("component.yaml")))


# The second way: a function returns the text of that file in a field mlpipeline_metrics.
def evaluate(labels: list, guesses: list) -> NamedTuple("Outputs", [("mlpipeline_metrics", "Metrics")]):  # noqa: F821 - Kubeflow's type
    from kedro_mlflow_metrics.kubeflow import to_json

    right = sum(label == guess for label, guess in zip(labels, guesses, strict=True))
    metrics = {"accuracy": right / len(labels), "mistakes": len(labels) - right}
    return (to_json(metrics, prefix="my_model_metrics", percentage=["*accuracy*"]),)


evaluate = components.create_component_from_func(evaluate, base_image=IMAGE)


@dsl.pipeline(name="digits")
def digits():
    train()
    evaluate(labels=[3, 8, 8, 1], guesses=[3, 8, 9, 1])


if __name__ == "__main__":
    compiler.Compiler().compile(digits, "pipeline_v1.yaml")
