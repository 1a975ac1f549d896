"""The calls that are made on Windows alone, with a stand-in for its functions: nobody has run them there yet."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from kedro_mlflow_metrics.journal import disk

CREATE_NEW, OPEN_EXISTING, OPEN_ALWAYS = 1, 3, 4
HOW = {CREATE_NEW: os.O_CREAT | os.O_EXCL, OPEN_EXISTING: 0, OPEN_ALWAYS: os.O_CREAT}
READ, WRITE = 0x80000000, 0x40000000


@pytest.fixture
def windows(monkeypatch):
    """Windows' functions, which do on this system what they do there; yields what was asked of them."""
    asked = SimpleNamespace(shares=[], locked=[])

    def create_file(name, access, share, _security, how, *_):
        assert type(name) is str
        asked.shares.append(share)
        return os.open(name, HOW[how] | os.O_APPEND * (how == OPEN_ALWAYS) | (os.O_RDWR if access & WRITE else 0))

    def locking(descriptor, mode, count):
        asked.locked.append(os.lseek(descriptor, 0, os.SEEK_CUR))

    winapi = {"GENERIC_READ": READ, "GENERIC_WRITE": WRITE, "OPEN_EXISTING": OPEN_EXISTING, "NULL": 0}
    monkeypatch.setitem(sys.modules, "_winapi", SimpleNamespace(CreateFile=create_file, **winapi))
    msvcrt = SimpleNamespace(LK_NBLCK=2, locking=locking, open_osfhandle=lambda handle, flags: handle)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    monkeypatch.setattr(disk, "sys", SimpleNamespace(platform="win32"))
    return asked


def test_the_lock(windows, tmp_path):
    """The C library can name the byte that is locked, no line is ever there, and writing goes on where it was."""
    with disk.opened(tmp_path / "note", "x+b") as file:
        assert disk.try_lock(file)
        disk.write(file, b"line\n")
    assert (tmp_path / "note").read_bytes() == b"line\n"
    assert 2**30 < windows.locked[0] + 1 < 2**31


def test_how_files_are_opened(windows, tmp_path):
    """Each may be renamed and deleted meanwhile; it is made, or must be there, as the mode says."""
    path = tmp_path / "points"
    with pytest.raises(FileNotFoundError):
        disk.opened(path, "r+b")
    with disk.opened(path, "x+b") as file:
        file.write(b"12")
    with pytest.raises(FileExistsError):
        disk.opened(path, "x+b")
    with disk.opened(path, "a+b") as file:
        file.write(b"3")
    with disk.opened(path, "rb") as file:
        assert file.read() == b"123"
        with pytest.raises(OSError, match="descriptor"):
            os.write(file.fileno(), b"4")
    assert set(windows.shares) == {7}
