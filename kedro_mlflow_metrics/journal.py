"""The journal: points on local disk until MLflow has answered.

A folder per run holds append-only files, one per process, and ``run.json``, which says which run it is.
Every line carries its own checksum and is written with one ``write``: what dies in the middle of a save
tears at most the line of that save.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import socket
import threading
import time
from array import array
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import uuid4

from kedro_mlflow_metrics.batching import batches
from kedro_mlflow_metrics.errors import JournalError
from kedro_mlflow_metrics.locks import try_lock
from kedro_mlflow_metrics.points import MetricPoint, Points
from kedro_mlflow_metrics.server import Delivery, Server, safe_uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "JournalFile",
    "Record",
    "folder_of",
    "journal_files",
    "portable_uri",
    "read_record",
    "remove",
    "waiting_points",
    "write_record",
]

log = logging.getLogger("kedro.mlflow_metrics")
_FILE = re.compile(r"[\w.-]+-\d+-[0-9a-f]{8}\.jsonl")
_SEAL = re.compile(rb"[0-9a-f]{16} ")
_CHUNK = 2**20
_COMPACT_BYTES = 2**20
_RESCAN_BYTES = 2**24
_ORPHAN_SECONDS = 60
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode  # `dumps` would build one per line


@dataclass(frozen=True)
class Record:
    """Which run the points of a folder belong to; nothing of it is secret.

    Attributes:
        uri: MLflow's address without user name, password and query, a local path from the project's root.
        run_id: The run in MLflow; empty for one that is still to be made.
        local_id: The id of a run that was begun while nobody answered; the tag by which it is found.
        env: The Kedro environment.
        name: The run's name.
        experiment: Its experiment, for a run to be made.
        experiment_id: The same by id, where the user named it so.
        run_key: The run key, if it shares its run with other sessions.
        tags: Its tags, for a run to be made.
        start_time: When it began, in milliseconds since the epoch.
        status: How it ended, if MLflow does not know yet.
        end_time: When it ended, in milliseconds since the epoch.
        shared: Whether FINISHED hides no FAILED of another session.
        reason: Why its points wait.
    """

    uri: str
    run_id: str = ""
    local_id: str = ""
    env: str = ""
    name: str = ""
    experiment: str = ""
    experiment_id: str = ""
    run_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    start_time: int = 0
    status: str = ""
    end_time: int = 0
    shared: bool = False
    reason: str = ""

    @property
    def ident(self) -> str:
        """What users call the run: MLflow's id, or the local one."""
        return self.run_id or self.local_id


class Window(NamedTuple):
    """A stretch of a file.

    Attributes:
        points: Its points, grouped by key.
        end: Where the next stretch begins.
        damaged: Lines that do not agree with their checksum.
    """

    points: list[Points]
    end: int
    damaged: list[bytes]


def portable_uri(server: Server) -> str:
    """Return an address as it may be written down: no secret, and right in a project that was moved."""
    uri = safe_uri(server.uri)
    root = Path(server.delivery.root or Path.cwd()).as_posix()
    scheme, mark, rest = uri.partition("://")
    path = rest if scheme == "file" else rest[1:] if scheme.partition("+")[0] == "sqlite" else ""
    if not mark or not path.startswith(f"{root}/"):
        return uri
    return path[len(root) + 1 :] if scheme == "file" else f"{scheme}:///{path[len(root) + 1 :]}"


def folder_of(delivery: Delivery, record: Record) -> Path:
    """Return the folder of a run, whether it exists or not."""
    ident = re.sub(r"[^\w-]", "_", record.local_id or record.run_id)[:80]
    tell = blake2b(f"{record.uri}\n{record.local_id or record.run_id}".encode(), digest_size=4).hexdigest()
    return delivery.folder / f"{ident}-{tell}"


def write_record(delivery: Delivery, folder: Path, record: Record) -> None:
    """Replace ``run.json`` in one step.

    Raises:
        JournalError: The folder takes no more.
    """
    try:
        _write_record(delivery, folder, record)
    except OSError as exc:
        raise _cannot(folder, exc) from exc


def _write_record(delivery: Delivery, folder: Path, record: Record) -> None:
    _make(delivery, folder)
    aside = folder / f"run.json.{os.getpid()}-{uuid4().hex[:8]}"
    try:
        aside.write_bytes(_sealed(json.dumps({"run": asdict(record)}).encode()))
        aside.replace(folder / "run.json")
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def read_record(folder: Path) -> Record | None:
    """Return which run a folder belongs to; each of its files says so too, should ``run.json`` be lost."""
    for path in (folder / "run.json", *journal_files(folder)):
        try:
            with path.open("rb") as file:
                body = _unsealed(file.readline().rstrip(b"\n"))
        except OSError:
            continue
        if body is not None and body.startswith(b"{"):
            known = {each.name for each in fields(Record)}
            return Record(**{name: value for name, value in json.loads(body)["run"].items() if name in known})
    return None


