"""Metrics on the run page of Kubeflow Pipelines 2, in two ways.

``python pipeline_v2.py`` compiles the pipeline, then runs its second component here, without a cluster.
"""

from kfp import compiler, dsl, local

IMAGE = "registry.example.com/digits:1.0-python3.11"  # a Kedro project, kedro-mlflow-metrics and kfp


# The first way: any program; a command hands the metrics of its MLflow run to Kubeflow.
@dsl.container_component
def train(metrics: dsl.Output[dsl.Metrics]):  # noqa: ARG001 - declares the output
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["sh", "-c"],
        args=[
            'kedro run && kedro metrics export latest --format kubeflow-v2 --executor-input "$0" --output-name metrics',
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        ],
    )


# The second way: a Python function; log_metrics takes whatever a Kedro node may return.
@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(labels: list, guesses: list, metrics: dsl.Output[dsl.Metrics]):
    from kedro_mlflow_metrics.kubeflow import log_metrics

    right = sum(label == guess for label, guess in zip(labels, guesses, strict=True))
    log_metrics({"accuracy": right / len(labels), "mistakes": len(labels) - right}, metrics, prefix="my_model_metrics")


@dsl.pipeline(name="digits")
def digits():
    train()
    evaluate(labels=[3, 8, 8, 1], guesses=[3, 8, 9, 1])


if __name__ == "__main__":
    compiler.Compiler().compile(digits, "pipeline_v2.yaml")

    local.init(local.SubprocessRunner(use_venv=False))
    task = evaluate(labels=[3, 8, 8, 1], guesses=[3, 8, 9, 1])
    for name, value in sorted(task.outputs["metrics"].metadata.items()):
        print(name, value)
