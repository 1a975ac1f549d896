"""What waits in the journal after its process has gone: looked at, sent, ended, thrown away."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from io import FileIO
from typing import TYPE_CHECKING, NamedTuple

from kedro_mlflow_metrics.delivery.clock import LAST_SECONDS, close, seconds_left
from kedro_mlflow_metrics.delivery.outbox import send_file
from kedro_mlflow_metrics.delivery.sender import Sender
from kedro_mlflow_metrics.errors import JournalError, MetricsError, TrackingError
from kedro_mlflow_metrics.journal.disk import try_lock
from kedro_mlflow_metrics.journal.folder import (
    Record,
    folder_of,
    journal_files,
    portable_uri,
    read_record,
    remove,
    write_record,
)
from kedro_mlflow_metrics.journal.points_file import JournalFile, waiting_points
from kedro_mlflow_metrics.points.batches import count
from kedro_mlflow_metrics.tracking import runs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from kedro_mlflow_metrics.tracking.address import Delivery, Server

__all__ = ["Ending", "Waiting", "deliver", "deliver_all", "drop", "finish", "folders", "look", "note_end"]

log = logging.getLogger("kedro.mlflow_metrics")


@dataclass(frozen=True)
class Waiting:
    """What a folder of the journal holds.

    Attributes:
        folder: Where.
        record: Of which run; None if nothing in the folder says so.
        points: How many points wait.
        since: The oldest of their timestamps, in milliseconds since the epoch; 0 without points.
        refused: How many points MLflow has refused for their content.
        damaged: How many lines do not agree with their checksum.
        live: Whether a process still writes here.
    """

    folder: Path
    record: Record | None
    points: int
    since: int
    refused: int
    damaged: int
    live: bool

    @property
    def something(self) -> bool:
        """Whether it is more than the remains of what is sent."""
        record = self.record
        return bool(self.points or self.refused or self.damaged or (record and (record.status or record.local_id)))


class Ending(NamedTuple):
    """How the end of a run went.

    Attributes:
        record: The run, with MLflow's id if it has one by now.
        trouble: Why something is left, None if nothing is.
        points: How many points wait.
        folder: Where.
    """

    record: Record
    trouble: MetricsError | None
    points: int
    folder: Path


def folders(delivery: Delivery) -> list[Path]:
    """Return the folders of all runs in the journal."""
    try:
        return sorted(path for path in delivery.folder.iterdir() if path.is_dir())
    except OSError:
        return []


def look(delivery: Delivery) -> list[Waiting]:
    """Return what waits, the oldest first; nothing is touched."""
    return sorted((_look_at(folder) for folder in folders(delivery)), key=lambda each: each.since)


def _look_at(folder: Path) -> Waiting:
    record = read_record(folder)
    number, since = 0, 0
    for some in waiting_points(folder):
        number += len(some.values)
        since = min(some.timestamps) if not since else min(since, *some.timestamps)
    refused, damaged = (sum(_lines(path) for path in folder.glob(f"*.{kind}")) for kind in ("refused", "damaged"))
    live = any(_lives(path) for path in journal_files(folder))
    return Waiting(folder, record, number, since or (record.start_time if record else 0), refused, damaged, live)


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def _lives(path: Path) -> bool:
    """Tell whether a file's process lives: it holds the lock."""
    try:
        with FileIO(path, "r+b") as file:
            return not try_lock(file)
    except OSError:
        return False


def note_end(server: Server, record: Record, status: str, end_time: int, reason: str = "") -> None:
    """Keep how a run ended, for whoever sends what waits of it.

    Raises:
        JournalError: The folder takes no more.
    """
    folder = folder_of(server.delivery, record)
    known = read_record(folder) or record
    write_record(server.delivery, folder, replace(known, status=status, end_time=end_time, reason=reason))


