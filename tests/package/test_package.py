"""The wheel and the sdist: what is in them, and that the wheel alone works on each Python. See ``make package``.

``DIST`` is the folder where they are, ``PYTHONS`` names the interpreters. Nothing here imports the checkout.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

if "DIST" not in os.environ:
    pytest.skip("no package is built here: make package", allow_module_level=True)

ROOT = Path(__file__).parents[2]
(WHEEL,) = Path(os.environ["DIST"]).resolve().glob("*.whl")
(SDIST,) = Path(os.environ["DIST"]).resolve().glob("*.tar.gz")
VERSION = WHEEL.name.split("-")[1]
UNPACKAGED = (".ci/", ".github/", ".gitignore", ".pre-commit-config.yaml")  # what serves the repository alone
SCRIPTS, EXE = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")


def in_git(*under: str) -> set[str]:
    """Return the files that Git holds."""
    command = ["git", "ls-files", "-z", *under]
    return {*subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")} - {""}


def test_the_sdist():
    """It has what Git has, and what setuptools adds."""
    with tarfile.open(SDIST) as archive:
        files = {name.partition("/")[2] for name in archive.getnames() if not archive.getmember(name).isdir()}
    added = {file for file in files if file == "PKG-INFO" or ".egg-info/" in file}
    assert files - added == {file for file in in_git() if not file.startswith(UNPACKAGED)}


def test_the_wheel():
    """It has the package as Git has it, the marker of types and the starter's template too, and no tests."""
    with zipfile.ZipFile(WHEEL) as archive:
        files = {file for file in archive.namelist() if ".dist-info/" not in file}
    assert files == in_git("kedro_mlflow_metrics")
    assert "kedro_mlflow_metrics/py.typed" in files


def test_the_version():
    """The changelog begins with the version that is built."""
    assert re.search(r"^## (\S+)", (ROOT / "docs/changelog.md").read_text(encoding="utf-8"), re.MULTILINE)[1] == VERSION


@pytest.mark.parametrize("python", (os.environ.get("PYTHONS") or sys.executable).split())
def test_installed(python, tmp_path):
    """Whoever installs the wheel has a starter that runs, its metrics in MLflow, and commands that show them."""
    python_, kedro = (tmp_path / "venv" / SCRIPTS / f"{name}{EXE}" for name in ("python", "kedro"))
    no_checkout = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW"))}
    env = {**no_checkout, "KEDRO_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "PYTHONUTF8": "1"}

    def run(*command: object, cwd: Path = tmp_path) -> str:
        done = subprocess.run(
            command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    run("uv", "venv", "--python", python, "venv")
    run("uv", "pip", "install", "--python", python_, WHEEL)
    code = "import kedro_mlflow_metrics as ours; print(ours.__file__, ours.__version__, sep='|')"
    file, version = run(python_, "-c", code).strip().split("|")
    assert Path(file).is_relative_to(tmp_path / "venv")
    assert version == VERSION
    assert run(python_, "-m", "compileall", "-q", Path(file).parent) == ""  # as pip does, the starter's template too

    run(kedro, "new", "--starter=mlflow-metrics-demo")
    demo = tmp_path / "mlflow-metrics-demo"
    run("uv", "pip", "install", "--offline", "--python", python_, "-r", demo / "requirements.txt")
    assert "See the charts: kedro metrics ui" in run(kedro, "run", cwd=demo)
    with closing(sqlite3.connect(demo / "mlflow.db")) as store:
        assert store.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
        points = dict(store.execute("SELECT key, COUNT(*) FROM metrics GROUP BY key").fetchall())
    assert points["training_metrics.loss"] == 20
    assert points["margin.accuracy"] == 1  # of what both namespaces logged
    shown = run(kedro, "metrics", "show", cwd=demo)
    assert [key for key in points if key not in shown] == []
