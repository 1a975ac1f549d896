"""The one place where a store is chosen for an address of MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro_mlflow_metrics.server import Server, Store

__all__ = ["open_store"]


def open_store(server: Server, *, retries: int = 3) -> Store:
    """Return what talks to an address.

    Args:
        server: The address.
        retries: How often a request over http(s) is repeated when nobody answers.

    Raises:
        TrackingError: The address can never work, or nobody answers there.
    """
    if server.uri.startswith(("http://", "https://")):
        from kedro_mlflow_metrics.rest import RestStore

        return RestStore(server, retries)
    from kedro_mlflow_metrics.client import ClientStore

    return ClientStore(server)
