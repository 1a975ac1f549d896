"""The points of one process for one run, on local disk until MLflow has answered.

What always holds: one process appends to a file, and holds its lock for life. Every line carries its own checksum
and is written with one ``write``, so that what dies in the middle of a save tears at most the line of that save. How
far MLflow has answered stands beside the file; should that be lost, the points are sent once more. What cannot be
written is a `JournalError`.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from kedro_mlflow_metrics.errors import JournalError
from kedro_mlflow_metrics.journal.disk import collect, encoded, is_locked, opened, sealed, try_lock, unsealed, write
from kedro_mlflow_metrics.journal.folder import first_line
from kedro_mlflow_metrics.points.curves import Curve, MetricPoint, batches, grouped

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Iterator, Sequence
    from io import FileIO
    from pathlib import Path

    from kedro_mlflow_metrics.journal.folder import Record, RunFolder

__all__ = ["PointsFile", "put_back_refused", "waiting_points"]

log = logging.getLogger("kedro.mlflow_metrics")
_CHUNK = 2**20
_COMPACT_BYTES = 2**20
_RESCAN_BYTES = 2**24


class Window(NamedTuple):
    """A stretch of a file."""

    points: list[Curve]  # its points, grouped by key
    end: int  # where the next stretch begins
    damaged: list[bytes]  # lines that do not agree with their checksum


class PointsFile:
    """The file of one process for one run; its process holds a lock on it for life."""

    def __init__(self, path: Path, file: FileIO, folder: RunFolder) -> None:
        """Take a file to adopt or to look at; see `create`, `adopt` and `waiting_points`."""
        self.path, self._file, self._folder, self._live = path, file, folder, False
        self._others, self._scanned = 0, -_RESCAN_BYTES
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._forced = True  # whether the disk has all of it
        self._end = self._size()
        self._offset = _answered(path)

    @classmethod
    def create(cls, folder: RunFolder, record: Record) -> PointsFile:
        """Begin this process's file."""
        line = first_line(record)
        others = folder.journal.others(None, len(line))
        try:
            new = cls(*folder.create("jsonl", "a+b", line, record), folder)
        except OSError as exc:
            raise folder.journal.full(exc) from exc
        new._live, new._others, new._scanned = True, others, new._end
        new.acknowledge(new._end)
        return new

    @classmethod
    def adopt(cls, folder: RunFolder, path: Path) -> PointsFile | None:
        """Open the file of a process that is gone; None if it lives, or another did it first."""
        try:
            file = cls(path, opened(path, "r+b"), folder)
        except OSError:
            return None
        for pause in (0.01, 0.03, 0):  # somebody who looks whether a process lives takes the lock for a moment
            if try_lock(file._file) and path.exists():
                file._offset, file._end = _answered(path), file._size()
                return file
            time.sleep(pause)
        file.leave()
        return None

    def append(self, points: Iterable[Curve]) -> None:
        """Write points; all of them or none."""
        with self._lock:
            written = 0
            try:
                for batch in batches(points):
                    written += self._write(sealed(encoded(batch)))
            except (OSError, JournalError) as exc:
                self._file.truncate(self._size() - written)
                self._end = self._size()
                raise (exc if isinstance(exc, JournalError) else self._folder.journal.full(exc)) from exc
            except BaseException:
                self._end = self._size()  # a signal may come between a write and its being counted
                raise

    def _write(self, line: bytes) -> int:
        size, journal = self._end + len(line), self._folder.journal
        if size > self._scanned + _RESCAN_BYTES or self._others + size > journal.max_bytes:
            self._others, self._scanned = journal.others(self.path, size), self._end
        write(self._file, line)
        self._end, self._forced = size, False
        return len(line)

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    @property
    def waiting(self) -> bool:
        """Whether there are lines that MLflow has not answered for."""
        return self._offset < self._end

    def force(self) -> None:
        """Have the disk write down what was appended, so that it outlives a power cut."""
        if not self._forced:
            self._forced = True
            with suppress(OSError, ValueError):  # a disk that is gone, or a file that was closed meanwhile
                os.fsync(self._file.fileno())

    def read(self, most: int) -> Window:
        """Return the next stretch that waits, of about ``most`` points."""
        columns: dict[str, tuple[array[float], array[int], array[int]]] = {}
        damaged: list[bytes] = []
        number, end, rest = 0, self._offset, b""
        while number < most:
            with self._lock:
                self._file.seek(end + len(rest))
                chunk = self._file.read(_CHUNK)
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for position, line in enumerate(lines):
                number += collect(line, columns, damaged)
                end += len(line) + 1
                if number >= most:
                    rest = b"\n".join((*lines[position + 1 :], rest))
                    break
        if number < most and rest and not self._live:
            collect(rest, columns, damaged)  # torn by the death of its process
            end += len(rest)
        return Window([Curve(key, *columns[key]) for key in sorted(columns)], end, damaged)

    def points(self) -> Iterator[Curve]:
        """Yield all that waits, without moving on."""
        offset = self._offset
        try:
            while (window := self.read(20_000)).end > self._offset:
                yield from window.points
                self._offset = window.end
        finally:
            self._offset = offset

    def acknowledge(self, end: int) -> None:
        """Remember that MLflow has answered for everything before ``end``."""
        with suppress(OSError), _beside(self.path, ".sent").open("r+b" if self._offset else "wb") as file:
            file.write(sealed(b"%020d" % end))  # not remembered, it is sent once more
        self._offset = end

    def compact(self) -> None:
        """Forget a long file whose lines are all answered for; the first line stays."""
        with self._lock:
            if self.waiting or self._size() < _COMPACT_BYTES:
                return
            self._file.seek(0)
            head = len(self._file.read(_CHUNK).split(b"\n", 1)[0]) + 1
            end = self._offset
            self.acknowledge(head)
            if _answered(self.path) == head:
                self._file.truncate(head)
                self._end = head
            else:
                self._offset = end  # not remembered: in a file cut now, later lines would count as answered for

    def set_aside(self, refused: Sequence[tuple[MetricPoint, str]]) -> None:
        """Keep points that MLflow refused where they are found and counted, and warn once of each metric."""
        lines = (json.dumps({**point._asdict(), "reason": reason}) + "\n" for point, reason in refused)
        try:
            with _beside(self.path, ".refused").open("a") as file:
                file.writelines(lines)
        except OSError as exc:
            raise self._folder.journal.full(exc) from exc
        reasons = {point.key: reason for point, reason in refused if point.key not in self._told}
        self._told.update(reasons)
        for key, reason in reasons.items():
            log.warning("Points of %s are set aside in %s: %s", key, self.path.parent, reason)

    def set_damaged_aside(self, lines: Sequence[bytes]) -> None:
        """Keep lines that do not agree with their checksum."""
        with suppress(OSError), _beside(self.path, ".damaged").open("ab") as file:
            file.writelines(line + b"\n" for line in lines)

    def close(self) -> bool:
        """Give up the lock; delete a file of which nothing waits. Return whether it is gone."""
        gone = not self.waiting
        if gone:
            with suppress(OSError):  # held open by somebody, on Windows
                _beside(self.path, ".sent").unlink(missing_ok=True)
                self.path.unlink(missing_ok=True)
        self._file.close()
        return gone

    def leave(self) -> None:
        """Close a file that is another process's."""
        self._file.close()


