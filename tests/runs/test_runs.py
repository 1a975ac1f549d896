"""Which run gets the points, and what becomes of it."""

from __future__ import annotations

import re
import signal
import time

import pytest

CATALOG = """
m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
"""
ORIGIN = """
from kedro.pipeline import node, pipeline

def metrics():
    return {
        "metric1": {"value": 1.1, "step": 1},
        "metric2": [{"value": 1.1, "step": 1}, {"value": 1.2, "step": 2}],
    }

def register_pipelines():
    return {"__default__": pipeline([node(metrics, None, "my_model_metrics")])}
"""
SIMPLE = """
from kedro.pipeline import node, pipeline

def metrics():
    return {"a": 1}

def nothing():
    return 1

def look():
    import sys
    print("MLFLOW LOADED", "mlflow" in sys.modules)
    return 1

def breaks():
    raise RuntimeError("on purpose")

def waits():
    import time
    print("WAITING", flush=True)
    time.sleep(60)

def register_pipelines():
    first = node(metrics, None, "m")
    return {
        "__default__": pipeline([first]),
        "breaks": pipeline([first, node(breaks, None, "x", name="zbreaks")]),
        "waits": pipeline([first, node(waits, None, "x", name="zwaits")]),
        "without": pipeline([node(look, None, "x")]),
    }
"""


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


@pytest.fixture
def simple(project):
    project.catalog(CATALOG)
    project.pipeline(SIMPLE)
    return project


def new_run(store, status="RUNNING", **tags):
    """Create a run as somebody else would."""
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    run = client.create_run("0", run_name="theirs", tags=tags)
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return run.info.run_id


@pytest.mark.parametrize(
    ("prefix", "expected"), [("", "my_model_metrics."), ("prefix: foo", "foo."), ('prefix: ""', "")]
)
def test_the_example_of_the_origin(project, prefix, expected):
    """The dict of the first user, with the name, an explicit prefix and none."""
    project.pipeline(ORIGIN)
    project.catalog(f"my_model_metrics:\n  type: kedro_mlflow_metrics.MlflowMetricsDataSet\n  {prefix}\n")
    out = project.kedro("run", cold=True).stdout
    assert project.store.points() == {
        f"{expected}metric1": [(1, 1.1)],
        f"{expected}metric2": [(1, 1.1), (2, 1.2)],
    }
    run = project.store.run
    assert (run["status"], run["name"]) == ("FINISHED", "__default__")
    assert project.store.experiment(run["run_uuid"]) == "proj"
    tags = project.store.tags(run["run_uuid"])
    assert tags["kedro.pipeline"] == "__default__"
    assert tags["kedro.env"] == "local"
    assert {"kedro.run_id", "kedro.version", "mlflow.user", "mlflow.source.name"} <= set(tags)
    assert "lowercase 's'" not in out
    assert f"Metrics are in MLflow: {project.store.uri}" in out


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
        simple.catalog(CATALOG.replace("}", f", run_id: {ident}}}"))
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
    simple.pipeline(
        SIMPLE.replace(
            'return {"a": 1}',
            'import mlflow, time; time.sleep(1); mlflow.log_metric("inside", 1); time.sleep(1); return {"a": 1}',
        )
    )
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


def test_without_metrics(simple):
    """A pipeline without metrics datasets opens no run and never imports mlflow."""
    out = simple.kedro("run", "--pipeline", "without", cold=True).stdout
    assert "MLFLOW LOADED False" in out
    assert simple.store.runs == []


def test_hook_twice(simple):
    """The hook from the entry point and from settings.py at once logs once, into one run."""
    simple.write(
        "src/proj/settings.py",
        "from kedro_mlflow_metrics import MlflowPipelineHook\nHOOKS = (MlflowPipelineHook(),)\n",
    )
    simple.kedro("run")
    assert simple.store.points() == {"m.a": [(0, 1.0)]}
    assert simple.store.run["status"] == "FINISHED"


@pytest.mark.parametrize("runner", ["SequentialRunner", "ParallelRunner"])
def test_switched_off(simple, runner):
    """`enabled: false` logs nothing."""
    simple.settings("enabled: false\n")
    simple.kedro("run", "--runner", runner)
    assert simple.store.runs == []


