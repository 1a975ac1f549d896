"""The workflows call what is there, and the one that publishes makes metadata and links that lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
if not (ROOT / ".github").exists():
    pytest.skip("an unpacked sdist has no workflows", allow_module_level=True)
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}
ADDRESS = "https://example.org/someone/kedro-mlflow-metrics"


def steps(name: str) -> list[dict]:
    return [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"]]


def test_the_targets():
    """Each target that a workflow makes is one; together they are what `.ci/run` makes, and more."""
    makefile = (ROOT / "Makefile").read_text()
    called = {word for name in WORKFLOWS for step in steps(name) for word in _made(step.get("run", ""))}
    called |= set(WORKFLOWS["tests"]["jobs"]["others"]["strategy"]["matrix"]["target"])
    assert [target for target in called if not re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE)] == []
    assert _made((ROOT / ".ci/run").read_text()) <= called


def _made(script: str) -> set[str]:
    """Return the targets of the ``make`` commands in a script."""
    words = {word for line in re.findall(r"^\s*make ([^#\n]+)", script, re.MULTILINE) for word in line.split()}
    return {word for word in words if re.fullmatch(r"[\w./-]+", word)}


def test_the_paths():
    """Each file or folder of ours that a workflow names is there."""
    named = {
        path for name in WORKFLOWS for step in steps(name) for path in re.findall(r"tests/\S+", step.get("run", ""))
    }
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_what_is_published(tmp_path):
    """The package names the address where it is built, and each link of its README leads to a file there."""
    tomllib = pytest.importorskip("tomllib")
    (step,) = [step for step in steps("publish") if "address" in step.get("name", "")]
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    env = {**os.environ, "ADDRESS": ADDRESS, "GITHUB_REF_NAME": "v1.2.3"}
    subprocess.run(["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=env, check=True)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    assert list(project["urls"]) == ["Source", "Documentation", "Changelog", "Issues"]
    links = re.findall(r"\]\(([^)\s#]+)", (tmp_path / "README.md").read_text())
    for link in [*links, *project["urls"].values()]:
        assert link.startswith("https://")
        place = re.fullmatch(rf"{ADDRESS}/(raw|blob|tree)/v1\.2\.3/(.+)", link)
        assert not place or (ROOT / place[2]).exists(), link
    assert sum(link.startswith(ADDRESS) for link in links) > 10
