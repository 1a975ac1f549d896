"""A command that believes to have a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import time


def on_a_terminal(command: list[object], *, out: bool = False, **options: object) -> str:
    """Run a command whose standard error is a terminal, its output too if asked, and return what that showed."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **options.pop("env", {})}
    process = subprocess.Popen(
        command, stderr=theirs, stdout=theirs if out else subprocess.DEVNULL, env=environment, **options
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(30) == 0, shown
    return shown.decode()


def rows_of(text: str, *heads: str) -> list[list[str]]:
    """Return the cells below these heads, of a table of text that is not on a terminal."""
    lines = text.splitlines()
    start = next((at for at, line in enumerate(lines) if line.split()[: len(heads)] == list(heads)), len(lines) - 1)
    starts = [lines[start].find(name) for name in heads]
    rows = []
    for line in lines[start + 1 :]:
        if not line.strip() or any(line[at - 2 : at].strip() for at in starts[1:]):
            break  # no row of this table
        rows.append([line[at:end].strip() for at, end in zip(starts, [*starts[1:], None], strict=True)])
    return rows