def journal_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are ours."""
    try:
        return sorted(path for path in folder.iterdir() if _FILE.fullmatch(path.name))
    except OSError:
        return []


class JournalFile:
    """The file of one process for one run; its process holds a lock on it for life."""

    def __init__(self, path: Path, mode: Literal["a+b", "r+b", "rb"], max_bytes: int = 0) -> None:
        """Open a file to append to, to adopt or to look at; see `create`, `adopt` and `waiting_points`."""
        self.path = path
        self._max_bytes, self._live = max_bytes, mode == "a+b"
        self._others, self._scanned = 0, -_RESCAN_BYTES
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._file = FileIO(path, mode)
        self._end = self._size()
        self._offset = 0 if self._live else _answered(path)

    @classmethod
    def create(cls, delivery: Delivery, folder: Path, record: Record) -> JournalFile:
        """Begin this process's file.

        Raises:
            JournalError: The folder takes no more.
        """
        try:
            for _ in range(4):
                with suppress(FileNotFoundError, FileExistsError):  # another process removed the folder meanwhile
                    return cls._create(delivery, folder, record)
            return cls._create(delivery, folder, record)
        except OSError as exc:
            raise _cannot(folder, exc) from exc

    @classmethod
    def _create(cls, delivery: Delivery, folder: Path, record: Record) -> JournalFile:
        host = re.sub(r"[^\w.-]", "_", socket.gethostname())[:60] or "host"
        path = folder / f"{host}-{os.getpid()}-{uuid4().hex[:8]}.jsonl"
        new = None
        try:
            _make(delivery, folder)
            new = cls(path.with_suffix(".new"), "a+b", delivery.max_bytes)
            try_lock(new._file)
            with new._lock:
                new._write(_sealed(json.dumps({"run": asdict(record)}).encode()))
            new.acknowledge(new._size())
            new.path = new.path.rename(path)  # nobody sees it before it is locked
            if not (folder / "run.json").exists():
                _write_record(delivery, folder, record)
        except (OSError, JournalError):
            if new is not None:
                new._offset = new._size()
                new.close()
            raise
        return new

    @classmethod
    def adopt(cls, path: Path) -> JournalFile | None:
        """Open the file of a process that is gone; None if it lives, or another did it first."""
        try:
            file = cls(path, "r+b")
        except OSError:
            return None
        for pause in (0.01, 0.03, 0):  # somebody who looks whether a process lives takes the lock for a moment
            if try_lock(file._file):
                break
            time.sleep(pause)
        else:
            file.leave()
            return None
        if not path.exists():
            file.leave()
            return None
        file._offset = _answered(path)
        return file

    def append(self, points: Iterable[Points]) -> None:
        """Write points; all of them or none.

        Raises:
            JournalError: The folder takes no more.
        """
        with self._lock:
            written = 0
            try:
                for batch in batches(points):
                    written += self._write(_sealed(_encoded(batch)))
            except (OSError, JournalError) as exc:
                self._file.truncate(self._size() - written)
                self._end = self._size()
                raise (exc if isinstance(exc, JournalError) else _cannot(self.path.parent, exc)) from exc
            except BaseException:
                self._end = self._size()  # a signal may come between a write and its being counted
                raise

    def _write(self, line: bytes) -> int:
        """Write a line with one ``write``; take back what a full disk took of it."""
        size = self._end + len(line)
        if size > self._scanned + _RESCAN_BYTES or self._others + size > self._max_bytes:
            self._scan()
        if self._others + size > self._max_bytes:
            raise JournalError(
                f"the journal {self.path.parent.parent} has reached its limit of {self._max_bytes} bytes; send it "
                "with 'kedro metrics sync', or raise journal.max_bytes in kedro_mlflow_metrics.yml"
            )
        written = self._file.write(line)
        if written != len(line):
            self._file.truncate(self._size() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end += written
        return written

    def _scan(self) -> None:
        """Look how much the files of other processes and runs hold."""
        self._others = 0
        for folder in self.path.parent.parent.iterdir():
            with suppress(OSError):  # sent and deleted at this moment
                self._others += sum(path.stat().st_size for path in folder.iterdir() if path != self.path)
        self._scanned = self._size()

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    @property
    def waiting(self) -> bool:
        """Whether there are lines that MLflow has not answered for."""
        return self._offset < self._end

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
                number += _collect(line, columns, damaged)
                end += len(line) + 1
                if number >= most:
                    rest = b"\n".join((*lines[position + 1 :], rest))
                    break
        if number < most and rest and not self._live:
            _collect(rest, columns, damaged)  # torn by the death of its process
            end += len(rest)
        return Window([Points(key, *columns[key]) for key in sorted(columns)], end, damaged)

    def points(self) -> Iterator[Points]:
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
            file.write(_sealed(b"%020d" % end))  # not remembered, it is sent once more
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
        """Keep points that MLflow refused where they are found and counted, and warn once of each metric.

        Raises:
            JournalError: The folder takes no more.
        """
        lines = (json.dumps({**point._asdict(), "reason": reason}) + "\n" for point, reason in refused)
        try:
            with _beside(self.path, ".refused").open("a") as file:
                file.writelines(lines)
        except OSError as exc:
            raise _cannot(self.path.parent, exc) from exc
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
            _beside(self.path, ".sent").unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
        self._file.close()
        return gone

    def leave(self) -> None:
        """Close a file that is another process's."""
        self._file.close()


