"""A lock on a file, held by one process until it closes the file or dies."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import FileIO

__all__ = ["try_lock"]

_FAR = 2**40


def try_lock(file: FileIO) -> bool:
    """Take the lock of a file without waiting; False if another process has it, or nobody can tell."""
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
