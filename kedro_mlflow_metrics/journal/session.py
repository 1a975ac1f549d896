"""The note that a session keeps in a run's folder while it lasts: that its process lives, and in the end how it ended.

Its process holds the lock of the file. The note is one line of fixed length, which is overwritten where it stands:
that works on a full disk too.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.journal.disk import is_locked, sealed, unsealed, write

if TYPE_CHECKING:
    from io import FileIO

    from kedro_mlflow_metrics.journal.folder import Record, RunFolder

__all__ = ["FoundNote", "Note", "Session", "notes_in"]

_LENGTH = 4096
_LONGEST_REASON = 600


@dataclass(frozen=True)
class Note:
    """What a session says of itself."""

    owner: bool = False  # whether it ends the run
    host: str = ""  # its machine
    boot: str = ""  # which start of that machine it belongs to
    end_time: int = 0  # when it ended, in milliseconds since the epoch; 0 while it lasts
    status: str = ""  # how the run ended, if that is still to be told to MLflow
    reason: str = ""  # why something of it waits
    tag: str = ""  # the tag in which it says how it is, to a run that it shares by a run key

    @property
    def line(self) -> bytes:
        """The note as it stands in its file."""
        body = json.dumps(asdict(replace(self, reason=self.reason[:_LONGEST_REASON]))).encode()
        return sealed(body.ljust(_LENGTH - len(sealed(b""))))


@dataclass(frozen=True)
class FoundNote:
    """A note as others find it."""

    note: Note
    path: Path
    lives: bool  # whether its process holds the lock

    @property
    def killed(self) -> bool:
        """Whether its process is gone without an end; nobody can tell of another machine's."""
        here = (self.note.host, self.note.boot) == _here()
        return here and not self.lives and not self.note.end_time

    @property
    def over(self) -> bool:
        """Whether the session has ended, one way or the other."""
        return bool(self.note.end_time) or self.killed


class Session:
    """The note of this process for one run."""

    def __init__(self, folder: RunFolder, record: Record, *, owner: bool, tag: str = "") -> None:
        """Write the note; where that is not possible there is none, and no error."""
        self._folder, self._record, self.tag = folder, record, tag
        host, boot = _here()
        self._note = Note(owner, host, boot, tag=tag)
        self._file: FileIO | None = None
        with suppress(OSError):
            self._create()

    def _create(self) -> None:
        self._path, self._file = self._folder.create("session", "x+b", self._note.line, self._record)

    def end(self, status: str, end_time: int, reason: str = "") -> None:
        """Note how it ended, for whoever sends what waits. Raises JournalError."""
        self._note = replace(self._note, status=status, end_time=end_time, reason=reason)
        try:
            if self._file is None:
                self._create()
            else:
                self._file.seek(0)
                write(self._file, self._note.line)
        except OSError as exc:
            raise self._folder.journal.full(exc) from exc

    def drop(self) -> None:
        """Take the note back."""
        if self._file is not None:
            with suppress(OSError):  # held open by somebody, on Windows
                self._path.unlink(missing_ok=True)
            self._file.close()
            self._folder.remove()

    def leave(self) -> None:
        """Let go of the note, which stays if it has not been removed; a forked child does no more than that."""
        if self._file is not None:
            self._file.close()


def notes_in(folder: RunFolder) -> list[FoundNote]:
    """Return the notes of all sessions in a folder."""
    found = []
    for path in folder.files("session"):
        lives = is_locked(path)  # first: who ends writes that down, and then lets go
        with suppress(OSError, TypeError):
            body = unsealed(path.read_bytes().rstrip(b"\n"))
            found.append(FoundNote(Note(**json.loads(body)) if body else Note(), path, lives))
    return found


@cache
def _here() -> tuple[str, str]:
    """Return this machine and its start, as far as the system tells of it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return socket.gethostname(), boot
