"""Runs that files hold, made in MLflow once, however often that is tried and wherever a try ended."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from kedro_mlflow_metrics.delivery.sender import Sender
from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.errors import MetricsError
from kedro_mlflow_metrics.points import archive
from kedro_mlflow_metrics.points.forms import unclamped
from kedro_mlflow_metrics.tracking import runs
from kedro_mlflow_metrics.tracking.connect import open_store
from kedro_mlflow_metrics.tracking.store import OLDEST_FIRST, RunInfo, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from kedro_mlflow_metrics.delivery.read import Snapshot
    from kedro_mlflow_metrics.journal.folder import Journal
    from kedro_mlflow_metrics.points.archive import Archived
    from kedro_mlflow_metrics.points.curves import Curve, MetricPoint
    from kedro_mlflow_metrics.tracking.address import Server
    from kedro_mlflow_metrics.tracking.store import Store

__all__ = ["IMPORT_TAG", "Import", "described", "look", "make"]

IMPORT_TAG = "kedro_mlflow_metrics.imported_from"
_MOST_PARAMS = 100  # that MLflow takes in one request


def described(run: Snapshot) -> tuple[str, Sequence[Mapping[str, str]]]:
    """Return what an export says of a run besides its metrics: the id by which imports know it, tags and parameters.

    An imported run has the id of the one that it comes from, so that it is the same run wherever it is moved.
    """
    here: tuple[dict[str, str], dict[str, str]] = (dict(run.target.record.tags), {})
    tags, params = here if run.away else open_store(run.target.server).described(run.run_id)
    tags.pop("mlflow.runName", None)  # its name, which MLflow notes twice
    return tags.pop(IMPORT_TAG, run.run_id), (tags, params)


def files_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield files as they are, and of each folder those of the versions in it, the oldest first."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        files = sorted(filter(_version, path.rglob("*")), key=lambda file: (_version(file), file))
        if not files:
            kept = "metrics.json/2026-11-24T22.03.15.123Z/metrics.json"
            raise MetricsError(
                f"{path}: there is no version in it, as in {kept}", "name the files of an export one by one"
            )
        yield from files


def _version(file: Path) -> str:
    """Return of which version of a dataset a file is, as Kedro lays them out; empty if of none."""
    folder = file.absolute().parent
    kept = folder.parent.name == file.name and archive.is_version(folder.name) and file.is_file()
    return folder.name if kept else ""


def read(file: Path, prefix: str, *, numbers: bool) -> tuple[Archived, Mapping[str, str]]:
    """Read a file and check all of it.

    Args:
        file: One of `files_in`.
        prefix: What stands before the names of a version, separator included.
        numbers: Whether what is no number in a version is left out instead of refused.

    Returns:
        The run, or what this file has of the run of its version; and by key the names that MLflow does not take.
    """
    version = _version(file)
    try:
        text = file.read_bytes()
    except OSError as exc:
        raise MetricsError(f"it cannot be read: {exc.strerror}") from exc
    if not version:
        return archive.exported(text), {}
    found = archive.tracked(text, version, prefix, numbers=numbers)
    renamed = {curve.key: name for name, curve in found.items() if curve.key != prefix + name}
    return archive.of_version(version, list(found.values())), renamed


class Import(NamedTuple):
    """What is to be done for a run that files hold.

    Attributes:
        run: The run.
        known: The same in MLflow, None if it is not there.
        left: The points that MLflow lacks.
        whole: Whether nothing is to be done.
    """

    run: Archived
    known: RunInfo | None
    left: Sequence[Curve]
    whole: bool


def look(server: Server, experiment_id: str, run: Archived) -> Import:
    """Find out what an experiment has of a run; nothing is written. An empty id is that of an experiment to be made."""
    store = open_store(server) if experiment_id else None
    found = _find(store, experiment_id, run.ident) if store else None
    if store is None or found is None:
        return Import(run, None, run.curves, whole=False)
    info, latest = found
    if info.lifecycle_stage == "deleted":
        restore = f"restore it with 'mlflow runs restore --run-id {info.run_id}'"
        raise MetricsError(f"it is there as run {info.run_id}, which is deleted", restore)
    if info.run_id == run.ident:  # the run itself, which may have gone on since
        return Import(run, info, [], whole=True)
    at = {point.key: _spelt(point) for point in latest}
    left = []
    for curve in run.curves:
        if curve.key not in at:
            left.append(curve)
        elif at[curve.key] not in map(_spelt, curve[-1:]):
            left.append(_rest(store, info.run_id, curve))
    left = list(filter(len, left))
    return Import(run, info, left, whole=not left and info.status == run.status)


def _find(store: Store, experiment_id: str, ident: str) -> tuple[RunInfo, list[MetricPoint]] | None:
    """Return the run itself or the one that was imported from it, a deleted one only if there is no other."""
    found = [
        each
        for name in ("attributes.run_id", f"tags.`{IMPORT_TAG}`")
        for each in store.search(experiment_id, f"{name} = {quoted(ident)}", OLDEST_FIRST, deleted=True)
    ]
    return min(found, key=lambda each: each[0].lifecycle_stage == "deleted", default=None)


def _rest(store: Store, run_id: str, curve: Curve) -> Curve:
    """Return the points that are not there, unless another stands in the place of one."""
    there, ours = (set(map(_spelt, points)) for points in (store.history(run_id, curve.key), curve))
    if {(step, time) for step, time, _ in there - ours} & {(step, time) for step, time, _ in ours - there}:
        other = f"run {run_id} has another {curve.key!r} at the same step and time"
        raise MetricsError(other, "if it is of another file, give one of the two another --prefix")
    return curve.only([_spelt(point) not in there for point in curve])


def _spelt(point: MetricPoint) -> tuple[int, int, str]:
    """Return a point as it may be compared: NaN is not equal to itself."""
    return point.step, point.timestamp, repr(unclamped(point.value))


def make(server: Server, journal: Journal, experiment_id: str, what: Import) -> Iterator[int]:
    """Make the run or complete it, yielding numbers of points as MLflow answers for them; its end comes last.

    What is left after a `TrackingError` is made by another try: until then the run is RUNNING.
    """
    run, info = what.run, what.known
    if info is None:
        wanted = RunInfo("", experiment_id, run.name, start_time=run.start_time)
        info = runs.find_or_create(server, wanted, {**run.tags, IMPORT_TAG: run.ident}, IMPORT_TAG, new=False)
    for sent in Sender(Target.of(server, journal, info)).send(what.left, strict=True):
        yield sent.points
    store, params = open_store(server), iter(run.params.items())
    while some := dict(islice(params, _MOST_PARAMS)):
        store.log_params(info.run_id, some)
    store.end_run(info.run_id, run.status, run.end_time)
