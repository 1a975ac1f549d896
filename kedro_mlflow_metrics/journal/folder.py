"""The journal's folder, and in it a folder per run, whose ``run.json`` says which run it is.

What cannot be written is a `JournalError`.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.errors import JournalError
from kedro_mlflow_metrics.journal.disk import (
    is_locked,
    opened,
    own_name,
    replace_file,
    sealed,
    try_lock,
    unsealed,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import FileIO

__all__ = ["Journal", "Record", "RunFolder", "first_line"]

_FILE = re.compile(r"[\w.-]+-\d+-[0-9a-f]{8}\.(?P<kind>jsonl|session)")
_ORPHAN_SECONDS = 60


@dataclass(frozen=True)
class Journal:
    """Where points wait that MLflow does not take at once."""

    root: str = ""  # the project's root; without a project the current folder
    path: str = ".kedro_mlflow_metrics"  # the journal's folder, taken from the root
    max_bytes: int = 2**30  # how much all its files may hold
    env: str = ""  # the Kedro environment
    fail: bool = False  # whether points that MLflow does not take raise an error instead of waiting here

    @property
    def folder(self) -> Path:
        """The journal's folder."""
        return Path(self.root or Path.cwd(), self.path)

    @property
    def base(self) -> Path | None:
        """The folder from which it names local addresses, so that a project can be moved; None if it is shared."""
        root = Path(self.root or Path.cwd())
        return root if self.folder.resolve().is_relative_to(root.resolve()) else None

    @property
    def in_project(self) -> bool:
        """Whether its root is a Kedro project's, by the sign that Kedro itself goes by."""
        try:
            return "[tool.kedro]" in Path(self.root, "pyproject.toml").read_text(encoding="utf-8")
        except (OSError, ValueError):
            return False

    def command(self, name: str) -> str:
        """Return how a command is called that works here and reads the same settings."""
        if not self.in_project:
            return f"python -m kedro_mlflow_metrics {name}"
        return f"kedro metrics {name} --env {self.env}" if self.env not in ("", "local") else f"kedro metrics {name}"

    def of(self, record: Record) -> RunFolder:
        """Return the folder of a run, whether it exists or not."""
        name = re.sub(r"[^\w-]", "_", record.ident)[:80]
        digest = blake2b(f"{record.uri}\n{record.ident}".encode(), digest_size=4).hexdigest()
        return RunFolder(self, self.folder / "runs" / f"{name}-{digest}")

    def runs(self) -> list[RunFolder]:
        """Return the folders of all runs."""
        try:
            return [RunFolder(self, path) for path in sorted((self.folder / "runs").iterdir()) if path.is_dir()]
        except OSError:
            return []

    def runs_at(self, uri: str) -> Iterator[tuple[RunFolder, Record]]:
        """Yield the folders of the runs of an address, and which runs they are."""
        for folder in self.runs():
            record = folder.read()
            if record is not None and record.uri == uri:
                yield folder, record

    def others(self, path: Path | None, size: int) -> int:
        """Return how many bytes all files but one hold; refuse that one a size with which they are too many."""
        others = 0
        for folder in self.runs():
            with suppress(OSError):  # sent and deleted at this moment
                others += sum(each.stat().st_size for each in folder.path.iterdir() if each != path)
        if others + size > self.max_bytes:
            raise JournalError(
                f"the journal {self.folder} has reached its limit of {self.max_bytes} bytes",
                f"send it with '{self.command('sync')}', or raise journal.max_bytes in kedro_mlflow_metrics.yml",
            )
        return others

    def full(self, error: OSError) -> JournalError:
        """Say in one line why the journal takes no more."""
        reason = f"the journal {self.folder} cannot be written: {error.strerror or error}"
        return JournalError(reason, "make room or set journal.path in kedro_mlflow_metrics.yml")


@dataclass(frozen=True)
class Record:
    """Which run the points of a folder belong to; nothing of it is secret."""

    uri: str  # MLflow's address without user name, password and query, a local path from the project's root
    run_id: str = ""  # the run in MLflow; empty for one that is still to be made
    local_id: str = ""  # the id of a run that began while nobody answered, which it keeps; the tag by which it is found
    env: str = ""  # the Kedro environment
    name: str = ""  # the run's name
    experiment: str = ""  # its experiment, for a run to be made
    experiment_id: str = ""  # the same by id, where the user named it so
    run_key: str = ""  # the run key, if it shares its run with other sessions
    tags: Mapping[str, str] = field(default_factory=dict)  # its tags, for a run to be made
    start_time: int = 0  # when it began, in milliseconds since the epoch
    artifact_uri: str = ""  # where MLflow keeps its artifacts

    @property
    def ident(self) -> str:
        """What the run is called on this machine, from its beginning to its end."""
        return self.local_id or self.run_id

    @property
    def shown(self) -> str:
        """What users call the run: MLflow's id, or the local one as long as there is none."""
        return self.run_id or self.local_id


