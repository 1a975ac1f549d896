"""Which run somebody means who reads: an id, the start of one that waits in the journal, or ``latest``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.errors import MetricsError, NotThereError, TrackingError
from kedro_mlflow_metrics.journal.points_file import waiting_points
from kedro_mlflow_metrics.tracking import runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kedro_mlflow_metrics.journal.folder import Journal
    from kedro_mlflow_metrics.project.binding import Binding
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = ["LATEST", "named", "newest"]

log = logging.getLogger("kedro.mlflow_metrics")
LATEST = "latest"
_LOOKED_AT = 50


def named(here: Binding, run: str) -> Target:
    """Return the run that a command names. Raises `MetricsError` if there is none, or more than one."""
    if run == LATEST:
        return newest(here)
    known = [each for each in _in_journal(here.server, here.journal) if _begins(each, run)]
    if len({each.record.shown for each in known}) > 1:
        raise MetricsError(f"{len(known)} runs in the journal begin with {run!r}", "give more characters of the id")
    if known and known[0].offline:
        return known[0]
    return Target.of(here.server, here.journal, runs.look_at(here.server, known[0].record.run_id if known else run))


def _begins(target: Target, ident: str) -> bool:
    """Tell whether an id of a run begins so."""
    return any(each.startswith(ident) for each in (target.record.run_id, target.record.local_id) if each)


def newest(here: Binding, owns: Callable[[str], bool] | None = None) -> Target:
    """Return the run of the project's experiment that started last, also one that waits in the journal.

    Args:
        here: The project.
        owns: Tells which keys count: the run is then the newest of the last 50 that has a metric with such a key.

    Raises:
        MetricsError: There is none.
    """
    server, journal = here.server, here.journal
    ident, name = runs.asked_for(server, here.experiment)
    waiting = [
        each
        for each in _in_journal(server, journal)
        if (each.record.experiment_id == ident if ident else each.record.experiment == name)
        and (owns is None or _waits(each, owns))
    ]
    found = [each for each in waiting if each.offline]
    try:
        for info, latest in runs.newest(server, ident, name, _LOOKED_AT if owns else 1):
            target = Target.of(server, journal, info)
            if owns is None or any(owns(point.key) for point in latest) or _waits(target, owns):
                found.append(target)
                break
    except TrackingError as exc:
        if not waiting or not exc.outage:
            raise
        found = waiting
        log.warning("%s; taken is the newest run that waits in the journal", exc.reason)
    if not found:
        what = "" if owns is None else f" with metrics of this entry among the last {_LOOKED_AT}"
        raise NotThereError(f"there is no run{what} in experiment {name!r} in {server.where}", "log one, or name a run")
    return max(found, key=lambda target: target.record.start_time)


def _in_journal(server: Server, journal: Journal) -> Iterator[Target]:
    """Return the runs of an address that the journal knows."""
    return (Target(server, journal, record) for _, record in journal.runs_at(server.portable(journal.base)))


def _waits(target: Target, owns: Callable[[str], bool]) -> bool:
    """Tell whether a metric that counts waits in the journal."""
    return any(owns(curve.key) for folder in target.folders() for curve in waiting_points(folder))