@pytest.mark.parametrize("runner", ["SequentialRunner", "ParallelRunner"])
def test_switched_off_loads_from_memory(project, runner):
    """Switched off for one pipeline, a later node's load gets what was saved."""
    project.catalog(CATALOG)
    project.settings("disabled_pipelines: [quiet]\n")
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def show(m):
            print("SHOWN", m)
        def metrics():
            return {"a": [1, 2]}
        def register_pipelines():
            nodes = pipeline([node(metrics, None, "m"), node(show, "m", None)])
            return {"__default__": nodes, "quiet": nodes}
    """)
    out = project.kedro("run", "--pipeline", "quiet", "--runner", runner).stdout
    assert "SHOWN {'a': [{'value': 1.0, 'step': 0}, {'value': 2.0, 'step': 1}]}" in out
    assert project.store.runs == []


def test_run_settings(simple):
    """Name, tags, experiment, separator and address come from the settings file."""
    simple.settings("""
        tracking_uri: sqlite:///mlflow.db
        experiment: mine
        separator: /
        run: {name: nightly, tags: {team: blue, size: 3}}
    """)
    simple.kedro("run")
    run = simple.store.run
    assert run["name"] == "nightly"
    assert simple.store.experiment(run["run_uuid"]) == "mine"
    assert simple.store.points() == {"m/a": [(0, 1.0)]}
    assert {"team": "blue", "size": "3"}.items() <= simple.store.tags(run["run_uuid"]).items()


def test_not_active(project):
    """`run.active: false` lets nodes start runs of their own."""
    project.catalog(CATALOG)
    project.settings("run: {active: false}\n")
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def own():
            import mlflow
            with mlflow.start_run(run_name="own"):
                mlflow.log_metric("mine", 1)
            return {"a": 1}
        def register_pipelines():
            return {"__default__": pipeline([node(own, None, "m")])}
    """)
    project.kedro("run")
    points = {run["name"]: project.store.points(run["run_uuid"]) for run in project.store.runs}
    assert points == {"__default__": {"m.a": [(0, 1.0)]}, "own": {"mine": [(0, 1.0)]}}


def test_environment_wins_over_the_file(simple, store):
    """MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME win over the settings."""
    simple.settings("tracking_uri: sqlite:///other.db\nexperiment: file\n")
    simple.kedro("run", env={"MLFLOW_TRACKING_URI": store.uri, "MLFLOW_EXPERIMENT_NAME": "env"})
    assert store.experiment(store.run["run_uuid"]) == "env"
    assert not (simple.root / "other.db").exists()


def test_run_key(simple):
    """Sessions with one run key write into one run; FINISHED does not hide FAILED."""
    simple.settings("run: {key: together}\n")
    simple.kedro("run")
    assert simple.store.run["status"] == "FINISHED"
    simple.kedro("run", "--pipeline", "breaks", fails=True)
    simple.kedro("run")
    assert simple.store.run["status"] == "FAILED"


def test_iterator_trains_inside_save(project):
    """`return epochs(), model` trains inside save with the run active; steps go on; the model is saved after."""
    project.catalog(CATALOG)
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def train():
            import mlflow
            model = []
            def epochs():
                for epoch in range(3):
                    model.append(epoch)
                    mlflow.log_metric("inside", epoch, step=epoch)
                    yield {"loss": 1 / (epoch + 1)}
            return epochs(), model
        def chunks():
            for value in (5, 6):
                yield {"chunk": value}
        def use(model):
            print("MODEL", model)
        def register_pipelines():
            return {"__default__": pipeline([node(train, None, ["m", "model"]), node(use, "model", None)]),
                    "chunks": pipeline([node(chunks, None, "m")])}
    """)
    assert "MODEL [0, 1, 2]" in project.kedro("run").stdout
    assert project.store.points() == {
        "m.loss": [(0, 1.0), (1, 0.5), (2, 1 / 3)],
        "inside": [(0, 0.0), (1, 1.0), (2, 2.0)],
    }
    project.kedro("run", "--pipeline", "chunks")
    assert project.store.points(project.store.runs[1]["run_uuid"]) == {"m.chunk": [(0, 5.0), (1, 6.0)]}


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


def test_notebook(simple):
    """A catalog from `context.catalog` gives prefixes, and finds the project's store from any folder."""
    (simple.root / "notebooks").mkdir()
    out = simple.python(
        """
        from pathlib import Path
        from kedro.framework.session import KedroSession
        from kedro.framework.startup import bootstrap_project
        root = Path.cwd().parent
        bootstrap_project(root)
        with KedroSession.create(project_path=root) as session:
            catalog = session.load_context().catalog
        assert not catalog.exists("m")
        catalog.save("m", {"a": 1})
        catalog.save("m", {"a": 2})
        print("LOADED", catalog.load("m"))
        """,
        cwd="notebooks",
    )
    assert "LOADED {'a': [{'value': 1.0, 'step': 0}, {'value': 2.0, 'step': 1}]}" in out
    assert simple.store.points() == {"m.a": [(0, 1.0), (1, 2.0)]}
    assert simple.store.experiment(simple.store.run["run_uuid"]) == "proj"
    assert simple.store.run["status"] == "FINISHED"


def test_same_prefix_warns(project):
    """Two outputs with one prefix bring a warning before the first node."""
    project.catalog(
        "a: {type: kedro_mlflow_metrics.MlflowMetricsDataset, prefix: p}\n"
        "b: {type: kedro_mlflow_metrics.MlflowMetricsDataset, prefix: p}\n"
    )
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def register_pipelines():
            return {"__default__": pipeline([node(lambda: {"x": 1}, None, "a"), node(lambda: {"y": 1}, None, "b")])}
    """)
    assert re.search(r"WARNING .*The datasets a and b log under the same prefix 'p'", project.kedro("run").stdout)