def waiting_points(folder: Path) -> Iterator[Points]:
    """Yield what waits in a folder, of living processes too, without touching anything."""
    for path in journal_files(folder):
        try:
            file = JournalFile(path, "rb")
        except OSError:
            continue
        try:
            yield from file.points()
        finally:
            file.leave()


def remove(folder: Path) -> bool:
    """Delete a folder in which nothing waits; return whether it is gone."""
    record = read_record(folder)
    if record is not None and (record.status or record.local_id):
        return False
    try:
        if journal_files(folder) or any(folder.glob("*.refused")) or any(folder.glob("*.damaged")):
            return False
        for path in folder.iterdir():
            ours = path.suffix in (".new", ".sent") or path.name.startswith("run.json.")
            orphan = ours and path.stat().st_mtime < time.time() - _ORPHAN_SECONDS
            if orphan or path.name in ("run.json", "lock"):
                path.unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        return False
    return True


def _make(delivery: Delivery, folder: Path) -> None:
    """Make a folder of the journal, which keeps itself out of Git."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = delivery.folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_suffix(suffix)


def _cannot(folder: Path, error: OSError) -> JournalError:
    reason = error.strerror or str(error)
    return JournalError(
        f"the journal {folder.parent} cannot be written: {reason}; make room or set journal.path in "
        "kedro_mlflow_metrics.yml"
    )


def _sealed(body: bytes) -> bytes:
    """Put its checksum before a line."""
    return blake2b(body, digest_size=8).hexdigest().encode() + b" " + body + b"\n"


def _unsealed(line: bytes) -> bytes | None:
    """Return what a line holds, None if it does not agree with its checksum."""
    body = line[17:]
    seal = blake2b(body, digest_size=8).hexdigest().encode()
    return body if line[:17] == seal + b" " else None


def _answered(path: Path) -> int:
    """Return how far MLflow has answered for a file; 0 if nobody knows, since sending twice does no harm."""
    try:
        end = int(_unsealed(_beside(path, ".sent").read_bytes().rstrip(b"\n")) or 0)
        with path.open("rb") as file:
            file.seek(max(0, end - 1))
            return end if file.read(1) == b"\n" else 0  # a line ends there, or the file is another than it was
    except (OSError, ValueError):
        return 0


def _encoded(batch: Iterable[Points]) -> bytes:
    columns = [(some.key, list(some.values), list(some.steps), list(some.timestamps)) for some in batch]
    text = _encode(columns)
    return text.replace(" ", "\\u0020").encode()  # only keys have spaces, and none may look like a checksum


def _collect(line: bytes, columns: dict[str, Any], damaged: list[bytes]) -> int:
    """Add the points of a line to their columns and return how many they were."""
    body = _unsealed(line) if line else b"{"
    bodies = [body]
    if body is None:
        # A damaged line end makes two lines one: whatever still agrees with its checksum is good.
        cuts = [0, *(found.start() for found in _SEAL.finditer(line, 1)), len(line)]
        parts = [line[start:stop] for start, stop in pairwise(cuts)]
        bodies = [_unsealed(part) or _unsealed(part[:-1]) for part in parts]
        damaged += [part for part, good in zip(parts, bodies, strict=True) if good is None]
    number = 0
    for body in bodies:
        if body is None or body.startswith(b"{"):
            continue
        for key, values, steps, timestamps in json.loads(body.decode()):
            all_values, all_steps, all_timestamps = columns.setdefault(key, (array("d"), array("q"), array("q")))
            all_values.extend(values)
            all_steps.extend(steps)
            all_timestamps.extend(timestamps)
            number += len(values)
    return number
