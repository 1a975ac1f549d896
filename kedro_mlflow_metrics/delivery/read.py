"""The one way back: the points of a run, from MLflow and from the journal where some still wait."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.delivery.clock import flush
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.journal.points_file import waiting_points
from kedro_mlflow_metrics.points.forms import last_finite
from kedro_mlflow_metrics.tracking.connect import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kedro_mlflow_metrics.delivery.target import Target
    from kedro_mlflow_metrics.points.curves import MetricPoint
    from kedro_mlflow_metrics.tracking.store import Store

__all__ = ["has_points", "last_points", "load"]

_RETRIES = 3


def load(
    target: Target, wanted: Callable[[str], bool], *, last: bool = False, patient: bool = False
) -> Iterator[tuple[str, Iterable[MetricPoint]]]:
    """Yield the wanted keys in order, each with its points: one key's at a time, so that few are held at once.

    The journal is read first: what leaves it meanwhile is in MLflow by then, and what is in both is one point.
    A pipeline is ``patient`` and asks again; who waits at a prompt is told at once.
    """
    flush(target)
    waiting: dict[str, set[MetricPoint]] = {}
    for curve in chain.from_iterable(map(waiting_points, target.folders())):
        if wanted(curve.key):
            waiting.setdefault(curve.key, set()).update(curve)
    latest: dict[str, MetricPoint] = {}
    histories: Iterator[list[MetricPoint]] = iter(())
    if target.look():
        store = open_store(target.server, retries=_RETRIES if patient else 0)
        latest = {point.key: point for point in store.get_run(target.record.run_id)[1] if wanted(point.key)}
        keys = sorted(latest)
        histories = ([latest[key]] for key in keys) if last else _histories(store, target.record.run_id, keys)
    for key in sorted({*latest, *waiting}):
        history = next(histories) if key in latest else []
        yield key, waiting[key].union(history) if key in waiting else history


def has_points(target: Target) -> bool:
    """Tell whether MLflow has a point of a run, as far as it answers."""
    try:
        return bool(open_store(target.server).get_run(target.record.run_id)[1])
    except TrackingError:
        return True


def _histories(store: Store, run_id: str, keys: list[str]) -> Iterator[list[MetricPoint]]:
    """Yield all points of each key; MLflow has no request for several, so some are asked for at a time."""
    if store.at_a_time == 1 or len(keys) < 2:  # noqa: PLR2004 - one needs no thread
        yield from (store.history(run_id, key) for key in keys)
        return
    with ThreadPoolExecutor(store.at_a_time, "kedro-mlflow-metrics-load") as pool:
        yield from pool.map(partial(store.history, run_id), keys)


def last_points(
    target: Target, wanted: Callable[[str], bool], *, patient: bool = False
) -> dict[str, MetricPoint | None]:
    """Return the last finite point of each wanted key, None where there is none.

    MLflow gives the latest points in one request; only where such a one is not finite the history is asked for.
    """
    found = {key: last_finite(points) for key, points in load(target, wanted, last=True, patient=patient)}
    missing = {key for key, point in found.items() if point is None}
    if missing:
        histories = load(target, missing.__contains__, patient=patient)
        found |= {key: last_finite(points) for key, points in histories}
    return found
