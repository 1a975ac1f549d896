"""Which runs somebody means who reads: by their ids, names or age, also runs that only the journal has so far."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.delivery.read import in_journal, snapshots
from kedro_mlflow_metrics.errors import MetricsError, NotThereError, TrackingError, counted
from kedro_mlflow_metrics.tracking import runs
from kedro_mlflow_metrics.tracking.store import NEWEST_FIRST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_mlflow_metrics.delivery.read import Snapshot
    from kedro_mlflow_metrics.delivery.target import Target
    from kedro_mlflow_metrics.project.binding import Binding

__all__ = ["LATEST", "named", "newest", "recent", "several"]

log = logging.getLogger("kedro.mlflow_metrics")
LATEST = "latest"
_AGO = re.compile(rf"{LATEST}(?:~(\d{{1,4}}))?")
_ID, _START = re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f]{6,31}")
_LOOKED_AT = 50


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
    known = [each for each in in_journal(here.server, here.journal) if _is(each, run)]
    if len(known) > 1:
        raise MetricsError(f"{len(known)} runs in the journal are {run!r}", _more(known))
    if known and known[0].target.offline:
        return known[0]
    try:
        found = [] if known or _ID.fullmatch(run) else _search(here, run, experiment)
        if len(found) > 1:
            raise MetricsError(f"{len(found)} runs in {here.server.where} are {run!r}", _more(found))
        if found:
            return found[0]
        seen = runs.found(here.server, known[0].run_id if known else run)
    except TrackingError as exc:
        if not known or not exc.outage:
            raise
        _warn(exc)
        return known[0]
    return snapshots(here.server, here.journal, [seen])[0]


def _is(each: Snapshot, run: str) -> bool:
    """Tell whether an id of a run begins so, or its name is this."""
    record = each.target.record
    return each.name == run or any(ident.startswith(run) for ident in (record.run_id, record.local_id) if ident)


def _search(here: Binding, run: str, experiment: str) -> list[Snapshot]:
    """Ask MLflow for runs whose id begins so, or else whose name is this."""
    wheres = [f"attributes.run_id LIKE '{run}%'"] if _START.fullmatch(run) else []
    quote = "'" if "'" not in run else '"'
    if quote not in run:
        wheres.append(f"attributes.run_name = {quote}{run}{quote}")
    place = _experiment(here, experiment)
    found = (runs.search(here.server, *place, _LOOKED_AT, where=where) for where in wheres)
    return snapshots(here.server, here.journal, next(filter(None, found), []))


def _more(found: Sequence[Snapshot]) -> str:
    return f"give more of the id: {', '.join(each.run_id for each in found[:3])}{', ...' if len(found) > 3 else ''}"  # noqa: PLR2004


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
        order: MLflow's expression for their order; those from the journal stand where they belong by their start.
    """
    server, journal = here.server, here.journal
    ident, name = _experiment(here, experiment)
    waiting = [
        each
        for each in ([] if where else in_journal(server, journal))
        if (each.target.record.experiment_id == ident if ident else each.target.record.experiment == name)
    ]
    try:
        found = snapshots(server, journal, runs.search(server, ident, name, most, where=where, order=order))
        new = [each for each in waiting if each.target.offline]
    except TrackingError as exc:
        if not waiting or not exc.outage:
            raise
        _warn(exc)
        found, new = [], waiting
    if new or order == NEWEST_FIRST:
        found = sorted([*found, *new], key=lambda each: each.start_time, reverse=True)
    return found[:most]


def _experiment(here: Binding, experiment: str) -> tuple[str, str]:
    """Return id and name of the experiment that is looked at."""
    return ("", experiment) if experiment else runs.asked_for(here.server, here.experiment)


def _warn(trouble: TrackingError) -> None:
    log.warning("%s; seen is only what waits in the journal", trouble.reason)
