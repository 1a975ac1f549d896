"""``latest``, and the start of an id: what commands and entries that read mean by it."""

from __future__ import annotations

import json

import pytest
from support.project import Project
from support.proxy import always
from support.server import free_port

CATALOG = """
m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
n: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
before: {type: kedro_mlflow_metrics.MlflowMetricsDataSet, prefix: m, run_id: latest, load_args: {as: last}}
"""
PIPELINE = """
from kedro.pipeline import node, pipeline

def register_pipelines():
    return {
        "first": pipeline([node(lambda: {"a": 1}, None, "m")]),
        "second": pipeline([node(lambda: {"a": 2}, None, "m")]),
        "other": pipeline([node(lambda: {"b": 9}, None, "n")]),
        "saves": pipeline([node(lambda: {"a": 7}, None, "before")]),
        "loads": pipeline([node(lambda before: print("BEFORE", before), "before", None)]),
    }
"""


@pytest.fixture
def runs(project: Project) -> Project:
    project.catalog(CATALOG)
    project.pipeline(PIPELINE)
    return project


def exported(project: Project, run: str, **options: object) -> dict:
    project.kedro("metrics", "export", run, "-o", "out.json", **options)
    return json.loads((project.root / "out.json").read_text())


def test_latest_is_also_one_that_waits_in_the_journal(runs):
    """While MLflow does not answer, and when it does again; never the run before it."""
    runs.kedro("run", "--pipeline", "first")
    known = runs.store.run["run_uuid"]
    assert exported(runs, "latest")["run_id"] == known
    away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
    runs.kedro("run", "--pipeline", "second", env=away)
    out = runs.kedro("metrics", "export", "latest", "-o", "out.json", env=away).stdout
    assert "seen is only what waits in the journal" in out
    assert json.loads((runs.root / "out.json").read_text())["metrics"]["m.a"][0]["value"] == 2
    assert exported(runs, "latest")["run_id"] == known  # it waits for another address
    runs.kedro("metrics", "sync", "--to", runs.store.uri)
    assert exported(runs, "latest")["metrics"]["m.a"][0]["value"] == 2


def test_latest_began_while_mlflow_did_not_answer(bench):
    """It answers again, and the run before is there: not that one is the newest."""
    bench.run("big", count=1)
    bench.proxy.plan = always("500")
    bench.run("big", count=2)
    bench.proxy.plan = always("pass")
    bench.kedro.run(bench.root, "metrics", "export", "latest", "-o", "out.json")
    found = json.loads((bench.root / "out.json").read_text())
    assert [point["value"] for point in found["metrics"]["big.loss"]] == [0, 0.25]
    assert found["run_id"] not in [run for run, *_ in bench.runs]


def test_an_entry_takes_the_newest_run_that_has_its_metrics(runs):
    """Not the run that the pipeline itself has opened, nor one of other metrics."""
    assert "there is no run with metrics of this entry" in runs.kedro("run", "--pipeline", "loads", fails=True).stdout
    for name in ("first", "second", "other"):
        runs.kedro("run", "--pipeline", name)
    assert "BEFORE {'a': 2.0}" in runs.kedro("run", "--pipeline", "loads").stdout
    assert len(runs.store.runs) == 3


def test_the_newest_run_that_was_logged_with_another_separator(runs):
    """It is found, as an entry without `run_id` finds it."""
    runs.settings("separator: /\n")
    runs.kedro("run", "--pipeline", "first")
    runs.settings("")
    assert "BEFORE {'a': 1.0}" in runs.kedro("run", "--pipeline", "loads").stdout


def test_an_entry_that_is_saved_needs_a_run_of_its_own(runs):
    """`run_id: latest` stops the pipeline before its first node."""
    out = runs.kedro("run", "--pipeline", "saves", fails=True).stdout
    said = (
        "Error: dataset 'before': 'run_id: latest' is for loading, and the pipeline saves this entry; "
        "remove run_id, or name the run to save to by its id\n"
    )
    assert said in out
    assert runs.store.runs == []


def test_the_start_of_an_id(runs):
    """Of a run that the journal knows, offline or not; what is not there is said."""
    away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
    runs.kedro("run", "--pipeline", "second", env=away)
    (folder,) = (runs.root / ".kedro_mlflow_metrics/runs").iterdir()
    assert exported(runs, folder.name[:8], env=away)["metrics"]["m.a"][0]["value"] == 2
    assert (
        "is not in MLflow yet; 'kedro metrics sync' makes it"
        in runs.kedro("metrics", "end", folder.name[:8], env=away, fails=True).stdout
    )
    assert "has no run 'abcdef'" in runs.kedro("metrics", "export", "abcdef", fails=True).stdout
    runs.kedro("run", "--pipeline", "first")
    ident = runs.store.run["run_uuid"]
    assert "is not RUNNING; nothing was changed" in runs.kedro("metrics", "end", str(ident), fails=True).stdout
