"""What waits in the journal after its process has gone: looked at, and sent."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.delivery.sender import Sender, send_file
from kedro_mlflow_metrics.delivery.target import JOURNAL_TAG, Target
from kedro_mlflow_metrics.errors import MetricsError, TrackingError
from kedro_mlflow_metrics.journal.disk import is_locked
from kedro_mlflow_metrics.journal.points_file import PointsFile, put_back_refused, waiting_points
from kedro_mlflow_metrics.journal.session import notes_in
from kedro_mlflow_metrics.process import last_seconds, now
from kedro_mlflow_metrics.tracking import runs, shared

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from kedro_mlflow_metrics.journal.folder import Journal, Record, RunFolder
    from kedro_mlflow_metrics.journal.session import FoundNote
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = ["Waiting", "deliver", "deliver_all", "end_by_hand", "left_by_the_dead", "look", "look_at"]

log = logging.getLogger("kedro.mlflow_metrics")


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
    notes: list[FoundNote]  # what its sessions say

    @property
    def something(self) -> bool:
        """Whether it is more than what a run that goes on keeps here, or the remains of one that is sent."""
        lost = any(each.note.status or (each.note.owner and each.killed) for each in self.notes)
        unmade = self.record is not None and not self.record.run_id
        return bool(self.points or self.refused or self.damaged or lost or unmade)

    @property
    def elsewhere(self) -> bool:
        """Whether nobody here can tell if the process that ends the run still lives."""
        return any(each.note.owner and not (each.over or each.lives) for each in self.notes)

    @property
    def why(self) -> str:
        """Why it waits."""
        if self.live:
            return "its process still runs"
        return next((each.note.reason for each in self.notes if each.note.reason), "its process was killed")

    @property
    def title(self) -> str:
        """How a message calls the run."""
        record = self.record
        if record is None:
            return str(self.folder.path)
        return f"{record.name} {record.shown[:8]}" if record.name else record.shown

    def is_run(self, ident: str | None) -> bool:
        """Tell whether it is of the run whose id begins so; None for any."""
        known = (self.record.run_id, self.record.local_id) if self.record else ()
        return ident is None or any(each.startswith(ident) for each in known if each)


def look(journal: Journal) -> list[Waiting]:
    """Return what waits, the oldest first; nothing is touched."""
    return sorted(map(look_at, journal.runs()), key=lambda each: each.since)


def look_at(folder: RunFolder) -> Waiting:
    """Return what a folder holds; nothing is touched."""
    record = folder.read()
    number, since = 0, 0
    for curve in waiting_points(folder):
        number += len(curve)
        since = min(curve.timestamps) if not since else min(since, *curve.timestamps)
    refused, damaged = (sum(map(_lines, folder.path.glob(f"*.{kind}"))) for kind in ("refused", "damaged"))
    since = since or (record.start_time if record else 0)
    return Waiting(folder, record, number, since, refused, damaged, folder.live, notes_in(folder))


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def deliver(
    folder: RunFolder, server: Server, *, opener: bool = False, refused: bool = False
) -> Generator[int, None, Record | None]:
    """Send what the dead left in a folder, make its run before and end it after, and remove the folder.

    It yields numbers of points as MLflow answers for them. What is left after a `MetricsError` stays.

    Args:
        folder: A run's folder.
        server: Where to; the caller makes sure that it is the right one.
        opener: Whether this process has opened the run, and so may wait for another one that sends from here.
        refused: Whether points that MLflow has refused for their content are sent once more.

    Returns:
        The run, as far as it is known now; None if another process is at it, or nothing says which run it is.
    """
    if folder.read() is None:
        return None
    with folder.locked(last_seconds() if opener else 0) as right:
        if not right:
            return None
        record = folder.read()
        if record is None:  # its process has just removed all but the lock
            folder.remove()
            return None
        if not (record.run_id or opener) and any(each.note.owner and not each.over for each in notes_in(folder)):
            return None  # its opener makes it
        target, last_write = Target(server, folder.journal, record), folder.last_write
        target.make(server)
        if refused:
            put_back_refused(folder, record)
        yield from _send_files(folder, target)
        if record.local_id:
            made = target.record
            runs.delete_twins(server, made.experiment_id, made.run_id, JOURNAL_TAG, record.local_id)
        _end(folder, target, last_write)
        folder.remove()
        return target.record


def _end(folder: RunFolder, target: Target, last_write: int) -> None:
    """Tell MLflow how the sessions of a run have ended, also one that was killed if no other session lives."""
    found = [each for each in notes_in(folder) if each.over]
    for each in sorted(found, key=lambda each: each.note.end_time):
        note, name = each.note, target.record.name or target.record.shown
        if note.status:
            shared.set_status(target.server, target.record.run_id, note.status, note.end_time, note.tag)
        elif note.owner and each.killed and note.tag:
            if shared.set_status(target.server, target.record.run_id, "KILLED", last_write, note.tag):
                log.warning("A process that wrote to run %r is gone; the run is KILLED now", name)
        elif note.owner and each.killed:
            if any(not other.over for other in _notes_of(target)):
                continue
            if runs.end_lost(target.server, target.record.run_id, last_write):
                log.warning("Run %r was left RUNNING by a process that is gone; it is KILLED now", name)
        each.path.unlink(missing_ok=True)


def end_by_hand(target: Target, status: str) -> None:
    """Set the status of a run that MLflow takes for RUNNING. Raises `MetricsError` where that would be wrong."""
    run, last_write = f"run {target.record.name or target.record.shown!r}", target.folder.last_write
    if any(folder.live for folder in target.folders()):
        raise MetricsError(f"the process of {run} still runs", "stop it first")
    if target.offline:
        raise MetricsError(f"{run} is not in MLflow yet", f"'{target.journal.command('sync')}' makes it, and ends it")
    about = (target.server, target.record.run_id)
    if not (shared.overrule(*about, status, now()) or runs.end_lost(*about, last_write, status)):
        raise MetricsError(f"{run} in {target.server.where} is not RUNNING", "nothing was changed")
    for folder in target.folders():
        for each in notes_in(folder):
            each.path.unlink(missing_ok=True)
        folder.remove()


def left_by_the_dead(folder: RunFolder) -> bool:
    """Tell whether a process that is gone has left something here."""
    return not all(map(is_locked, folder.files())) or any(each.over for each in notes_in(folder))


def _notes_of(target: Target) -> list[FoundNote]:
    """Return the notes of all sessions of a run."""
    return [each for folder in target.folders() for each in notes_in(folder)]


def _send_files(folder: RunFolder, target: Target) -> Iterator[int]:
    """Send the files whose processes are gone."""
    for path in folder.files():
        file = PointsFile.adopt(folder, path)
        if file is not None:
            with closing(file):
                yield from send_file(file, Sender(target, careful=True), repeatable=target.server.repeatable)


def deliver_all(server: Server, journal: Journal) -> Iterator[int]:
    """Send whatever waits for an address, in the background, where nobody minds a failure."""
    for folder, _ in journal.runs_at(server.portable(journal.base)):
        try:
            yield from deliver(folder, server)
        except (MetricsError, OSError) as exc:
            log.debug("What waits in %s goes on waiting: %s", folder.path, exc)
            if isinstance(exc, TrackingError) and exc.outage:
                return
