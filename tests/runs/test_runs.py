"""Which run gets the points, and what becomes of it."""

from __future__ import annotations

import re
import signal
import subprocess
import time

import pytest
from support.project import ENTRY, PIPELINES

WORKER = """
import sys
from kedro.pipeline import node, pipeline

def metrics(nothing):
    import mlflow
    mlflow.log_metric("fluent", 2)
    return {"a": 1}

def without():
    print("IMPORTED", "mlflow" in sys.modules, flush=True)  # its worker needs no MLflow
    return 1

def register_pipelines():
    return {"__default__": pipeline([node(without, None, "nothing"), node(metrics, "nothing", "m")])}
"""


def new_run(store, status="RUNNING", **tags):
    """Create a run as somebody else would."""
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    run = client.create_run("0", run_name="theirs", tags=tags)
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return run.info.run_id


def test_a_new_run(simple):
    """It is named after the pipeline, lies in the project's experiment, has its tags, and one line says where."""
    out = simple.kedro("run", cold=True).stdout
    run = simple.store.run
    assert run["status"] == "FINISHED"
    assert run["name"].startswith("proj 20")
    assert simple.store.experiment(run["run_uuid"]) == "proj"
    tags = simple.store.tags(run["run_uuid"])
    assert tags["kedro.pipeline"] == "__default__"
    assert tags["kedro.env"] == "local"
    assert {"kedro.run_id", "kedro.version", "mlflow.user", "mlflow.source.name"} <= set(tags)
    assert "lowercase 's'" not in out
    told = f"Metrics are in MLflow: run {run['name']!r}, id {run['run_uuid']}, in sqlite:///mlflow.db\n"
    assert f"{told}See the charts: kedro metrics ui\n" in out


def test_failed(simple):
    """A node that raises leaves a FAILED run with what was logged before, and the way to go on."""
    out = simple.kedro("run", "--pipeline", "breaks", fails=True).stdout
    run = simple.store.run
    assert run["status"] == "FAILED"
    assert simple.store.points() == {"m.a": [(0, 1.0)]}
    assert f"add to the command: --params mlflow_run_id={run['run_uuid']}" in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("runner", ["SequentialRunner", "ParallelRunner"])
def test_killed(simple, number, code, runner):
    """Ctrl-C and SIGTERM end the run as KILLED; what was logged stays."""
    process = simple.start("run", "--pipeline", "waits", "--runner", runner)
    for line in process.stdout:
        if "WAITING" in line:
            break
    deadline = time.monotonic() + 20
    while not simple.store.points() and time.monotonic() < deadline:
        time.sleep(0.1)
    if number == signal.SIGINT and runner == "ParallelRunner":
        import os

        os.killpg(process.pid, number)  # a terminal tells the whole group
    else:
        process.send_signal(number)
    out = process.communicate(timeout=30)[0]
    assert process.returncode == code, out
    assert simple.store.run["status"] == "KILLED"
    assert simple.store.points() == {"m.a": [(0, 1.0)]}


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.newest)])
def test_a_joined_run_is_left_by_workers_too(simple, context):
    """MLflow's own end of a worker process does not end the run that was active there."""
    simple.pipeline(WORKER)
    ident = new_run(simple.store, "FAILED")
    before = simple.store.runs
    environment = {"KEDRO_MP_CONTEXT": context, "MLFLOW_RUN_ID": ident}
    out = simple.kedro("run", "--runner", "ParallelRunner", env=environment).stdout
    assert simple.store.runs == before
    assert simple.store.points(ident) == {"m.a": [(0, 1.0)], "fluent": [(0, 2.0)]}
    assert f"IMPORTED {context == 'fork'}" in out


@pytest.mark.parametrize("way", ["environment", "parameter", "entry", "active"])
@pytest.mark.parametrize("status", ["RUNNING", "FAILED"])
def test_a_run_of_others_is_joined_and_left_as_it_was(simple, way, status):
    """A joined run keeps its name, tags and status, and is not ended."""
    if way == "active" and status == "FAILED":
        pytest.skip("an active run is running")
    ident = new_run(simple.store, status, mine="yes")
    before = simple.store.tags(ident), simple.store.runs
    if way == "environment":
        simple.kedro("run", env={"MLFLOW_RUN_ID": ident})
    elif way == "parameter":
        simple.kedro("run", "--params", f"mlflow_run_id={ident}")
    elif way == "entry":
        simple.catalog(ENTRY.replace("}", f", run_id: {ident}}}"))
        simple.kedro("run")
    else:
        simple.python(f"""
            import mlflow, os
            from mlflow.tracking import fluent
            from kedro.framework.session import KedroSession
            from kedro.framework.startup import bootstrap_project
            mlflow.set_tracking_uri("{simple.store.uri}")
            bootstrap_project(os.getcwd())
            fluent._active_run_stack.get().append(mlflow.ActiveRun(mlflow.get_run("{ident}")))
            with KedroSession.create() as session:
                session.run()
            assert mlflow.active_run().info.run_id == "{ident}"
            fluent._active_run_stack.get().clear()
        """)
    assert (simple.store.tags(ident), simple.store.runs) == before
    assert simple.store.points(ident) == {"m.a": [(0, 1.0)]}


