"""Which runs somebody means who reads: by their ids, names or age, also runs that only the journal has so far."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.delivery.read import in_journal, snapshots
from kedro_mlflow_metrics.delivery.target import JOURNAL_TAG
from kedro_mlflow_metrics.errors import MetricsError, NotThereError, TrackingError, counted
from kedro_mlflow_metrics.tracking import runs
from kedro_mlflow_metrics.tracking.store import NEWEST_FIRST, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_mlflow_metrics.delivery.read import Snapshot
    from kedro_mlflow_metrics.delivery.target import Target
    from kedro_mlflow_metrics.project.binding import Binding

__all__ = ["LAST_TWO", "LATEST", "named", "newest", "recent", "several"]

log = logging.getLogger("kedro.mlflow_metrics")
LATEST = "latest"
LAST_TWO = (f"{LATEST}~1", LATEST)  # what is compared where nobody says what
_AGO = re.compile(rf"{LATEST}(?:~(\d{{1,4}}))?")
_ID, _START = re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f]{6,31}")
_LOOKED_AT, _SHOWN = 50, 3


def named(here: Binding, run: str) -> Target:
    """Return the run that a command names. Raises `MetricsError` if there is none, or more than one."""
    return several(here, [run])[0].target


def several(here: Binding, names: Sequence[str], experiment: str = "") -> list[Snapshot]:
    """Return the runs that a command names, each by one request and those of ``latest`` by one for all.

    Args:
        here: The project.
        names: Each is an id, at least 6 characters with which one begins, a name, ``latest``, or ``latest~1`` for the
            run before that.
        experiment: Another experiment than the project's.

    Raises:
        MetricsError: There is no such run, or more than one.
    """
    ages = {name: int(ago[1] or 0) for name in names if (ago := _AGO.fullmatch(name))}
    last = recent(here, max(ages.values()) + 1, experiment=experiment) if ages else []
    for name, age in ages.items():
        if age >= len(last):
            raise _nothing(here, f" {name!r}, but {counted(len(last), 'run')}," if last else "", experiment)
    return [last[ages[name]] if name in ages else _one(here, name, experiment) for name in names]


def _one(here: Binding, run: str, experiment: str) -> Snapshot:
    """Return the run of an id, of the start of one, or of a name."""
    journal = in_journal(here.server, here.journal)
    exact = [each for each in journal if run in _ids(each)]
    if exact:
        return _as_mlflow_has_it(here, exact[0])
    if _ID.fullmatch(run):
        return _by_id(here, run, experiment)
    named = [each for each in journal if each.name == run and _is_of(here, each, experiment)]
    kinds = [(named, f"attributes.run_name = {quoted(run)}" if quoted(run) else "")]
    if _START.fullmatch(run):
        begin = [each for each in journal if any(ident.startswith(run) for ident in _ids(each))]
        kinds.insert(0, (begin, f"attributes.run_id LIKE '{run}%'"))
    for waiting, where in kinds:
        found = _candidates(here, waiting, where, experiment)
        if len(found) > 1:
            some = ", ".join(each.run_id for each in found[:_SHOWN])
            reason = f"{len(found)} runs in {here.server.where} are {run!r}"
            raise MetricsError(reason, f"give more of the id: {some}{', ...' if len(found) > _SHOWN else ''}")
        if found:
            return _as_mlflow_has_it(here, found[0])
    name = _experiment(here, experiment)[1]
    raise NotThereError(
        f"{here.server.where} has no run {run!r}: accepted are an id, at least 6 characters with which one begins, "
        f"'latest', 'latest~1', or the name of a run in experiment {name!r}",
        f"list them with '{here.journal.command('runs')}'",
    )


def _ids(each: Snapshot) -> tuple[str, ...]:
    return tuple(filter(None, (each.target.record.run_id, each.target.record.local_id)))


def _by_id(here: Binding, run: str, experiment: str) -> Snapshot:
    """Return the run of an id, also of the local one under which it began while MLflow did not answer."""
    try:
        seen = runs.found(here.server, run)
    except TrackingError as exc:
        if exc.outage or exc.code == TrackingError.UNUSABLE_ADDRESS:
            raise
        by_tag = _candidates(here, [], f"tags.`{JOURNAL_TAG}` = '{run}'", experiment)
        if not by_tag:
            raise
        return by_tag[0]
    return snapshots(here.server, here.journal, [seen], [])[0]  # the journal has nothing of it


def _as_mlflow_has_it(here: Binding, known: Snapshot) -> Snapshot:
    """Return a run of the journal as it stands in MLflow, if that has it and answers."""
    if not known.away or known.target.offline:
        return known
    try:
        return snapshots(here.server, here.journal, [runs.found(here.server, known.run_id)], [known])[0]
    except TrackingError as exc:
        if not exc.outage:
            raise
        _warn(exc)
        return known


def _candidates(here: Binding, waiting: Sequence[Snapshot], where: str, experiment: str) -> list[Snapshot]:
    """Return these runs of the journal, and those that MLflow's expression chooses."""
    found: list[Snapshot] = []
    try:
        if where:
            seen = runs.search(here.server, *_experiment(here, experiment), _LOOKED_AT, where=where)
            found = snapshots(here.server, here.journal, seen, waiting)
    except TrackingError as exc:
        if not waiting or not exc.outage:
            raise
        _warn(exc)
    known = {each.run_id for each in found}
    return [*found, *(each for each in waiting if each.run_id not in known)]


