"""Which run the points of a folder of the journal belong to: ``run.json``, replaced in one step."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from kedro_mlflow_metrics.errors import JournalError
from kedro_mlflow_metrics.tracking.address import Delivery, Server, safe_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Record",
    "cannot",
    "folder_of",
    "journal_files",
    "make_folder",
    "portable_uri",
    "put_record",
    "read_record",
    "remove",
    "sealed",
    "unsealed",
    "write_record",
]

_FILE = re.compile(r"[\w.-]+-\d+-[0-9a-f]{8}\.jsonl")
_ORPHAN_SECONDS = 60


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
        put_record(delivery, folder, record)
    except OSError as exc:
        raise cannot(folder, exc) from exc


def put_record(delivery: Delivery, folder: Path, record: Record) -> None:
    """Replace ``run.json``; raises OSError."""
    make_folder(delivery, folder)
    aside = folder / f"run.json.{os.getpid()}-{uuid4().hex[:8]}"
    try:
        aside.write_bytes(sealed(json.dumps({"run": asdict(record)}).encode()))
        aside.replace(folder / "run.json")
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def read_record(folder: Path) -> Record | None:
    """Return which run a folder belongs to; each of its files says so too, should ``run.json`` be lost."""
    for path in (folder / "run.json", *journal_files(folder)):
        try:
            with path.open("rb") as file:
                body = unsealed(file.readline().rstrip(b"\n"))
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


def make_folder(delivery: Delivery, folder: Path) -> None:
    """Make a folder of the journal, which keeps itself out of Git."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = delivery.folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def cannot(folder: Path, error: OSError) -> JournalError:
    """Say in one line why the journal takes no more."""
    reason = error.strerror or str(error)
    return JournalError(
        f"the journal {folder.parent} cannot be written: {reason}; make room or set journal.path in "
        "kedro_mlflow_metrics.yml"
    )


def sealed(body: bytes) -> bytes:
    """Put its checksum before a line."""
    return blake2b(body, digest_size=8).hexdigest().encode() + b" " + body + b"\n"


def unsealed(line: bytes) -> bytes | None:
    """Return what a line holds, None if it does not agree with its checksum."""
    body = line[17:]
    seal = blake2b(body, digest_size=8).hexdigest().encode()
    return body if line[:17] == seal + b" " else None
