"""``kedro metrics init``: a settings file to fill in, and local stores that Git ignores."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from kedro_mlflow_metrics.cli.init import SETTINGS
from kedro_mlflow_metrics.project.settings import BetterSettings, JournalSettings, RunSettings, Settings, read_settings
from kedro_mlflow_metrics.schema import settable

FILE = "conf/base/kedro_mlflow_metrics.yml"


def git(project, *command):
    done = subprocess.run(["git", *command], cwd=project.root, check=True, capture_output=True, text=True)
    return done.stdout.split()


def uncommented():
    """Return the settings that stand in the file as comments."""
    lines = (line.removeprefix("# ") for line in SETTINGS.splitlines())
    return yaml.safe_load("\n".join(line for line in lines if re.match(r"(  )?[a-z_]+:", line)))


def test_the_file_has_every_setting():
    """Uncommented it is accepted, and says the defaults."""
    shown = uncommented()
    assert set(shown) == set(settable(Settings))
    assert set(shown["run"]) == set(settable(RunSettings))
    assert set(shown["journal"]) == set(settable(JournalSettings))
    assert set(shown["better"]) == set(settable(BetterSettings))
    examples = {name: shown.pop(name) for name in ("tracking_uri", "experiment", "credentials")}
    assert all(isinstance(example, str) for example in examples.values())
    assert read_settings(shown, {}) == Settings()


def test_it_writes_what_is_missing(simple):
    """The settings as comments, so that nothing changes, and the lines for Git; a second time nothing."""
    (simple.root / FILE).unlink()
    (simple.root / ".gitignore").write_text("*.pyc")
    out = simple.kedro("metrics", "init").stdout
    assert f"Wrote {simple.root / FILE}\n" in out
    assert f"Added mlflow.db* and mlruns/ to {simple.root / '.gitignore'}\n" in out
    assert (simple.root / ".gitignore").read_text() == "*.pyc\nmlflow.db*\nmlruns/\n"
    simple.kedro("run", env={"MLFLOW_TRACKING_URI": simple.store.uri})
    assert simple.store.points() == {"m.a": [(0, 1.0)]}
    written = {path: (simple.root / path).read_text() for path in (FILE, ".gitignore")}
    assert f"{simple.root / FILE} is there already.\n" in simple.kedro("metrics", "init").stdout
    assert {path: (simple.root / path).read_text() for path in (FILE, ".gitignore")} == written


@pytest.mark.parametrize("ignored", [False, True], ids=["not ignored", "ignored"])
def test_git_would_take_a_new_store_in(simple, ignored):
    """The run that makes the store says so, once; after ``init`` there is nothing to say, and nothing to add."""
    git(simple, "init", "-q")
    if ignored:
        simple.kedro("metrics", "init")
    simple.store.path.unlink()
    told = "Git does not ignore mlflow.db; 'kedro metrics init' adds it to .gitignore"
    assert (told in simple.kedro("run").stdout) == (not ignored)
    git(simple, "add", "-A")
    staged = [path for path in git(simple, "ls-files") if path.startswith(("mlflow.db", "mlruns", ".kedro_mlflow"))]
    assert bool(staged) == (not ignored)
    assert told not in simple.kedro("run").stdout


def test_without_git_there_is_nothing_to_say(simple):
    """A project that is no work tree is left in peace."""
    simple.store.path.unlink()
    assert (
        "Git does not ignore"
        not in simple.kedro("run", env={"GIT_CEILING_DIRECTORIES": str(simple.root.parent)}).stdout
    )