def deliver(folder: Path, server: Server, *, opener: bool = False) -> Generator[int, None, Record | None]:
    """Send what the dead left in a folder, make its run before and end it after, and remove the folder.

    Args:
        folder: A run's folder.
        server: Where to; the caller makes sure that it is the right one.
        opener: Whether this process began the run, so that nobody else is still to end it.

    Yields:
        Numbers of points as MLflow answers for them.

    Returns:
        The run, as far as it is known now; None if another process is at it, or nothing says which run it is.

    Raises:
        TrackingError: MLflow refused, or does not answer; what is left stays.
        JournalError: The folder cannot be written.
    """
    if read_record(folder) is None:
        return None
    try:
        lock = FileIO(folder / "lock", "a+b")
    except OSError:
        return None
    with lock:
        record = read_record(folder) if _locked(lock, patient=opener) else None
        if record is None:
            return None
        live = any(_lives(path) for path in journal_files(folder))
        last_write = _last_write(folder)
        if not record.run_id:
            if live and not opener:
                return None
            record = runs.make(server, record)
            with suppress(JournalError):  # on a full disk; it is found by its tag again
                write_record(server.delivery, folder, record)
        for path in journal_files(folder):
            file = JournalFile.adopt(path)
            if file is not None:
                with closing(file):
                    sender = Sender(server, record.run_id)
                    yield from send_file(file, sender, repeatable=server.repeatable)
        noted = read_record(folder) or record  # its opener may have noted the end meanwhile
        record = replace(noted, run_id=record.run_id, experiment_id=record.experiment_id)
        if status := record.status or ("KILLED" if record.local_id and not live else ""):
            runs.end(server, record.run_id, status, record.end_time or last_write, shared=record.shared)
            write_record(server.delivery, folder, replace(record, status="", local_id="", reason=""))
        remove(folder)
        return record


def _locked(lock: FileIO, *, patient: bool) -> bool:
    """Take the lock of a folder, if need be after the process that sends from it."""
    seconds = seconds_left()
    deadline = time.monotonic() + (LAST_SECONDS if seconds is None else seconds) * patient
    while not try_lock(lock):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _last_write(folder: Path) -> int:
    """Return when a process that was killed last wrote, in milliseconds since the epoch."""
    return max((int(path.stat().st_mtime * 1000) for path in journal_files(folder)), default=runs.now())


def deliver_all(server: Server) -> Iterator[int]:
    """Send whatever waits for an address, in the background, where nobody minds a failure."""
    for folder in folders(server.delivery):
        record = read_record(folder)
        if record is None or record.uri != portable_uri(server):
            continue
        try:
            yield from deliver(folder, server)
        except (MetricsError, OSError) as exc:
            log.debug("What waits in %s goes on waiting: %s", folder, exc)
            if isinstance(exc, TrackingError) and exc.outage:
                return


def finish(server: Server, record: Record, status: str, *, owner: bool, shared: bool) -> Ending:
    """Send what waits of a run, this process's and its dead workers', and set its status.

    Args:
        server: Where the run lives.
        record: The run.
        status: FINISHED, FAILED or KILLED.
        owner: Whether this process opened the run, and so ends it.
        shared: Whether the run belongs to a run key.
    """
    end_time, folder = runs.now(), folder_of(server.delivery, record)
    trouble: MetricsError | None = close(server, record)
    seconds = seconds_left()
    if seconds is not None:
        server = replace(server, timeout=max(0.1, min(server.timeout, seconds)))
    try:
        if trouble is None and folder.exists():
            if owner:
                note_end(server, record, status, end_time)
            delivered = _exhausted(deliver(folder, server, opener=True))
            if delivered is None:
                trouble = JournalError("another process is sending them")
            record = delivered or record
        elif trouble is None and owner and record.run_id:
            runs.end(server, record.run_id, status, end_time, shared=shared)
    except MetricsError as exc:
        trouble = exc
    if trouble is not None and (owner or folder.exists()):
        try:
            note_end(server, record, status if owner else "", end_time if owner else 0, trouble.reason)
        except MetricsError as exc:
            trouble = exc
    return Ending(record, trouble, count(waiting_points(folder)), folder)


def _exhausted(steps: Generator[int, None, Record | None]) -> Record | None:
    """Go to the end of a generator and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def drop(waiting: Waiting) -> None:
    """Throw away what a folder holds."""
    shutil.rmtree(waiting.folder, ignore_errors=True)
