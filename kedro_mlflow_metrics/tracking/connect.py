"""The one place where a store is chosen for an address of MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.tracking.address import safe_uri

if TYPE_CHECKING:
    from kedro_mlflow_metrics.tracking.address import Server, Store

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
        from kedro_mlflow_metrics.tracking.rest import RestStore

        if not urlsplit(server.uri).hostname:
            raise TrackingError(
                f"the address {safe_uri(server.uri)} names no server; correct it", TrackingError.UNUSABLE_ADDRESS
            )
        return RestStore(server, retries)
    from kedro_mlflow_metrics.tracking.client import ClientStore

    return ClientStore(server)
