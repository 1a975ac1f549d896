"""Files that outlive their process: locked, sealed line by line, replaced in one step."""

from __future__ import annotations

import os
import sys
from hashlib import blake2b
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

__all__ = ["replace_file", "sealed", "try_lock", "unsealed"]

_FAR = 2**40


def try_lock(file: FileIO) -> bool:
    """Take the lock of a file without waiting, until it is closed or the process dies.

    Returns False if another process has it, or if nobody can tell.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_FAR)  # Windows keeps others from reading what is locked, so lock what is never there
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def sealed(body: bytes) -> bytes:
    """Return a line that begins with the checksum of the rest."""
    return blake2b(body, digest_size=8).hexdigest().encode() + b" " + body + b"\n"


def unsealed(line: bytes) -> bytes | None:
    """Return what a line holds, None if it does not agree with its checksum."""
    body = line[17:]
    seal = blake2b(body, digest_size=8).hexdigest().encode()
    return body if line[:17] == seal + b" " else None


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
