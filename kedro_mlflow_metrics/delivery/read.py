"""The one way back: the points of a run, from MLflow and from the journal where some still wait."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.delivery.clock import flush
from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.journal.points_file import waiting_points
from kedro_mlflow_metrics.journal.session import notes_in
from kedro_mlflow_metrics.points.forms import last_finite, later, unclamped
from kedro_mlflow_metrics.tracking.connect import open_store
from kedro_mlflow_metrics.tracking.store import NEWEST_FIRST, RunInfo, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from kedro_mlflow_metrics.journal.folder import Journal, Record, RunFolder
    from kedro_mlflow_metrics.points.curves import MetricPoint
    from kedro_mlflow_metrics.tracking.address import Server
    from kedro_mlflow_metrics.tracking.store import Found, Store

__all__ = ["Snapshot", "in_journal", "last_points", "latest_of", "load", "run_before", "snapshots"]

_RETRIES = 3


@dataclass(frozen=True)
class Snapshot:
    """A run as it stood when it was looked at."""

    target: Target
    run_id: str  # MLflow's, or the local one of a run that MLflow does not have yet
    name: str
    status: str  # RUNNING, FINISHED, FAILED or KILLED
    start_time: int  # in milliseconds since the epoch
    end_time: int  # the same; 0 while it goes on
    latest: Mapping[str, MetricPoint]  # of each key, points that wait included
    away: bool = False  # whether only the journal was looked at

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The latest value of each key, in the order of the keys."""
        return {key: unclamped(self.latest[key].value) for key in sorted(self.latest)}


def snapshots(server: Server, journal: Journal, found: Found, known: Iterable[Snapshot]) -> list[Snapshot]:
    """Return runs as MLflow has found them, with what waits of them.

    Args:
        server: Where they are.
        journal: Where their points wait.
        found: What MLflow said.
        known: What `in_journal` returned before MLflow was asked: what has left the journal since is in MLflow.
    """
    waiting = {each.run_id: each.latest.values() for each in known}
    common = Target.of(server, journal, RunInfo("")).record  # once: it looks at the disk
    seen = []
    for info, points in found:
        latest = {point.key: point for point in points}
        _add(latest, waiting.get(info.run_id, ()))
        target = Target.of(server, journal, info, common)
        times = info.start_time, info.end_time
        seen.append(Snapshot(target, info.run_id, info.run_name, info.status, *times, latest))
    return seen


def in_journal(server: Server, journal: Journal) -> list[Snapshot]:
    """Return the runs of an address that the journal knows, as they stand there."""
    known: dict[str, list[tuple[RunFolder, Record]]] = defaultdict(list)
    for folder, record in journal.runs_at(server.portable(journal.base)):
        known[record.shown].append((folder, record))
    seen = []
    for run_id, found in known.items():
        latest: dict[str, MetricPoint] = {}
        folders, (_, record) = [folder for folder, _ in found], found[0]
        _add(latest, chain.from_iterable(curve for folder in folders for curve in waiting_points(folder)))
        status, end_time = _state(folders)
        times = record.start_time, end_time
        seen.append(Snapshot(Target(server, journal, record), run_id, record.name, status, *times, latest, away=True))
    return seen


def _state(folders: Iterable[RunFolder]) -> tuple[str, int]:
    """Return the status of a run and its end, as far as its sessions have noted them."""
    owners = [(folder, each) for folder in folders for each in notes_in(folder) if each.note.owner]
    for _, each in owners:
        if each.note.status:
            return each.note.status, each.note.end_time
    if owners and all(each.killed for _, each in owners):
        return "KILLED", max(folder.last_write for folder, _ in owners)
    return "RUNNING", 0


def _add(latest: dict[str, MetricPoint], points: Iterable[MetricPoint]) -> None:
    """Add points to the latest of each key."""
    for point in points:
        latest[point.key] = later(latest.get(point.key), point)


def load(
    target: Target, wanted: Callable[[str], bool], *, last: bool = False, patient: bool = False, away: bool = False
) -> Iterator[tuple[str, Iterable[MetricPoint]]]:
    """Yield the wanted keys in order, each with its points: one key's at a time, so that few are held at once.

    The journal is read first: what leaves it meanwhile is in MLflow by then, and what is in both is one point.

    Args:
        target: The run.
        wanted: Tells which keys are.
        last: Whether only the latest point of each is asked for.
        patient: Whether MLflow is asked again, as in a pipeline; who waits at a prompt is told at once.
        away: Whether MLflow is known not to answer, and the journal is to be enough.
    """
    flush(target)
    waiting: dict[str, set[MetricPoint]] = {}
    for curve in chain.from_iterable(map(waiting_points, target.folders())):
        if wanted(curve.key):
            waiting.setdefault(curve.key, set()).update(curve)
    latest: dict[str, MetricPoint] = {}
    histories: Iterator[Iterable[MetricPoint]] = iter(())
    if not away and target.look():
        store = open_store(target.server, retries=_RETRIES if patient else 0)
        latest = {point.key: point for point in store.get_run(target.record.run_id)[1] if wanted(point.key)}
        keys = sorted(latest)
        histories = ([latest[key]] for key in keys) if last else _histories(store, target.record.run_id, keys)
    for key in sorted({*latest, *waiting}):
        history = next(histories) if key in latest else []
        yield key, waiting[key].union(history) if key in waiting else history


def run_before(target: Target, pipeline: str) -> dict[str, float]:
    """Return the latest values of the last run of the same pipeline that finished before this one began."""
    name = quoted(pipeline)
    if not name:
        return {}
    where = f"tags.`kedro.pipeline` = {name} AND attributes.status = 'FINISHED'"
    where += f" AND attributes.start_time < {target.record.start_time}"
    found = open_store(target.server).search(target.record.experiment_id, where, NEWEST_FIRST, 1)
    return {point.key: unclamped(point.value) for _, points in found for point in points}


def latest_of(target: Target) -> dict[str, MetricPoint] | None:
    """Return the latest point of each metric that MLflow has of a run; None if it does not answer."""
    try:
        return {point.key: point for point in open_store(target.server).get_run(target.record.run_id)[1]}
    except TrackingError:
        return None


def _histories(store: Store, run_id: str, keys: list[str]) -> Iterator[Iterable[MetricPoint]]:
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