def test_two_sessions_one_after_the_other(simple):
    """Each session of a process has its own run, and nothing is left behind in the process."""
    out = simple.python("""
        import mlflow, os
        from kedro.framework.session import KedroSession
        from kedro.framework.startup import bootstrap_project
        bootstrap_project(os.getcwd())
        before = dict(os.environ)
        for _ in range(2):
            with KedroSession.create() as session:
                session.run()
        assert mlflow.active_run() is None
        assert {k: v for k, v in os.environ.items() if "MLFLOW" in k} == {
            k: v for k, v in before.items() if "MLFLOW" in k}
        with KedroSession.create() as session:
            outputs = session.run()
        print("LOADED", outputs["m"].load() if outputs else "nothing: Kedro 0.19 returns free outputs only")
    """)
    assert len(simple.store.runs) == 3
    assert {run["status"] for run in simple.store.runs} == {"FINISHED"}
    assert all(simple.store.points(run["run_uuid"]) == {"m.a": [(0, 1.0)]} for run in simple.store.runs)
    assert re.search(r"LOADED (\{'a': 1.0\}|nothing)", out)


def test_two_sessions_at_once(simple):
    """Two sessions in two threads make two runs, each with its own points and active run."""
    sleeps = 'import mlflow; time.sleep(1); mlflow.log_metric("inside", 1); time.sleep(1); return {"a": 1}'
    simple.pipeline((PIPELINES / "simple.py").read_text().replace('return {"a": 1}', sleeps))
    simple.python("""
        import os, threading
        from kedro.framework.session import KedroSession
        from kedro.framework.startup import bootstrap_project
        bootstrap_project(os.getcwd())
        def run():
            with KedroSession.create() as session:
                session.run()
        threads = [threading.Thread(target=run) for _ in range(2)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert "MLFLOW_TRACKING_URI" not in os.environ
    """)
    assert len(simple.store.runs) == 2
    for run in simple.store.runs:
        assert run["status"] == "FINISHED"
        assert simple.store.points(run["run_uuid"]) == {"m.a": [(0, 1.0)], "inside": [(0, 1.0)]}


def test_run_key(simple):
    """Sessions with one run key write into one run; FINISHED does not hide FAILED."""
    simple.settings("run: {key: together}\n")
    simple.kedro("run")
    assert simple.store.run["status"] == "FINISHED"
    simple.kedro("run", "--pipeline", "breaks", fails=True)
    simple.kedro("run")
    assert simple.store.run["status"] == "FAILED"


def test_only_missing_outputs(simple):
    """A resumed run that has the metrics skips the node; a new one does not."""
    simple.kedro("run")
    first = simple.store.run["run_uuid"]
    if "--only-missing-outputs" not in simple.kedro("run", "--help").stdout:
        pytest.skip("this Kedro has no --only-missing-outputs")
    simple.kedro("run", "--only-missing-outputs", "--params", f"mlflow_run_id={first}")
    assert simple.store.points() == {"m.a": [(0, 1.0)]}
    simple.kedro("run", "--only-missing-outputs")
    assert len(simple.store.runs) == 2
    assert simple.store.points(simple.store.runs[1]["run_uuid"]) == {"m.a": [(0, 1.0)]}


def test_same_prefix_warns(project):
    """Two outputs with one prefix bring a warning before the first node."""
    project.catalog(
        "a: {type: kedro_mlflow_metrics.MlflowMetricsDataSet, prefix: p}\n"
        "b: {type: kedro_mlflow_metrics.MlflowMetricsDataSet, prefix: p}\n"
    )
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def register_pipelines():
            return {"__default__": pipeline([node(lambda: {"x": 1}, None, "a"), node(lambda: {"y": 1}, None, "b")])}
    """)
    assert re.search(r"WARNING .*The datasets a and b log under the same prefix 'p'", project.kedro("run").stdout)


def test_a_run_without_a_point(simple):
    """It is not said that its metrics are in MLflow."""
    simple.pipeline("""
        from kedro.pipeline import node, pipeline

        def register_pipelines():
            return {"__default__": pipeline([node(lambda: {}, None, "m")])}
        """)
    out = simple.kedro("run").stdout
    assert "Metrics are in MLflow" not in out
    assert "Nothing was logged: run 'proj 20" in out
    assert "See the charts" not in out
    assert (simple.store.run["status"], simple.store.points()) == ("FINISHED", {})


def test_the_tags_say_what_kedro_was_asked_for(project):
    """Tags and nodes, runtime parameters by name, and the commit of the project, wherever the kedro command stands."""
    project.catalog(ENTRY)
    project.pipeline("""
        from kedro.pipeline import node, pipeline

        def register_pipelines():
            made = node(lambda p: {"a": p}, "params:rate", "m", name="make", tags="fast")
            return {"__default__": pipeline([made]), "training": pipeline([made])}
        """)
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=project.root, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project.root, check=True, capture_output=True, text=True)
    asked = ("--pipeline", "training", "--tags", "fast", "--to-nodes", "make", "--params", "rate=0.5,secret=hush")
    project.kedro("run", *asked)
    tags = project.store.tags(project.store.run["run_uuid"])
    assert {name: tags.get(f"kedro.{name}") for name in ("pipeline", "tags", "to_nodes", "from_nodes")} == {
        "pipeline": "training",
        "tags": "fast",
        "to_nodes": "make",
        "from_nodes": None,
    }
    assert tags["kedro.runtime_params"] == "rate, secret"
    assert "hush" not in str(tags)
    assert tags["mlflow.source.git.commit"] == head.stdout.strip()
