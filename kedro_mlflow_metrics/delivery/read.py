"""Reads the points of a run back: what MLflow has, and what still waits in the journal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.delivery.clock import flush
from kedro_mlflow_metrics.journal.folder import folder_of
from kedro_mlflow_metrics.journal.points_file import waiting_points
from kedro_mlflow_metrics.tracking.connect import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kedro_mlflow_metrics.journal.folder import Record
    from kedro_mlflow_metrics.points.curves import MetricPoint
    from kedro_mlflow_metrics.tracking.address import Server, Store

__all__ = ["load"]


def load(
    server: Server, record: Record, wanted: Callable[[str], bool], *, last: bool = False
) -> Iterator[tuple[str, Iterable[MetricPoint]]]:
    """Yield the wanted keys in order, each with its points: one key's at a time, so that few are held at once.

    The journal is read first: what leaves it meanwhile is in MLflow by then, and what is in both is one point.

    Args:
        server: Where the run lives.
        record: The run.
        wanted: Tells whether a key is asked for.
        last: Whether the latest points of MLflow will do: one request in all.

    Raises:
        TrackingError: MLflow refused, or does not answer.
    """
    flush(server, record)
    waiting: dict[str, set[MetricPoint]] = {}
    for points in waiting_points(folder_of(server.delivery, record)):
        if wanted(points.key):
            waiting.setdefault(points.key, set()).update(points)
    latest: dict[str, MetricPoint] = {}
    histories: Iterator[list[MetricPoint]] = iter(())
    if record.run_id:
        store = open_store(server)
        latest = {point.key: point for point in store.get_run(record.run_id)[1] if wanted(point.key)}
        keys = sorted(latest)
        histories = ([latest[key]] for key in keys) if last else _histories(store, record.run_id, keys)
    for key in sorted({*latest, *waiting}):
        history = next(histories) if key in latest else []
        yield key, waiting[key].union(history) if key in waiting else history


def _histories(store: Store, run_id: str, keys: list[str]) -> Iterator[list[MetricPoint]]:
    """Yield all points of each key; MLflow has no request for several, so some are asked for at a time."""
    if store.at_a_time == 1 or len(keys) < 2:  # noqa: PLR2004 - one needs no thread
        yield from (store.history(run_id, key) for key in keys)
        return
    with ThreadPoolExecutor(store.at_a_time, "kedro-mlflow-metrics-load") as pool:
        yield from pool.map(partial(store.history, run_id), keys)
