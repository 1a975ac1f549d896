"""Metrics for Kubeflow Pipelines; a component needs `to_json` or `log_metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedro_mlflow_metrics.points.curves import MetricPoint

__all__ = ["log_metrics", "to_json"]


def to_json(data: object, *, prefix: str = "", **options: Any) -> str:  # noqa: ANN401 - the fields of `Options`
    """Return KFP's v1 metrics file for metrics as a node returns them.

    A component writes it to the path of its output ``mlpipeline_metrics``, or returns it under that name.

    Args:
        data: What ``MlflowMetricsDataSet.save`` takes: a dict of metric name to value, or several.
        prefix: What stands before each name; a dot is put between.
        options: ``percentage``, ``raw``, ``order`` and ``names``, see `kedro_mlflow_metrics.kubeflow.v1.Options`.

    Raises:
        InvalidMetricsError: The data is not metrics.
        SettingsError: An option that is not accepted.
    """
    from kedro_mlflow_metrics.kubeflow.v1 import Manner, document, read_options, warn_left_out

    manner = Manner(read_options(options, "to_json"), f"{prefix}.")
    made = document(_last_points(data, prefix), lambda _: manner)
    warn_left_out(made.without_value, made.left_out)
    return made.text


def log_metrics(data: object, output: Any, *, prefix: str = "") -> None:  # noqa: ANN401 - kfp.dsl.Output[Metrics]
    """Put metrics into a v2 ``Output[Metrics]`` inside a component, each as its last finite value.

    Kubeflow fails the task for a value that is no finite number: those are left out with a warning.

    Args:
        data: What ``MlflowMetricsDataSet.save`` takes: a dict of metric name to value, or several.
        output: The artifact; its ``metadata`` is added to.
        prefix: What stands before each name; a dot is put between.

    Raises:
        InvalidMetricsError: The data is not metrics; nothing is added.
    """
    from kedro_mlflow_metrics.kubeflow.v2 import metadata

    output.metadata.update(metadata(_last_points(data, prefix)))


def _last_points(data: object, prefix: str) -> dict[str, MetricPoint | None]:
    """Return the last finite point of each metric."""
    from collections.abc import Iterator

    from kedro_mlflow_metrics.points.forms import latest
    from kedro_mlflow_metrics.points.stamp import Progress, is_list, to_curves

    progress, dotted = Progress(), f"{prefix}." if prefix else ""
    several = data if is_list(data) or isinstance(data, Iterator) else (data,)
    return latest(curve for item in several for curve in to_curves(item, prefix=dotted, now=0, progress=progress))
