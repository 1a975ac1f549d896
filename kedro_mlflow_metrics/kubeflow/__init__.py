"""Metrics for Kubeflow Pipelines; a component needs `to_json` or `log_metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedro_mlflow_metrics.kubeflow.v1 import log_metrics, to_json

__all__ = ["log_metrics", "to_json"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: the type depends on the name
    """Import a public name when it is first asked for."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from kedro_mlflow_metrics.kubeflow import v1

    return getattr(v1, name)
