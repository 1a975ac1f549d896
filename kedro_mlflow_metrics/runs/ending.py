"""The end of what a pipeline wrote to one run: what waits is sent, the status is set, the user is told."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from kedro_mlflow_metrics import process
from kedro_mlflow_metrics.delivery import clock, leftovers
from kedro_mlflow_metrics.delivery.read import latest_of
from kedro_mlflow_metrics.delivery.sender import pause_after
from kedro_mlflow_metrics.errors import JournalError, MetricsError, TrackingError, counted
from kedro_mlflow_metrics.journal.points_file import waiting_points
from kedro_mlflow_metrics.points.curves import count
from kedro_mlflow_metrics.process import now
from kedro_mlflow_metrics.tracking import runs, shared
from kedro_mlflow_metrics.tracking.address import page
from kedro_mlflow_metrics.views.terminal import print_line

if TYPE_CHECKING:
    from collections.abc import Generator

    from kedro_mlflow_metrics.delivery.target import Target
    from kedro_mlflow_metrics.journal.folder import Record
    from kedro_mlflow_metrics.journal.session import Session
    from kedro_mlflow_metrics.runs.summary import Summary
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = ["end"]

log = logging.getLogger("kedro.mlflow_metrics")


def end(  # noqa: PLR0913 - what is known of an end
    target: Target,
    note: Session,
    status: str,
    *,
    owner: bool = False,
    pipelines: bool = False,
    summary: Summary | None = None,
) -> MetricsError | None:
    """End one run, or leave one that others opened, and say what became of it; return why something is left.

    Args:
        target: The run.
        note: What the Kedro session says of itself in its folder.
        status: How the pipeline ended.
        owner: Whether this process opened it.
        pipelines: Whether it is the pipeline's, and not one that an entry names itself.
        summary: What sums up a run that has finished, if anything does.
    """
    logged = clock.outbox(target).sent
    trouble = _end(target, note, status, owner=owner)
    record = target.record
    if trouble is not None:
        points = count(waiting_points(target.folder))
        log.error(
            "%s%s of run %r %s in %s: %s; send them with: %s",
            counted(points, "point"),
            " and the end" if owner else "",
            record.name or record.shown,
            "waits" if points == 1 and not owner else "wait",
            target.folder.path,
            trouble.reason,
            target.journal.command("sync"),
        )
    elif pipelines:
        if not record.experiment_id:  # joined while MLflow did not answer
            with suppress(MetricsError):
                record = replace(record, experiment_id=runs.look_at(target.server, record.run_id).experiment_id)
        summed_up = summary if status == "FINISHED" else None
        latest = latest_of(target) if summed_up or not logged else None
        something = logged or latest != {}
        told = "Metrics are in MLflow" if something else "Nothing was logged"
        log.info("%s: run %r, id %s, in %s", told, record.name, record.run_id, record.uri)
        with suppress(OSError):  # who closed the terminal does not look
            if summed_up and latest:
                summed_up.show(target, latest)
            if something:
                pages = target.server.http and page(target.server.safe, record.experiment_id, record.run_id)
                print_line(f"See the charts: {pages or target.journal.command('ui')}")
    if pipelines and status == "FAILED" and record.run_id:
        log.warning("To go on in the same MLflow run, add to the command: --params mlflow_run_id=%s", record.run_id)
    return trouble


def _end(target: Target, note: Session, status: str, *, owner: bool) -> MetricsError | None:
    """Send what waits of a run, this process's and its dead workers', and set its status if this process opened it.

    If MLflow does not answer only now, it is asked once more, within the seconds that an end may take. Returns why
    something is left.
    """
    end_time = now()
    status = status if owner else ""
    trouble: MetricsError | None = clock.close(target)
    if trouble is None:
        settle = partial(_settle, target, note, status, end_time, owner=owner)
        last_try = time.monotonic() + process.last_seconds()
        trouble = settle()
        if isinstance(trouble, TrackingError) and trouble.outage:
            pause = pause_after(1, trouble.retry_after)
            if time.monotonic() + pause < last_try:
                time.sleep(pause)
                trouble = settle()
    if trouble is not None and owner and target.journal.fail and target.record.run_id:
        with suppress(MetricsError):  # then the end is noted, as the points are
            shared.set_status(_server(target), target.record.run_id, "FAILED", end_time, note.tag)
            status = ""
    if trouble is not None:
        try:
            note.end(status, end_time, trouble.reason)
        except JournalError as exc:
            trouble = exc
    note.leave()
    return trouble


def _settle(target: Target, note: Session, status: str, end_time: int, *, owner: bool) -> MetricsError | None:
    """Tell MLflow how a run has ended, after what dead workers left of it; return why that waits."""
    folder, server = target.folder, _server(target)
    try:
        if _waits_for_nobody(target, note):
            shared.set_status(server, target.record.run_id, status, end_time, note.tag)
            note.drop()
            return None
        with suppress(JournalError):
            note.end(status, end_time)
        if folder.read() is None:
            if owner:  # nothing can be written here
                shared.set_status(server, target.record.run_id, status, end_time, note.tag)
        elif _result(leftovers.deliver(folder, server, opener=True)) is None and folder.read() is not None:
            return JournalError("another process is sending them")
    except MetricsError as exc:
        return exc
    return None


def _server(target: Target) -> Server:
    """Return the address of a run; at the end of the process a request may take no longer than that."""
    seconds = process.seconds_left()
    if seconds is None:
        return target.server
    return replace(target.server, timeout=max(0.1, min(target.server.timeout, seconds)))


def _waits_for_nobody(target: Target, note: Session) -> bool:
    """Tell whether a session only has to say how it ended: others with its run key need not take turns for that."""
    online = bool(target.record.run_id and not target.record.local_id)
    return bool(note.tag) and online and not leftovers.left_by_the_dead(target.folder)


def _result(steps: Generator[int, None, Record | None]) -> Record | None:
    """Go to the end of a generator and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return] # what a generator returns has no type there
