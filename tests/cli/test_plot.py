"""``kedro metrics plot``: on a terminal, into a file, and of a run that goes on."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import time

import pytest
from support.project import ENTRY
from support.terminal import on_a_terminal

PIPELINE = """
import time
from pathlib import Path
from kedro.pipeline import node, pipeline

def slow():
    for step in range(600):
        yield {"loss": 1 / (step + 1), "acc": step}
        if Path("stop").exists():
            return
        time.sleep(0.1)

def register_pipelines():
    return {
        "curves": pipeline([node(lambda: {"loss": [0.5, 0.25], "acc": [1, 2, 3], "one": 1}, None, "m")]),
        "single": pipeline([node(lambda: {"one": 1}, None, "m")]),
        "slow": pipeline([node(slow, None, "m")]),
    }
"""


@pytest.fixture
def plotted(project):
    project.catalog(ENTRY)
    project.pipeline(PIPELINE)
    return project


@pytest.fixture
def curves(plotted):
    """A project with two runs that have curves."""
    for _ in range(2):
        plotted.kedro("run", "--pipeline", "curves")
    return plotted


def test_charts(curves, kedro):
    """A chart per metric that has a curve; what has one point is counted beside."""
    out, log = kedro.answer(curves.root, "plot")
    assert [line for line in out.splitlines() if line.startswith("m.")] == ["m.acc", "m.loss"]
    assert log.splitlines()[-1] == "Not drawn: 1 metric without a curve; 'show' has them."
    out, _ = kedro.answer(curves.root, "plot", "latest~1", "latest", "--only", "*loss", "--md")
    lines = out.splitlines()
    assert (lines[0], lines[-1]) == ("```text", "```") and lines[1].count("━ curves ") == 2


@pytest.mark.parametrize("name", ["x.html", "x.png"])
def test_files(curves, kedro, name):
    """A page of its own, or a picture."""
    kedro.answer(curves.root, "plot", "latest", "latest~1", "-o", name)
    data = (curves.root / name).read_bytes()
    assert b"m.loss" in data if name == "x.html" else data.startswith(b"\x89PNG")


def test_what_is_refused(curves, kedro):
    """Another kind of file, two answers at once, and curves that are not there: one line each."""
    assert "end in .html or .png" in kedro.answer(curves.root, "plot", "-o", "x.svg", code=2)[1]
    assert "exclude each other" in kedro.answer(curves.root, "plot", "-o", "x.png", "--follow", code=2)[1]
    assert "end in .html or .png" in kedro.answer(curves.root, "plot", "-o", "", code=2)[1]
    for more in ((), ("--follow",)):
        assert "has no such curve" in kedro.answer(curves.root, "plot", "--only", "nothing", *more, code=1)[1]
    curves.kedro("run", "--pipeline", "single")
    log = kedro.answer(curves.root, "plot", code=1)[1]
    assert "has no curve, but 1 metric without one: see 'show'" in log


def test_many_points(plotted, kedro):
    """A spike of one point is in the picture, though most points are not."""
    plotted.kedro("run", "--pipeline", "single")
    run = plotted.store.run["run_uuid"]
    with sqlite3.connect(plotted.root / "mlflow.db") as database:
        rows = ((run, "m.long", float(step == 77_777), 10**12 + step, step) for step in range(100_000))
        insert = "INSERT INTO {} (run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)"
        database.executemany(insert.format("metrics"), rows)
        database.execute(insert.format("latest_metrics"), (run, "m.long", 0.0, 10**12 + 99_999, 99_999))
    database.close()
    out, _ = kedro.answer(plotted.root, "plot", "--only", "m.long", "--json")
    (line,) = json.loads(out)["metrics"]["m.long"]
    assert line["count"] == 100_000 and len(line["steps"]) <= 2_000
    assert line["steps"][line["values"].index(1.0)] == 77_777


@pytest.mark.minutes
@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "terminal"])
def test_follow(plotted, terminal):
    """It draws a run that goes on until it ends, and then the whole of it; without a terminal only that."""
    run = plotted.start("run", "--pipeline", "slow")
    for _ in range(600):
        if plotted.store.points():
            break
        time.sleep(0.1)
    command = [sys.executable, "-m", "kedro_mlflow_metrics", "plot", "--follow"]
    environment = plotted.environment({"LINES": "40"})
    if terminal:
        helper = "import pathlib, subprocess, sys, threading, time\n"
        helper += "threading.Timer(12, pathlib.Path('stop').touch).start(); subprocess.run(sys.argv[1:])"
        shown = on_a_terminal([sys.executable, "-c", helper, *command], out=True, cwd=plotted.root, env=environment)
    else:
        done = subprocess.Popen(command, cwd=plotted.root, env=environment, stdout=subprocess.PIPE, text=True)
        time.sleep(5)
        (plotted.root / "stop").touch()
        shown, _ = done.communicate(timeout=60)
    assert run.wait(60) == 0
    last = max(step for step, _ in plotted.store.points()["m.loss"])
    shown = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", shown)
    assert shown.split()[-1] == str(last)
    assert (shown.count("m.loss") > 1) == terminal  # drawn again, or once
