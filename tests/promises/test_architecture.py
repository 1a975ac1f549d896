"""The architecture page names what there is."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "kedro_mlflow_metrics"
PAGE = (ROOT / "docs/explanation/architecture.md").read_text()
ROWS = re.findall(r"^\| `(\w+)/` \| .+ \| (.+) \|$", PAGE, re.MULTILINE)


def test_the_wings():
    """Each folder of the package has a row, and stands in the picture; there are no others."""
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {name for name, _ in ROWS} == folders
    picture = PAGE.split("```")[1]
    assert set(re.findall(r"(\w+)/", picture)) == folders
    assert set(re.findall(r"(\w+\.py)", picture)) == {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}


def test_the_files():
    """Each file of a wing is named in its row."""
    for wing, files in ROWS:
        there = {path.stem for path in (PACKAGE / wing).glob("*.py")} - {"__init__"}
        assert {name for name in re.findall(r"`(\w+)`", files) if name in there} == there, wing


def test_what_is_said_of_the_code_is_there():
    """Every path with a file or a function in it leads somewhere."""
    for path, function in re.findall(r"`(\w+/\w+)\.py`|`((?:\w+/)?\w+\.\w+)`", PAGE):
        if path:
            assert (PACKAGE / f"{path}.py").exists(), path
        elif not function.endswith((".py", ".cfg", ".json", ".yml")):
            module, name = function.rsplit(".", 1)
            known = [*PACKAGE.rglob(f"{module}.py")] or [PACKAGE / f"{module}.py"]
            assert any(re.search(rf"\b(def|class) {name}\b", each.read_text()) for each in known), function


def test_where_is():
    """What a reader may look for is in the file that the page names."""
    rows = re.findall(r"`([\w/]+\.py)`: `(\w+)`(?:, `(\w+)`)?", PAGE)
    assert len(rows) >= 9
    for path, *names in rows:
        text = (PACKAGE / path).read_text()
        assert all(re.search(rf"\b{name}\b", text) for name in names if name), path


def test_links():
    """README and the page for contributors lead here."""
    assert "docs/explanation/architecture.md" in (ROOT / "README.md").read_text()
    assert "explanation/architecture.md" in (ROOT / "docs/contributing.md").read_text()
