"""The tutorial, word for word: its commands and files in the order of the page, and what it says comes of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import BIN, Store

PAGE = (Path(__file__).parents[2] / "docs/tutorial.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ROWS = re.findall(r"^\| `([\w.]+)` \| (\d+) \|$", PAGE, re.MULTILINE)


def shows_charts(folder, command, env):
    """Run the command that serves MLflow's pages until it prints its link."""
    serves = subprocess.Popen(
        [sys.executable, "-m", "kedro_mlflow_metrics", *command.split()[2:], "--no-browser"],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    link = serves.stdout.readline()
    serves.terminate()
    serves.wait()
    return re.search(r"/#/experiments/\d+/runs/\w+/model-metrics\?", link)


@pytest.fixture
def store(tmp_path):
    """Where the runs of the project are: since MLflow 3.7 in its own default, which the page is about."""
    return Store(tmp_path / "digits/mlflow.db")


@pytest.mark.newest  # MLflow before 3.7 has another default store
def test_the_page(tmp_path, store):
    """From an empty folder to the curve."""
    folder, done = tmp_path, []
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    for language, text in BLOCKS:
        path = re.match(r"# (\S+/\S+)\n", text)
        if path:
            assert (folder / path[1]).parent.is_dir()
            (folder / path[1]).write_text(text)
        elif language == "python":  # the node of the last step
            names = {}
            exec(text, names)
            assert names["report"]({"accuracy": 0.5}) == "accuracy 50.0%"
        elif language == "console":
            for command in re.findall(r"^\$ (.+)$", text, re.MULTILINE):
                done.append(command)
                if command.startswith("cd "):
                    folder /= command[3:]
                elif command.startswith("kedro metrics ui"):
                    assert shows_charts(folder, command, env)
                    points = store.points(store.runs[-1]["run_uuid"])
                    assert {key: str(len(history)) for key, history in points.items()} == dict(ROWS)
                elif not command.startswith("pip "):
                    subprocess.run(command.split(), cwd=folder, env=env, check=True, capture_output=True)
    assert done[1:] == [
        "kedro new --name=digits --tools=none --example=n",
        "cd digits",
        "kedro metrics init",
        "kedro run",
        "kedro metrics ui latest",
        "kedro run",
    ]
    dots, slashes = ({*store.points(run["run_uuid"])} for run in store.runs)
    assert dots == {key for key, _ in ROWS}
    assert slashes == {key.replace(".", "/") for key in dots}
    losses = [value for _, value in store.points(store.runs[0]["run_uuid"])["training.loss"]]
    assert losses[-1] < losses[0]
    assert all(run["name"].startswith("digits 20") for run in store.runs)
