"""Where the points of a dataset go: a new destination is a file of its own, and a line here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.delivery.stream import MlflowSink
from kedro_mlflow_metrics.views.terminal import reporting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kedro_mlflow_metrics.delivery.stream import Sink
    from kedro_mlflow_metrics.kubeflow.v1 import Manner
    from kedro_mlflow_metrics.project.binding import Binding

__all__ = ["sinks_of"]


def sinks_of(binding: Binding, filepath: Path | None, manner: Callable[[], Manner]) -> list[Sink]:
    """Return the destinations: MLflow, Kubeflow's file if the entry names one, and what a run ends with on a terminal.

    Args:
        binding: What is known of the dataset.
        filepath: Where Kubeflow's file is written.
        manner: Returns how the dataset's metrics stand in it.
    """
    sinks: list[Sink] = [MlflowSink(partial(reporting, binding.plain_prefix or "metrics"))]
    if filepath is not None and binding.enabled:
        from kedro_mlflow_metrics.kubeflow.metrics_file import MetricsFile

        sinks.append(MetricsFile(filepath, manner()))
    if binding.summed_up:
        from kedro_mlflow_metrics.runs.summary import CurvesOfRuns

        sinks.append(CurvesOfRuns())
    return sinks
