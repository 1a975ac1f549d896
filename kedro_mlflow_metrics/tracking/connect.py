"""The one place where a store is chosen for an address of MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kedro_mlflow_metrics import process
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.tracking.address import safe_uri, spelt_right

if TYPE_CHECKING:
    from kedro_mlflow_metrics.tracking.address import Server
    from kedro_mlflow_metrics.tracking.client import ClientStore
    from kedro_mlflow_metrics.tracking.store import Store

__all__ = ["open_store"]

_clients: process.Own[dict[str, ClientStore]] = process.Own(dict)  # by address: to open one takes a millisecond


def open_store(server: Server, *, retries: int = 0, create: bool = False) -> Store:
    """Return what talks to an address; `TrackingError` if it cannot work.

    Args:
        server: The address.
        retries: How often a request over http(s) is repeated.
        create: Whether a database file or folder that is not there is made, for a new run.
    """
    if not server.http:
        if right := spelt_right(server.uri):
            raise TrackingError(
                f"the address {server.safe} cannot work: http:// or https:// is missing or misspelt",
                f"write {safe_uri(right)} in tracking_uri in kedro_mlflow_metrics.yml or MLFLOW_TRACKING_URI",
                code=TrackingError.UNUSABLE_ADDRESS,
            )
        from kedro_mlflow_metrics.tracking.client import ClientStore

        known = _clients.value.get(server.uri)
        if known is None or known.failed or known.server.variables != server.variables:
            known = _clients.value[server.uri] = ClientStore(server, create=create)
        return known
    from kedro_mlflow_metrics.tracking.rest import RestStore

    if not urlsplit(server.uri).hostname:
        unusable = TrackingError.UNUSABLE_ADDRESS
        raise TrackingError(f"the address {server.safe} names no server", "correct it", code=unusable)
    return RestStore(server, retries)