@dataclass(frozen=True)
class RunFolder:
    """What waits of one run: a file of points per process, a note per session, and ``run.json``."""

    journal: Journal
    path: Path

    def make(self) -> None:
        """Make the folder, in a journal that keeps itself out of Git. Raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        ignore = self.journal.folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")

    def files(self, kind: str = "jsonl") -> list[Path]:
        """Return the files of points that are ours, or the notes of sessions."""
        try:
            return sorted(path for path in self.path.iterdir() if _kind(path) == kind and path.is_file())
        except OSError:
            return []

    @property
    def live(self) -> bool:
        """Whether a process still writes here: it holds the lock of a file."""
        return any(map(is_locked, (*self.files(), *self.files("session"))))

    @property
    def last_write(self) -> int:
        """When somebody last wrote, in milliseconds since the epoch; 0 if nobody did."""
        times = [0]
        for path in (*self.files(), *self.files("session")):
            with suppress(OSError):
                times.append(int(path.stat().st_mtime * 1000))
        return max(times)

    def read(self) -> Record | None:
        """Return which run it belongs to; each file says so too in its first line, should ``run.json`` be lost."""
        for path in (self.path / "run.json", *self.files()):
            try:
                with path.open("rb") as file:
                    body = unsealed(file.readline().rstrip(b"\n"))
            except OSError:
                continue
            if body is not None and body.startswith(b"{"):
                known = {each.name for each in fields(Record)}
                return Record(**{name: value for name, value in json.loads(body)["run"].items() if name in known})
        return None

    def put(self, record: Record) -> None:
        """Replace ``run.json``. Raises OSError."""
        self.make()
        replace_file(self.path / "run.json", first_line(record), force=False)

    def write(self, record: Record) -> None:
        """Replace ``run.json``."""
        try:
            self.put(record)
        except OSError as exc:
            raise self.journal.full(exc) from exc

    def put_first(self, record: Record) -> None:
        """Write ``run.json`` if there is none. Raises OSError."""
        if not (self.path / "run.json").exists():
            self.put(record)

    def create(self, kind: str, mode: str, line: bytes, record: Record) -> tuple[Path, FileIO]:
        """Begin a file of points or a note, whose lock this process holds until it is closed. Raises OSError."""
        for _ in range(4):
            with suppress(FileNotFoundError, FileExistsError):  # another process removed the folder meanwhile
                return self._create(kind, mode, line, record)
        return self._create(kind, mode, line, record)

    def _create(self, kind: str, mode: str, line: bytes, record: Record) -> tuple[Path, FileIO]:
        self.make()
        path = self.path / own_name(kind)
        new = path.with_suffix(".new")
        file = opened(new, mode)
        try:
            try_lock(file)
            write(file, line)
            new.rename(path)  # nobody sees it before it is locked
            self.put_first(record)
        except OSError:
            file.close()
            for each in (new, path):
                each.unlink(missing_ok=True)
            raise
        return path, file

    @contextmanager
    def locked(self, seconds: float) -> Iterator[bool]:
        """Take the right to send from here, if need be after another process; yield whether that succeeded.

        Args:
            seconds: How long to wait for the other.
        """
        deadline = time.monotonic() + seconds
        try:
            lock = opened(self.path / "lock", "a+b")
        except OSError:
            yield False
            return
        with lock:
            while not (taken := try_lock(lock)) and time.monotonic() < deadline:
                time.sleep(0.05)
            yield taken

    def remove(self) -> bool:
        """Delete the folder if nothing waits in it; return whether it is gone."""
        record = self.read()
        try:
            left = (*self.files(), *self.files("session"), *self.path.glob("*.refused"), *self.path.glob("*.damaged"))
            if left:
                return False
            for path in self.path.iterdir():
                ours = path.suffix in (".new", ".sent") or path.name.startswith(".run.json.")
                orphan = ours and path.stat().st_mtime < time.time() - _ORPHAN_SECONDS
                if orphan or path.name in ("run.json", "lock"):
                    path.unlink(missing_ok=True)
            self.path.rmdir()
        except OSError:
            with suppress(OSError):
                others = [path.name for path in self.path.iterdir() if path.name != "lock"]
                if record is not None and others:  # another process begins here at this moment
                    self.put_first(record)
            return False
        return True

    def drop(self) -> None:
        """Throw away whatever it holds."""
        shutil.rmtree(self.path, ignore_errors=True)


def first_line(record: Record) -> bytes:
    """Return the line with which ``run.json`` and each file of points begin."""
    return sealed(json.dumps({"run": asdict(record)}).encode())


def _kind(path: Path) -> str:
    """Return what a file holds, if its name is one of ours."""
    found = _FILE.fullmatch(path.name)
    return found["kind"] if found else ""
