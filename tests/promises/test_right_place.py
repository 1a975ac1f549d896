"""Metrics land at the address and in the experiment that were asked for, and nothing is made anywhere else."""

from __future__ import annotations

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
    assert f"Metrics are in MLflow: {uri}/#/experiments/" in out
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
