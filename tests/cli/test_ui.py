"""``kedro metrics ui``: MLflow's pages, opened where the project's metrics are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from urllib.request import urlopen

import pytest


@pytest.fixture
def opened(simple, tmp_path):
    """Start the command with a browser that only notes what it is asked to open; return its link and what was noted."""
    simple.kedro("run")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path / "opened"}\n')
    browser.chmod(0o755)
    processes = []

    def start(*arguments, **env):
        command = [sys.executable, "-m", "kedro_mlflow_metrics", "ui", *arguments]
        environment = {**os.environ, **env, "BROWSER": str(browser)}
        process = subprocess.Popen(command, cwd=simple.root, env=environment, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process, process.stdout.readline().strip(), tmp_path / "opened"

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("run", ["", "latest"], ids=["runs", "run"])
def test_a_local_store(simple, opened, run):
    """Its pages are served until Ctrl-C, and the browser lands at the runs, or at the charts of one."""
    process, link, noted = opened(*filter(None, [run]))
    pages, _, place = link.partition("/#/")
    ident = simple.store.run["run_uuid"]
    runs = f"runs/{ident}/model-metrics" if run else "runs"
    assert place == f"experiments/{simple.store.run['experiment_id']}/{runs}?workflowType=machine_learning"
    with urlopen(f"{pages}/api/2.0/mlflow/runs/get?run_id={ident}") as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM if run else signal.SIGINT)
    assert process.wait(60) == (143 if run else 0)
    assert noted.read_text() == f"{link}\n"
    with pytest.raises(OSError, match="refused"):
        urlopen(pages)


def test_a_server(simple, opened, server):
    """It has its pages: they are opened, and nothing is started."""
    uri, store = server
    simple.kedro("run", env={"MLFLOW_TRACKING_URI": uri})
    process, link, noted = opened(MLFLOW_TRACKING_URI=uri)
    assert process.wait(60) == 0
    assert link == f"{uri}/#/experiments/{store.runs[-1]['experiment_id']}/runs?workflowType=machine_learning"
    assert noted.read_text() == f"{link}\n"


def test_before_the_first_run(project):
    """There is nothing to open, and a line says so."""
    out = project.kedro("metrics", "ui", fails=True).stdout
    told = f"MLflow at {project.store.uri} has no experiment 'proj' yet; run a pipeline that saves metrics"
    assert f"Error: {told}\n" in out


def test_a_port_that_is_taken(simple, server):
    """The command says so, instead of showing what answers there."""
    simple.kedro("run")
    taken = server[0].rpartition(":")[2]
    out = simple.kedro("metrics", "ui", "--no-browser", "--port", taken, fails=True).stdout
    assert f"Error: the port {taken} is taken; choose another with --port\n" in out
