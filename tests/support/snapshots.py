"""Texts that were looked at once and are to stay as they are: ``SNAPSHOTS=write`` writes them anew."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "views/snapshots"
KEPT = 40


def is_as_before(name: str, text: str) -> bool:
    """Tell whether a text is what a file in the repository says, a long one by beginning, end and digest."""
    path, lines = FOLDER / f"{name}.txt", text.splitlines(keepends=True)
    if len(lines) > 2 * KEPT:
        digest = blake2b(text.encode(), digest_size=16).hexdigest()
        text = "".join([*lines[:KEPT], f"... {len(lines)} lines, digest {digest}\n", *lines[-KEPT:]])
    if os.environ.get("SNAPSHOTS") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return text == path.read_text(encoding="utf-8")
