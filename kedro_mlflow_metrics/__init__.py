"""Return a dict from a Kedro node; find its metrics in MLflow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from kedro_mlflow_metrics.dataset import MlflowMetricsDataSet, MlflowMetricsDataset
    from kedro_mlflow_metrics.hook import MlflowPipelineHook
    from kedro_mlflow_metrics.runs.preview import compare

__all__ = ["MlflowMetricsDataSet", "MlflowMetricsDataset", "MlflowPipelineHook", "__version__", "compare"]

_HOMES = {
    "MlflowMetricsDataSet": "dataset",
    "MlflowMetricsDataset": "dataset",
    "MlflowPipelineHook": "hook",
    "compare": "runs.preview",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: the type depends on the name
    """Import a public name when it is first asked for: a bare import loads no Kedro."""
    if name == "__version__":
        from importlib.metadata import version

        return version("kedro-mlflow-metrics")
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
