"""Metrics land at the address and in the experiment that were asked for, and nothing is made anywhere else."""

from __future__ import annotations

import re
import shutil

import pytest
from support.project import ENTRY, Store


@pytest.fixture
def moves(project):
    """A project with a node that changes the current folder."""
    project.catalog(ENTRY)
    project.pipeline("""
        import os
        from kedro.pipeline import node, pipeline
        def moves():
            import mlflow
            os.chdir("elsewhere")
            mlflow.log_metric("inside", 2)
            return {"a": 1}
        def register_pipelines():
            return {"__default__": pipeline([node(moves, None, "m")])}
    """)
    (project.root / "elsewhere").mkdir()
    return project


@pytest.mark.parametrize("runner", ["SequentialRunner", "ParallelRunner"])
@pytest.mark.parametrize("way", ["environment", "settings"])
def test_a_node_that_changes_the_folder(moves, way, runner):
    """A relative address leads to where it led when the session began, for us and for MLflow's own functions."""
    uri = "sqlite:///mlflow.db"
    moves.settings(f"tracking_uri: {uri if way == 'settings' else 'sqlite:///other.db'}\n")
    moves.kedro("run", "--runner", runner, env={"MLFLOW_TRACKING_URI": uri} if way == "environment" else {})
    assert moves.store.points() == {"m.a": [(0, 1.0)], "inside": [(0, 2.0)]}
    assert list((moves.root / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("way", "uri"), [("environment", "mlruns"), ("environment", "file:./mlruns"), ("settings", "file:mlruns")]
)
def test_a_folder_store_and_a_node_that_changes_the_folder(moves, way, uri):
    """However its path is written."""
    moves.settings(f"tracking_uri: {uri if way == 'settings' else 'sqlite:///other.db'}\n")
    env = {"MLFLOW_TRACKING_URI": uri} if way == "environment" else {}
    moves.kedro("run", env={**env, "MLFLOW_ALLOW_FILE_STORE": "true"})
    assert list((moves.root / "elsewhere").iterdir()) == []
    assert {path.name for path in (moves.root / "mlruns").glob("*/*/metrics/*")} == {"m.a", "inside"}
    assert not (moves.root / "file:mlruns").exists()


def test_a_trailing_slash(simple, server):
    """The link to the run has no double slash."""
    uri, store = server
    out = simple.kedro("run", env={"MLFLOW_TRACKING_URI": f"{uri}/"}).stdout
    assert f"\nSee the charts: {uri}/#/experiments/" in out
    assert store.runs[-1]["status"] == "FINISHED"


def test_a_node_that_sets_the_address(project):
    """It holds until its session ends; the next one and the process find what was there before."""
    project.catalog(ENTRY)
    project.pipeline("""
        import os
        import mlflow
        from kedro.pipeline import node, pipeline
        def sets():
            mlflow.log_metric("inside", 2)
            if os.environ["SETS"] == "yes":
                mlflow.set_tracking_uri("sqlite:///other.db")
            return {"a": 1}
        def register_pipelines():
            return {"__default__": pipeline([node(sets, None, "m")])}
    """)
    project.python("""
        import os
        import mlflow
        from kedro.framework.session import KedroSession
        from kedro.framework.startup import bootstrap_project
        bootstrap_project(os.getcwd())
        for given, exported in (None, None), ("sqlite:///before.db", None), ("sqlite:///mlflow.db",) * 2:
            mlflow.set_tracking_uri(given)
            os.environ.pop("MLFLOW_TRACKING_URI", None)
            os.environ.update({"MLFLOW_TRACKING_URI": exported} if exported else {})
            before = mlflow.get_tracking_uri()
            for os.environ["SETS"] in ("yes", "no"):
                with KedroSession.create() as session:
                    session.run()
                assert mlflow.get_tracking_uri() == before
                assert os.environ.get("MLFLOW_TRACKING_URI") == exported
    """)
    assert len(project.store.runs) == 6
    for run in project.store.runs:
        assert project.store.points(run["run_uuid"]) == {"m.a": [(0, 1.0)], "inside": [(0, 2.0)]}
    assert {path.name for path in project.root.glob("*.db")} == {"mlflow.db"}


def test_an_experiment_that_was_set_in_another_store(simple, empty_store):
    """`mlflow.set_experiment` without an address is about MLflow's own store, not about the project's."""
    from mlflow import MlflowClient

    ours = Store(simple.root / "ours.db")
    shutil.copy(empty_store, ours.path)
    assert MlflowClient(ours.uri).create_experiment("innocent") == "1"
    simple.settings("tracking_uri: sqlite:///ours.db\n")
    simple.write("src/proj/settings.py", 'import mlflow\nmlflow.set_experiment("theirs")\n')
    simple.kedro("run")
    assert ours.experiment(ours.run["run_uuid"]) == "proj"
    assert ours.points() == {"m.a": [(0, 1.0)]}


def test_an_experiment_that_was_set_in_the_same_store(simple):
    """It is the one of the run, also where the address is written differently."""
    simple.write("src/proj/settings.py", 'import mlflow\nmlflow.set_experiment("theirs")\n')
    simple.kedro("run", env={"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"})
    assert simple.store.experiment(simple.store.run["run_uuid"]) == "theirs"


def test_a_store_that_is_deleted_while_a_node_yields(project):
    """The background thread does not make it again; what was yielded waits until it is there."""
    project.catalog(ENTRY)
    project.pipeline("""
        import logging, os, threading
        from kedro.pipeline import node, pipeline
        told = threading.Event()
        class Listener(logging.Handler):
            def emit(self, record):
                if "there is no store at" in record.getMessage():
                    told.set()
        def yields():
            logging.getLogger("kedro.mlflow_metrics").addHandler(Listener())
            yield {"a": 1}
            os.rename("mlflow.db", "aside.db")
            yield {"a": 2}
            assert told.wait(30)
            yield {"a": 3}
        def register_pipelines():
            return {"__default__": pipeline([node(yields, None, "m")])}
    """)
    out = project.kedro("run").stdout
    (name,) = set(re.findall(r"of run '(proj [\d :-]+)' wait", out))
    assert f"2 points and the end of run {name!r} wait in {project.root}/.kedro_mlflow_metrics/" in out
    assert f": there is no store at {project.store.uri}; send them with: kedro metrics sync" in out
    assert [path.name for path in project.root.glob("*.db")] == ["aside.db"]
    assert "there is no store at" in project.kedro("metrics", "sync", fails=True).stdout
    assert [path.name for path in project.root.glob("*.db")] == ["aside.db"]
    (project.root / "aside.db").rename(project.store.path)
    project.kedro("metrics", "sync")
    assert project.store.points() == {"m.a": [(0, 1.0), (1, 2.0), (2, 3.0)]}
    assert project.store.run["status"] == "FINISHED"


@pytest.mark.parametrize("way", ["parameter", "entry", "export"])
def test_a_run_in_a_store_that_is_not_there(simple, way):
    """One line says so, before anything is computed, and nothing is made."""
    simple.settings("tracking_uri: sqlite:///gone/mlflow.db\n")
    if way == "entry":
        simple.catalog(ENTRY.replace("}", ", run_id: abc}"))
    arguments = {"parameter": ("run", "--params", "mlflow_run_id=abc"), "export": ("metrics", "export", "latest")}
    out = simple.kedro(*arguments.get(way, ("run",)), fails=True).stdout
    assert out.splitlines()[-1] == (
        f"Error: there is no store at sqlite:///{simple.root}/gone/mlflow.db; correct the address, or run a pipeline "
        "that logs to it"
    )
    assert "COMPUTED" not in out
    assert not (simple.root / "gone").exists()
