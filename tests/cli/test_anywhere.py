"""``python -m kedro_mlflow_metrics``: the same commands, in a Kedro project and anywhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest
from mlflow import MlflowClient
from support.journal import abandon
from support.project import ENTRY, Store

from kedro_mlflow_metrics.journal.folder import Journal, Record
from kedro_mlflow_metrics.points.curves import Curve

LOUD = """
from kedro.framework.hooks import hook_impl

print("LOUD")

class Loud:
    @hook_impl
    def after_context_created(self, context):
        print("LOUD")

HOOKS = (Loud(),)
"""


def python_m(folder, *arguments, code=0, **env):
    """Run a command with its output and its log apart, and return both."""
    done = subprocess.run(
        [sys.executable, "-m", "kedro_mlflow_metrics", *arguments],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def logged(project):
    """A project with a run in an experiment of its own, that prints whatever is done in it."""
    project.catalog(ENTRY)
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def register_pipelines():
            return {"__default__": pipeline([node(lambda: {"a": 1, "odd": float("nan")}, None, "m")])}
    """)
    project.settings("tracking_uri: sqlite:///mlflow.db\nexperiment: mine\n")
    project.kedro("run")
    project.write("src/proj/settings.py", LOUD)
    return project


@pytest.mark.parametrize("logging", ["rich", "plain"])
def test_in_a_project(logged, logging):
    """What ``kedro metrics`` finds, from a subfolder; only the answer is on standard output, however Kedro logs."""
    config = logged.root / "conf/logging.yml"
    config.write_text(config.read_text().replace("StreamHandler,", "StreamHandler, stream: ext://sys.stdout,"))
    env = {"KEDRO_LOGGING_CONFIG": str(config)} if logging == "plain" else {"COLUMNS": "300"}
    out, log = python_m(logged.root / "src", "export", "latest", "--format", "kubeflow-v2", **env)
    assert json.loads(out) == {"m.a": 1}
    assert log.count("LOUD") == 2
    assert "as logging configuration" in log  # Kedro's own first words
    assert "m.odd" in log


def test_a_command_of_a_project_has_its_options(logged):
    """``--env`` chooses settings; Kedro's errors and ours are one line."""
    (logged.root / "conf/prod").mkdir()
    logged.write("conf/prod/kedro_mlflow_metrics.yml", "experiment: nothing\n")
    out, log = python_m(logged.root, "export", "latest", "--env", "prod", code=1)
    assert out == ""
    assert log.splitlines()[-1].startswith("Error: there is no run in experiment 'nothing' in MLflow at sqlite:///")


def test_outside(store, empty_store, tmp_path):
    """MLflow's own address and experiment, and no word of Kedro's."""
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    script = "from kedro_mlflow_metrics import MlflowMetricsDataSet as M; M().save({'a': 1})"
    subprocess.run([sys.executable, "-c", script], cwd=folder, env=os.environ, check=True)
    client = MlflowClient(store.uri)
    client.log_metric(client.create_run(client.create_experiment("mine")).info.run_id, "a", 2)
    named = {"MLFLOW_TRACKING_URI": store.uri, "MLFLOW_EXPERIMENT_NAME": "mine"}
    for number, env in ((1, {}), (2, named)):
        out, log = python_m(folder, "export", "latest", "--format", "csv", **env)
        assert out.splitlines()[1].endswith(f",{number}.0")
        assert log == ""
    assert "there is none in this folder or above it" in python_m(folder, "sync", "--env", "prod", code=2)[1]


@pytest.fixture
def folder(tmp_path, empty_store):
    """A folder outside any project, with a store of its own that is not MLflow's default."""
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(empty_store, folder / "here.db")
    return folder


def wait(folder, uri, store, key):
    """Leave a point in the journal, meant for a run in a store."""
    run = MlflowClient(store.uri).create_run("0").info.run_id
    abandon(Journal(str(folder)), [[Curve(key, [1.0], [0], [7])]], Record(uri, run))


def test_sync_outside(folder, store):
    """Points go to the address that their run was logged to, a local path being the folder's; ``--to`` still wins."""
    here = Store(folder / "here.db")
    wait(folder, "sqlite:///here.db", here, "here")
    wait(folder, store.uri, store, "there")
    moved = folder.rename(folder.with_name("moved"))
    here = Store(moved / "here.db")
    assert python_m(moved, "sync")[0].count("1 point sent") == 2
    assert (here.points(), store.points()) == ({"here": [(0, 1.0)]}, {"there": [(0, 1.0)]})
    wait(moved, "http://127.0.0.1:9", store, "to")
    python_m(moved, "sync", "--to", store.uri)
    assert store.points() == {"there": [(0, 1.0)], "to": [(0, 1.0)]}


def test_sync_in_a_subfolder_of_a_project(project, store):
    """What a script has left there is the folder's, not the project's."""
    folder = project.root / "notebooks"
    folder.mkdir()
    wait(folder, store.uri, store, "a")
    assert "1 point sent" in python_m(folder, "sync")[0]
    assert store.points() == {"a": [(0, 1.0)]}


def test_a_packaged_project(simple, store):
    """It is told the command that works where it was started; that command sends what waits there."""
    packaged = """
        from kedro.framework.project import configure_project
        from kedro.framework.session import KedroSession
        configure_project("proj")
        with KedroSession.create(conf_source="conf") as session:
            session.run()
    """
    (simple.root / "pyproject.toml").unlink()
    simple.settings("tracking_uri: http://127.0.0.1:9\n")
    env = {"PYTHONPATH": f"{simple.root}/src:{os.environ.get('PYTHONPATH', '')}"}
    code = f"import sys; sys.stderr = sys.stdout\n{textwrap.dedent(packaged)}"
    out = simple.python(code, env=env)
    assert "'python -m kedro_mlflow_metrics sync' sends what is left" in out
    assert "send them with: python -m kedro_mlflow_metrics sync\n" in out
    assert "kedro metrics" not in out
    assert "cannot be reached" in python_m(simple.root, "sync", code=1)[1]
    python_m(simple.root, "sync", "--to", store.uri)
    assert store.points() == {"m.a": [(0, 1.0)]}
    assert (store.run["status"], store.experiment(store.run["run_uuid"])) == ("FINISHED", "proj")
