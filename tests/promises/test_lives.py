"""Runs that begin, end or are looked at while others do."""

from __future__ import annotations

import json
import os
import signal

import mlflow
import pytest
from kedro.io import DatasetError
from support.bench import said, saved, until
from support.project import ENTRY
from support.proxy import always

from kedro_mlflow_metrics import MlflowMetricsDataSet

pytestmark = pytest.mark.minutes

NESTED = """
import os
import mlflow
from kedro.framework.session import KedroSession
from kedro.pipeline import node, pipeline

def outer():
    with KedroSession.create(project_path=os.getcwd()) as session:
        session.run(**{OPTION: ["inner"] if OPTION == "pipeline_names" else "inner"})
    print("ACTIVE", mlflow.active_run().info.run_name, flush=True)
    return {"a": 1}

import inspect
OPTION = "pipeline_names" if "pipeline_names" in inspect.signature(KedroSession.run).parameters else "pipeline_name"

def register_pipelines():
    return {
        "__default__": pipeline([node(outer, None, "m")]),
        "inner": pipeline([node(lambda: {"b": 2}, None, "m")]),
    }
"""


def test_a_pipeline_inside_a_node(project):
    """Both runs have their own points and end as FINISHED; the outer one is active again."""
    project.catalog(ENTRY)
    project.pipeline(NESTED)
    assert "ACTIVE proj 20" in project.kedro("run").stdout
    found = {
        run["name"].split()[0]: (run["status"], project.store.points(run["run_uuid"])) for run in project.store.runs
    }
    assert found == {"proj": ("FINISHED", {"m.a": [(0, 1)]}), "inner": ("FINISHED", {"m.b": [(0, 2)]})}


def test_sessions_of_one_key_that_end_together(bench):
    """One ends the notes of the others: nobody takes that for a trouble."""
    bench.settings(on_failure="fail")
    bench.proxy.plan = lambda path, _: "delay 0.4" if "runs/update" in path or "runs/get" in path else "pass"
    hold, env = bench.hold(), {"KEDRO_MLFLOW_RUN_KEY": "together"}
    bench.project.write("conf/base/parameters.yml", json.dumps({"count": 1, "pause": 0.01}))
    commands = [bench.kedro.start(bench.root, "run", "--pipeline", "chunks", env=env) for _ in range(3)]
    until(lambda: len(bench.batches) >= 3)
    hold.unlink()
    assert [command.wait() for command in commands] == [0, 0, 0], [command.output for command in commands]
    assert [said(command.output, "ERROR") for command in commands] == [[], [], []]
    assert [row[2] for row in bench.runs if row[2] != "KILLED"] == ["FINISHED"]
    assert bench.folders == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_process_that_goes_while_its_run_is_made(bench, number):
    """MLflow has the run, and its answer meets nobody: the next sync sets it to KILLED."""
    bench.proxy.plan = lambda path, _: "delay 1" if "runs/create" in path else "pass"
    command = bench.start("one")
    until(lambda: any("runs/create" in path for path, *_ in bench.proxy.seen) or not command.alive)
    command.signal(number)
    command.wait()
    until(lambda: bench.runs)
    bench.proxy.plan = always("pass")
    bench.sync()
    assert [row[2] for row in bench.runs] == ["KILLED"]
    assert bench.folders == []


def test_a_living_run_that_began_offline(bench):
    """`end` and `export` know by MLflow's id what goes on in the folder of the local one."""
    bench.proxy.plan = always("500")
    hold, command = bench.hold(), bench.start("stream", count=20, pause=0.01)
    until(lambda: bench.folders)
    bench.proxy.plan = always("pass")
    until(lambda: bench.stored)
    ((run, *_),) = bench.runs
    refused = bench.kedro.run(bench.root, "metrics", "end", run, code=1)
    assert "still runs; stop it first" in refused
    bench.proxy.plan = lambda path, _: "500" if "log-batch" in path or "runs/update" in path else "pass"
    hold.unlink()
    assert command.wait() == 0
    out = bench.kedro.run(bench.root, "metrics", "export", run, "-o", "out.json")
    exported = json.loads((bench.root / "out.json").read_text())["metrics"]["curve.loss"]
    assert len(exported) == bench.yielded > bench.stored.total(), out
    bench.proxy.plan = always("pass")
    bench.sync()
    bench.complete(saved(bench.yielded))


def test_latest_of_an_older_run_that_waits(bench):
    """It is not the newest only because it waits."""
    bench.proxy.plan = always("500")
    bench.run("big", count=1)
    (folder,) = bench.folders
    aside = folder.with_name("aside")
    folder.rename(bench.root / aside.name)  # so that the next run does not send it
    bench.proxy.plan = always("pass")
    bench.run("big", count=2)
    (bench.root / aside.name).rename(folder)
    bench.kedro.run(bench.root, "metrics", "export", "latest", "-o", "out.json")
    assert json.loads((bench.root / "out.json").read_text())["run_id"] == bench.runs[0][0]


def test_a_torn_line_of_what_was_refused(bench):
    """It is kept as damaged, and the others are sent."""
    bench.proxy.plan = lambda _path, _number, body: "invalid" if b"curve.odd" in body else "pass"
    bench.run("stream", count=120, pause=0.01, odd=40)
    (folder,) = bench.folders
    (path,) = folder.glob("*.refused")
    path.write_bytes(path.read_bytes()[:-20])
    bench.proxy.plan = always("pass")
    assert "2 points sent; 1 damaged" in bench.sync("--refused", code=1)
    assert bench.stored == saved(120) + saved(80, "curve.odd", every=40)


def test_a_script_that_changes_its_folder(tmp_path, store, monkeypatch, mocker):
    """What waits, waits where the run began."""
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(store.uri)
    try:
        metrics = MlflowMetricsDataSet(prefix="m")
        with mlflow.start_run():
            metrics.save(iter([{"a": 0}, {"a": 1}]))
            os.chdir("other")
            hidden = store.path.rename(tmp_path / "hidden.db")
            metrics.save({"a": 2})
            assert list((tmp_path / ".kedro_mlflow_metrics/runs").iterdir())
            assert not (tmp_path / "other/.kedro_mlflow_metrics").exists()
            hidden.rename(store.path)
            until(lambda: len(store.points()["m.a"]) == 3)
    except DatasetError as exc:  # pragma: no cover - says why
        pytest.fail(str(exc))
    finally:
        mlflow.set_tracking_uri(None)
