"""What Git knows of a project; nothing where there is no Git, or no work tree."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["commit", "would_add"]


def commit(root: Path) -> str:
    """Return the commit that is checked out, empty if there is none."""
    done = _git(root, "rev-parse", "HEAD")
    return done.stdout.strip() if done and not done.returncode else ""


def would_add(path: Path) -> bool:
    """Tell whether ``git add`` would take a file or folder in."""
    done = _git(path.parent, "check-ignore", "--quiet", path.name)
    return done is not None and done.returncode == 1  # 0: ignored; 128: no work tree


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    try:
        command = ["git", *arguments]  # wherever it stands; S603 is about arguments of others, these are ours
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