def _is_of(here: Binding, each: Snapshot, experiment: str) -> bool:
    """Tell whether a run of the journal belongs to the experiment that is looked at."""
    ident, name = _experiment(here, experiment)
    record = each.target.record
    if not ident or not record.experiment_id:
        return record.experiment == name  # a run that MLflow does not have yet knows no more
    return record.experiment_id == ident


def newest(here: Binding, owns: Callable[[str], bool] | None = None) -> Target:
    """Return the run of the project's experiment that started last, also one that waits in the journal.

    Args:
        here: The project.
        owns: Tells which keys count: the run is then the newest of the last 50 that has a metric with such a key.

    Raises:
        MetricsError: There is none.
    """
    for each in recent(here, _LOOKED_AT if owns else 1):
        if owns is None or any(map(owns, each.latest)):
            return each.target
    raise _nothing(here, "" if owns is None else f" with metrics of this entry among the last {_LOOKED_AT}")


def _nothing(here: Binding, what: str, experiment: str = "") -> NotThereError:
    where = f"experiment {_experiment(here, experiment)[1]!r} in {here.server.where}"
    return NotThereError(f"there is no run{what} in {where}", "log one, or name a run")


def recent(
    here: Binding, most: int, *, experiment: str = "", where: str = "", order: str = NEWEST_FIRST
) -> list[Snapshot]:
    """Return runs of the experiment by two requests, also those that only the journal has so far.

    Args:
        here: The project.
        most: How many.
        experiment: Another experiment than the project's.
        where: MLflow's expression for those that are wanted, which chooses none from the journal.
        order: MLflow's expression for their order; those from the journal follow it, beyond so many.
    """
    server, journal = here.server, here.journal
    ident, name = _experiment(here, experiment)
    known = in_journal(server, journal)
    waiting = [] if where else [each for each in known if _is_of(here, each, experiment)]
    try:
        found = snapshots(server, journal, runs.search(server, ident, name, most, where=where, order=order), known)
        new = [each for each in waiting if each.target.offline]
    except TrackingError as exc:
        if not waiting or not exc.outage:
            raise
        _warn(exc)
        found, new = [], waiting
    if order != NEWEST_FIRST:
        return [*found, *new]
    return sorted([*found, *new], key=lambda each: each.start_time, reverse=True)[:most]


def _experiment(here: Binding, experiment: str) -> tuple[str, str]:
    """Return id and name of the experiment that is looked at."""
    return ("", experiment) if experiment else runs.asked_for(here.server, here.experiment)


def _warn(trouble: TrackingError) -> None:
    log.warning("%s; seen is only what waits in the journal", trouble.reason)
