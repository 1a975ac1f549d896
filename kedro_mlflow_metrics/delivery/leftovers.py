"""What waits in the journal after its process has gone: looked at, and sent."""

from __future__ import annotations

import logging
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.delivery.outbox import send_file
from kedro_mlflow_metrics.delivery.sender import Sender
from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.errors import JournalError, MetricsError, TrackingError
from kedro_mlflow_metrics.journal.points_file import PointsFile, waiting_points
from kedro_mlflow_metrics.process import LAST_SECONDS, now, seconds_left
from kedro_mlflow_metrics.tracking import runs
from kedro_mlflow_metrics.tracking.store import RunInfo

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from kedro_mlflow_metrics.journal.folder import Journal, Record, RunFolder
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = ["JOURNAL_TAG", "Waiting", "create", "deliver", "deliver_all", "look"]

log = logging.getLogger("kedro.mlflow_metrics")
JOURNAL_TAG = "kedro_mlflow_metrics.journal_id"


@dataclass(frozen=True)
class Waiting:
    """What a folder of the journal holds."""

    folder: RunFolder  # where
    record: Record | None  # of which run; None if nothing in the folder says so
    points: int  # how many points wait
    since: int  # the oldest of their timestamps, in milliseconds since the epoch; 0 without points
    refused: int  # how many points MLflow has refused for their content
    damaged: int  # how many lines do not agree with their checksum
    live: bool  # whether a process still writes here

    @property
    def something(self) -> bool:
        """Whether it is more than the remains of what is sent."""
        record = self.record
        return bool(self.points or self.refused or self.damaged or (record and (record.status or record.local_id)))

    @property
    def title(self) -> str:
        """How a message calls the run."""
        record = self.record
        if record is None:
            return str(self.folder.path)
        return f"{record.name} {record.ident[:8]}" if record.name else record.ident

    def is_run(self, ident: str | None) -> bool:
        """Tell whether it is of the run whose id begins so; None for any."""
        known = (self.record.run_id, self.record.local_id) if self.record else ()
        return ident is None or any(each.startswith(ident) for each in known if each)


def look(journal: Journal) -> list[Waiting]:
    """Return what waits, the oldest first; nothing is touched."""
    return sorted(map(_look_at, journal.runs()), key=lambda each: each.since)


def _look_at(folder: RunFolder) -> Waiting:
    record = folder.read()
    number, since = 0, 0
    for curve in waiting_points(folder):
        number += len(curve)
        since = min(curve.timestamps) if not since else min(since, *curve.timestamps)
    refused, damaged = (sum(map(_lines, folder.path.glob(f"*.{kind}"))) for kind in ("refused", "damaged"))
    since = since or (record.start_time if record else 0)
    return Waiting(folder, record, number, since, refused, damaged, folder.live)


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def create(server: Server, record: Record, *, new: bool) -> RunInfo:
    """Make the run in MLflow that a record describes, once: by a tag of its own, or by its run key.

    It is ``new`` if nobody can have tried to make it before.
    """
    experiment = record.experiment_id or runs.experiment_id(server, record.experiment)
    tags, by = {**record.tags, JOURNAL_TAG: record.local_id}, JOURNAL_TAG
    if record.run_key:
        tags[runs.RUN_KEY_TAG], by, new = record.run_key, runs.RUN_KEY_TAG, False
    wanted = RunInfo("", experiment, record.name, start_time=record.start_time)
    return runs.find_or_create(server, wanted, tags, by, new=new)


def deliver(folder: RunFolder, server: Server, *, opener: bool = False) -> Generator[int, None, Record | None]:
    """Send what the dead left in a folder, make its run before and end it after, and remove the folder.

    It yields numbers of points as MLflow answers for them. What is left after a `MetricsError` stays.

    Args:
        folder: A run's folder.
        server: Where to; the caller makes sure that it is the right one.
        opener: Whether this process began the run, so that nobody else is still to end it.

    Returns:
        The run, as far as it is known now; None if another process is at it, or nothing says which run it is.
    """
    if folder.read() is None:
        return None
    seconds = seconds_left()
    with folder.locked((LAST_SECONDS if seconds is None else seconds) if opener else 0) as right:
        record = folder.read() if right else None
        live, last_write = folder.live, folder.last_write or now()
        if record is None or (live and not record.run_id and not opener):
            return None
        if not record.run_id:
            made = create(server, record, new=False)
            record = replace(record, run_id=made.run_id, experiment_id=made.experiment_id)
            with suppress(JournalError):  # on a full disk; it is found by its tag again
                folder.write(record)
        yield from _send_files(folder, Target(server, folder.journal, record, RunInfo(record.run_id)))
        noted = folder.read() or record  # its opener may have noted the end meanwhile
        record = replace(noted, run_id=record.run_id, experiment_id=record.experiment_id)
        if status := record.status or ("KILLED" if record.local_id and not live else ""):
            runs.end(server, record.run_id, status, record.end_time or last_write, shared=bool(record.run_key))
            folder.write(replace(record, status="", local_id="", reason=""))
        folder.remove()
        return record


def _send_files(folder: RunFolder, target: Target) -> Iterator[int]:
    """Send the files whose processes are gone."""
    for path in folder.files():
        file = PointsFile.adopt(folder, path)
        if file is not None:
            with closing(file):
                yield from send_file(file, Sender(target, careful=True), repeatable=target.server.repeatable)


def deliver_all(server: Server, journal: Journal) -> Iterator[int]:
    """Send whatever waits for an address, in the background, where nobody minds a failure."""
    for folder in journal.runs():
        record = folder.read()
        if record is None or record.uri != server.portable(journal.root):
            continue
        try:
            yield from deliver(folder, server)
        except (MetricsError, OSError) as exc:
            log.debug("What waits in %s goes on waiting: %s", folder.path, exc)
            if isinstance(exc, TrackingError) and exc.outage:
                return
