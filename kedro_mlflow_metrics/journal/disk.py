"""Files that outlive their process: locked, made of lines with checksums, replaced in one step."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import sys
from array import array
from hashlib import blake2b
from io import FileIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kedro_mlflow_metrics.points.curves import Curve

__all__ = [
    "collect",
    "encoded",
    "is_locked",
    "opened",
    "own_name",
    "replace_file",
    "sealed",
    "try_lock",
    "unsealed",
    "write",
]

_FAR = 2**31 - 2  # the farthest byte that Windows locks by its C library
_SEAL = re.compile(rb"[0-9a-f]{16} ")
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode  # `dumps` would build one per line


def opened(path: Path, mode: str) -> FileIO:
    """Open a file that may be renamed and deleted while it is open, on Windows too. Raises OSError."""
    if sys.platform != "win32":
        return FileIO(path, mode)
    import _winapi
    import msvcrt

    def shared(_path: object, flags: int) -> int:
        access = _winapi.GENERIC_READ | (_winapi.GENERIC_WRITE if flags & os.O_RDWR else 0)
        share_all, open_always, create_new, ordinary = 7, 4, 1, 0x80
        how = create_new if flags & os.O_EXCL else open_always if flags & os.O_CREAT else _winapi.OPEN_EXISTING
        handle = _winapi.CreateFile(str(path), access, share_all, _winapi.NULL, how, ordinary, _winapi.NULL)
        return msvcrt.open_osfhandle(handle, flags)

    return FileIO(path, mode, opener=shared)


def try_lock(file: FileIO) -> bool:
    """Take the lock of a file without waiting, until it is closed or the process dies.

    Returns False if another process has it, or if nobody can tell.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            place = file.tell()
            file.seek(_FAR)  # Windows keeps others from reading what is locked, so lock what is never there
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            finally:
                file.seek(place)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Tell whether a process has the lock of a file."""
    try:
        with opened(path, "r+b") as file:
            return not try_lock(file)
    except OSError:
        return False


def own_name(suffix: str) -> str:
    """Return a name for a file that nobody else writes to."""
    host = re.sub(r"[^\w.-]", "_", socket.gethostname())[:60] or "host"
    return f"{host}-{os.getpid()}-{uuid4().hex[:8]}.{suffix}"


def write(file: FileIO, line: bytes) -> None:
    """Write a line with one ``write``; take back what a full disk took of it. Raises OSError."""
    written = file.write(line)
    if written != len(line):
        file.truncate(os.fstat(file.fileno()).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sealed(body: bytes) -> bytes:
    """Return a line that begins with the checksum of the rest."""
    return blake2b(body, digest_size=8).hexdigest().encode() + b" " + body + b"\n"


def unsealed(line: bytes) -> bytes | None:
    """Return what a line holds, None if it does not agree with its checksum."""
    body = line[17:]
    seal = blake2b(body, digest_size=8).hexdigest().encode()
    return body if line[:17] == seal + b" " else None


def encoded(batch: Iterable[Curve]) -> bytes:
    """Return points as JSON on one line."""
    columns = [(curve.key, list(curve.values), list(curve.steps), list(curve.timestamps)) for curve in batch]
    text = _encode(columns)
    return text.replace(" ", "\\u0020").encode()  # only keys have spaces, and none may look like a checksum


def collect(line: bytes, columns: dict[str, Any], damaged: list[bytes]) -> int:
    """Add the points of a line to their columns and return how many they were."""
    body = unsealed(line) if line else b"{"
    bodies = [body]
    if body is None:
        # A damaged line end makes two lines one: whatever still agrees with its checksum is good.
        cuts = [0, *(found.start() for found in _SEAL.finditer(line, 1)), len(line)]
        parts = [line[start:stop] for start, stop in pairwise(cuts)]
        bodies = [unsealed(part) or unsealed(part[:-1]) for part in parts]
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


def replace_file(path: Path, content: bytes, *, force: bool = True) -> None:
    """Replace a file in one step: whoever reads it sees the old content or the new. Raises OSError.

    Args:
        path: The file. What is there and is no ordinary file, a link say, is written to.
        content: What it is to hold.
        force: Whether the content is forced to the disk first, so that it outlives a power cut too.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{uuid4().hex[:8]}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            if force:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
