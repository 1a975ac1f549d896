"""Texts that were looked at once and are to stay as they are: ``SNAPSHOTS=write`` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "views/snapshots"


def is_as_before(name: str, text: str) -> bool:
    """Tell whether a text is what a file in the repository says."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get("SNAPSHOTS") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return text == path.read_text(encoding="utf-8")