def put_back_refused(folder: RunFolder, record: Record) -> None:
    """Put points that were set aside as refused, by processes that are gone, back among those that wait."""
    paths = [path for path in folder.path.glob("*.refused") if not is_locked(path.with_suffix(".jsonl"))]
    curves = []
    for path in paths:
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                point = json.loads(line)
                curves.append(Curve(point["key"], [point["value"]], [point["step"]], [point["timestamp"]]))
            except ValueError:  # torn by the death of its process
                with _beside(path, ".damaged").open("ab") as file:
                    file.write(line.rstrip(b"\n") + b"\n")
    if curves:
        points = PointsFile.create(folder, record)
        points.append(grouped(curves))
        points.leave()
    for path in paths:
        path.unlink()


def waiting_points(folder: RunFolder) -> Iterator[Curve]:
    """Yield what waits of a run, of living processes too, without touching anything."""
    for path in folder.files():
        try:
            file = PointsFile(path, opened(path, "rb"), folder)
        except OSError:
            continue
        try:
            yield from file.points()
        finally:
            file.leave()


def _beside(path: Path, suffix: str) -> Path:
    return path.with_suffix(suffix)


def _answered(path: Path) -> int:
    """Return how far MLflow has answered for a file; 0 if nobody knows, since sending twice does no harm."""
    try:
        end = int(unsealed(_beside(path, ".sent").read_bytes().rstrip(b"\n")) or 0)
        with path.open("rb") as file:
            file.seek(max(0, end - 1))
            return end if file.read(1) == b"\n" else 0  # a line ends there, or the file is another than it was
    except (OSError, ValueError):
        return 0
