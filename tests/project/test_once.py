"""Settings are read once per call, and what the environment says is checked like the file."""

from __future__ import annotations

import sqlite3

from support.project import Project

CATALOG = "m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n"
PIPELINE = """
from kedro.pipeline import node, pipeline

def register_pipelines():
    return {"__default__": pipeline([node(lambda: {"a": 1}, None, "m")])}
"""


def test_a_load_in_a_notebook_reads_the_settings_once(project):
    """However many keys there are; a save does too."""
    project.catalog(CATALOG)
    out = project.python("""
        import os
        from unittest.mock import patch
        import mlflow
        from kedro.framework.session import KedroSession
        from kedro.framework.startup import bootstrap_project
        from kedro_mlflow_metrics.project import settings
        bootstrap_project(os.getcwd())
        with KedroSession.create() as session:
            catalog = session.load_context().catalog
        with patch.object(settings, "read_settings", wraps=settings.read_settings) as read:
            catalog.save("m", {f"key{number}": [1, 2] for number in range(20)})
            print("SAVE", read.call_count)
            assert len(catalog.load("m")) == 20
            print("LOAD", read.call_count)
            mlflow.end_run()
    """)
    assert "SAVE 1\n" in out
    assert "LOAD 2\n" in out


def test_a_timeout_that_is_no_number(project):
    """One line says what came and what is accepted."""
    project.catalog(CATALOG)
    project.pipeline(PIPELINE)
    out = project.kedro("run", env={"MLFLOW_HTTP_REQUEST_TIMEOUT": "abc"}, fails=True).stdout
    line = "Error: MLFLOW_HTTP_REQUEST_TIMEOUT is 'abc'; accepted: seconds, as a number above 0"
    assert out.splitlines()[-1] == line


def test_a_file_for_kubeflow_leaves_nothing_in_the_journal(project):
    """`kedro metrics sync` finds nothing that it could take for a lost run."""
    project.catalog("m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet, filepath: kfp.json}\n")
    project.pipeline(PIPELINE)
    project.kedro("run")
    assert list((project.root / ".kedro_mlflow_metrics/runs").iterdir()) == []
    assert "Nothing waits." in project.kedro("metrics", "sync").stdout


def test_sync_looks_into_the_journal_of_the_settings(project):
    """Also while logging is switched off: what waits there is still to be sent."""
    project.catalog(CATALOG)
    project.pipeline(PIPELINE)
    project.settings("tracking_uri: http://127.0.0.1:9\njournal: {path: waiting}\n")
    project.kedro("run")
    project.settings("tracking_uri: http://127.0.0.1:9\njournal: {path: waiting}\nenabled: false\n")
    assert "Connection refused" in project.kedro("metrics", "sync", "--dry-run", fails=True).stdout


def test_two_projects_with_one_journal(tmp_path, empty_store):
    """What waits of one is not sent to the database of the other, though both are called `mlflow.db`."""
    ours, theirs = (Project(tmp_path / name, empty_store) for name in ("ours", "theirs"))
    for project in (ours, theirs):
        project.catalog(CATALOG)
        project.pipeline(PIPELINE)
        project.settings("journal: {path: ../journal}\n")
    with sqlite3.connect(ours.store.path) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert "wait in" in ours.kedro("run").stdout
    database.close()
    assert "say which with --to" in theirs.kedro("metrics", "sync", fails=True).stdout
    theirs.kedro("run")
    assert len(theirs.store.runs) == 1
    ours.kedro("metrics", "sync")
    assert len(ours.store.runs) == 1
    assert list((tmp_path / "journal/runs").iterdir()) == []
