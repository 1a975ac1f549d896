"""Several threads of one process: sessions do not meet each other, and one dataset gives each save its own steps."""

from __future__ import annotations

import os

import pytest

CATALOG = "m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n"
PIPELINE = """
from kedro.pipeline import node, pipeline

def metrics(parameters):
    return {"who": parameters["who"], "curve": [parameters["who"]] * 3}

def look(m, parameters):
    assert m["who"] == parameters["who"], m

def register_pipelines():
    return {"__default__": pipeline([node(metrics, "parameters", "m"), node(look, ["m", "parameters"], None)])}
"""
EIGHT = """
import os, threading
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

bootstrap_project(os.getcwd())
together = threading.Barrier(8)
troubles = []

def run(who):
    try:
        together.wait()
        with KedroSession.create(runtime_params={"who": who}) as session:
            session.run()
    except BaseException as exc:
        troubles.append(repr(exc))

import inspect
if "runtime_params" not in inspect.signature(KedroSession.create).parameters:
    create = KedroSession.create
    KedroSession.create = lambda runtime_params: create(extra_params=runtime_params)
for turn in range(TURNS):
    threads = [threading.Thread(target=run, args=(8 * turn + number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
assert not troubles, troubles
assert not [name for name in os.environ if name.startswith("MLFLOW_TRACKING")]
"""


@pytest.mark.minutes
def test_eight_sessions_at_once(project):
    """Each run has the points of its own session, and is FINISHED; tried ``FAULTS`` times."""
    turns = int(os.environ.get("FAULTS", "10"))
    project.catalog(CATALOG)
    project.pipeline(PIPELINE)
    project.python(EIGHT.replace("TURNS", str(turns)), seconds=600)
    runs = project.store.runs
    assert {run["status"] for run in runs} == {"FINISHED"}
    values = []
    for run in runs:
        points = project.store.points(run["run_uuid"])
        ((_, who),) = points["m.who"]
        assert points == {"m.who": [(0, who)], "m.curve": [(0, who), (1, who), (2, who)]}
        values.append(who)
    assert sorted(values) == list(range(8 * turns))


def test_one_dataset_in_several_threads(project):
    """Each of the saves gets steps of its own, and none is lost."""
    project.python(f"""
        import threading
        import mlflow
        from kedro_mlflow_metrics import MlflowMetricsDataSet
        mlflow.set_tracking_uri("{project.store.uri}")
        run_id = mlflow.MlflowClient().create_run("0").info.run_id
        metrics = MlflowMetricsDataSet(prefix="m", run_id=run_id)
        def save(who):
            for _ in range(25):
                metrics.save({{"a": who}})
        threads = [threading.Thread(target=save, args=(who,)) for who in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    """)
    points = project.store.points()["m.a"]
    assert [step for step, _ in points] == list(range(100))
    assert sorted(value for _, value in points) == sorted(list(range(4)) * 25)
