"""Engines that spread a pipeline: each node in a process of its own, and one MLflow run with all points."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.bench import until
from support.project import BIN
from support.server import free_port

pytestmark = pytest.mark.newest  # Kedro 1
HOW_TO = Path(__file__).parents[2] / "docs/how-to/engines.md"
PIPELINE = """
import os
import time
from pathlib import Path

from kedro.pipeline import node, pipeline

def count():
    return 100

def curve(count):
    Path("started").touch()
    for step in range(count):
        yield {"loss": step / 8, "pid": os.getpid()}

def sums(curve, count):
    return {"sum": sum(point["value"] for point in curve["loss"]), "count": count}

def register_pipelines():
    nodes = [node(count, None, "count")]
    nodes += [node(curve, "count", f"curve_{each}", name=f"c{each}") for each in range(3)]
    nodes += [node(sums, ["curve_0", "count"], "scalars")]
    return {"__default__": pipeline(nodes)}
"""


@pytest.fixture
def spread(project):
    """A project whose later nodes take what earlier ones return, or load what they have logged."""
    project.catalog(
        '"curve_{n}": {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n'
        "scalars: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n"
    )
    project.pipeline(PIPELINE)
    return project


def complete(project):
    """All is in one run, which has finished."""
    points = project.store.points(project.store.run["run_uuid"])
    assert project.store.run["status"] == "FINISHED"
    losses = {f"curve_{n}.loss": [(step, step / 8) for step in range(100)] for n in range(3)}
    assert {key: points[key] for key in losses} == losses
    assert points["scalars.sum"] == [(0, sum(step / 8 for step in range(100)))]
    assert points["scalars.count"] == [(0, 100)]
    return {pid for n in range(3) for _, pid in points[f"curve_{n}.pid"]}


def test_dask(spread):
    """The runner of the how-to, on a cluster of worker processes that never saw a hook of the session."""
    (runner,) = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    spread.write("src/proj/dask_runner.py", runner)
    workers = {"DASK_DISTRIBUTED__WORKER__DAEMON": "true"}
    done = spread.kedro("run", "--runner", "proj.dask_runner.DaskRunner", env=workers)
    pids = complete(spread)
    assert len(pids) > 1, done.stdout
    assert not list(spread.root.glob(".kedro_mlflow_metrics/runs/*"))


SERVED = """
import os
import time
from pathlib import Path

from kedro.pipeline import node, pipeline

def curve(which):
    for step in range(50):
        yield {"loss": which + step}
    while Path("hold").exists():
        time.sleep(0.05)

def register_pipelines():
    return {"__default__": pipeline([node(curve, "params:which", "curve")])}
"""


@pytest.fixture
def served(project):
    """`kedro server start` on a project, and how to ask it for a run."""
    pytest.importorskip("kedro.server")
    project.catalog("curve: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n")
    project.pipeline(SERVED)
    port = free_port()
    command = [BIN / "kedro", "server", "start", "--port", str(port)]
    with (project.root / "server.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=project.root, env=project.environment({}), stdout=log, stderr=log)

    def ask(which):
        body = json.dumps({"params": {"which": which}}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/run", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=100) as answer:
            return json.load(answer)["status"]

    def up():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
            return True

    deadline = time.monotonic() + 60
    while True:
        try:
            up()
            break
        except OSError:
            assert time.monotonic() < deadline and process.poll() is None, (project.root / "server.txt").read_text()
            time.sleep(0.1)
    yield project, ask, process
    process.kill()
    process.wait()


def test_requests_to_a_server(served):
    """Eight at once are eight runs, each with its own points."""
    project, ask, _ = served
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(0, 800, 100))) == ["success"] * 8
    found = {}
    for run in project.store.runs:
        assert run["status"] == "FINISHED"
        ((key, points),) = project.store.points(run["run_uuid"]).items()
        found[points[0][1]] = [value for _, value in points]
    assert key == "curve.loss"
    assert found == {float(which): [float(which + step) for step in range(50)] for which in range(0, 800, 100)}


def test_a_server_that_is_told_to_stop(served):
    """In the middle of runs: it lets them end, and what was saved is there."""
    project, ask, process = served
    (project.root / "hold").touch()
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(ask, which) for which in (0, 100, 200)]
        until(lambda: sum(map(len, project.store.points().values())) == 150)
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
        (project.root / "hold").unlink()
        process.wait(30)
        assert [answer.exception() or answer.result() for answer in answers]
    assert len(project.store.runs) == 3
    assert {run["status"] for run in project.store.runs} == {"FINISHED"}
    assert sum(map(len, project.store.points().values())) == 150
