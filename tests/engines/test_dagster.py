"""A pipeline that kedro-dagster turns into a job, driven by Dagster: each node, and each hook, in its own process."""

from __future__ import annotations

import os
import subprocess

import pytest
from support.project import BIN

pytest.importorskip("kedro_dagster", reason="kedro-dagster is not installed here: make test-engines")
PIPELINE = """
import os

from kedro.pipeline import node, pipeline

def count():
    return 100

def curve(count):
    for step in range(count):
        yield {"loss": step / 8}

def scalars(count):
    return {"count": count, "pid": os.getpid()}

def bad(count):
    raise RuntimeError("on purpose")

def late(count):
    yield {"count": count}
    raise RuntimeError("on purpose")

def register_pipelines():
    first = node(count, None, "count", name="count")
    nodes = [first, node(curve, "count", "curve", name="curve")]
    nodes += [node(scalars, "count", f"n{each}_metrics", name=f"n{each}") for each in range(2)]
    failing = [first, nodes[2], node(bad, "count", "bad_metrics", name="bad")]
    late_one = [first, nodes[2], node(late, "count", "late_metrics", name="late")]
    return {"__default__": pipeline(nodes), "failing": pipeline(failing), "late": pipeline(late_one)}
"""
JOBS = """
executors: {processes: {multiprocess: {max_concurrent: 2}}}
jobs:
  default: {pipeline: {pipeline_name: __default__}, executor: processes}
  failing: {pipeline: {pipeline_name: failing}, executor: processes}
  late: {pipeline: {pipeline_name: late}, executor: processes}
"""


@pytest.fixture
def dagster(project, tmp_path):
    """Run a job to its end, as `dagster job execute` does; its exit code."""
    project.catalog(
        "curve: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n"
        '"{n}_metrics": {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n'
    )
    project.pipeline(PIPELINE)
    env = project.environment({"DAGSTER_HOME": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}"})

    def called(*command):
        return subprocess.run([BIN / command[0], *command[1:]], cwd=project.root, env=env, check=False).returncode

    assert called("kedro", "dagster", "init", "--env", "local", "--force", "--silent") == 0
    project.write("conf/local/dagster.yml", JOBS)
    return lambda job: called("dagster", "job", "execute", "-m", "proj.definitions", "-d", "src", "-j", f"local__{job}")


def sessions(project):
    """Return what the sessions of the one run say."""
    tags = project.store.tags(project.store.run["run_uuid"])
    return sorted(said.partition(" ")[0] for tag, said in tags.items() if tag.startswith("kedro.session."))


def test_a_job(project, dagster):
    """One run has all keys with their prefixes, from as many processes as there are nodes, and has finished."""
    assert dagster("default") == 0
    points = project.store.points()
    assert points["curve.loss"] == [(step, step / 8) for step in range(100)]
    assert {key for key in points if "curve" not in key} == {
        f"n{n}_metrics.{k}" for n in (0, 1) for k in ("count", "pid")
    }
    assert points["n0_metrics.pid"] != points["n1_metrics.pid"]
    assert project.store.run["status"] == "FINISHED"
    assert sessions(project) == ["finished"] * 4  # the pipeline's own start, and three nodes


def test_a_node_that_fails(project, dagster):
    """The run has failed, and holds what the others saved."""
    assert dagster("failing") != 0
    assert project.store.run["status"] == "FAILED"
    assert set(project.store.points()) == {"n0_metrics.count", "n0_metrics.pid"}
    assert sessions(project) == ["failed", "finished", "finished"]


def test_a_generator_that_fails(project, dagster):
    """Dagster goes through it while it saves, where Kedro's hook for errors is not called."""
    assert dagster("late") != 0
    assert project.store.run["status"] == "FAILED"
    assert set(project.store.points()) == {"n0_metrics.count", "n0_metrics.pid", "late_metrics.count"}
    assert sessions(project) == ["failed", "finished", "finished"]
