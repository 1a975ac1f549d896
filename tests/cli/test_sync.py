"""``kedro metrics sync``: what it shows, and where it sends."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient
from support.journal import abandon, save

from kedro_mlflow_metrics.journal.folder import Journal, Record
from kedro_mlflow_metrics.points.curves import Curve


@pytest.mark.parametrize("timestamp", [1_700_000_000_000_000_000, 2**63 - 1, -(2**63)])
def test_timestamps_beyond_any_calendar(project, timestamp):
    """Nanoseconds given for milliseconds are shown as they are."""
    abandon(Journal(str(project.root)), [[Curve("m.a", [0.5], [0], [timestamp])]])
    out = project.kedro("metrics", "sync", "--dry-run", fails=True).stdout
    assert f"timestamp {timestamp}" in out
    assert "Traceback" not in out


def test_another_environment(project, store):
    """What waits from ``--env prod`` is not for the address of another; the line names the command that sends it."""
    (project.root / "conf/prod").mkdir()
    project.write("conf/prod/kedro_mlflow_metrics.yml", f"tracking_uri: {store.uri}\n")
    run = MlflowClient(store.uri).create_run("0").info.run_id
    abandon(Journal(str(project.root)), [save(0)], Record(store.uri, run, env="prod"))
    told = project.kedro("metrics", "sync", fails=True).stdout
    command = "send it with 'kedro metrics sync --env prod', or say which with --to"
    assert f"{run}: it was logged to {store.uri} and the settings say sqlite:///mlflow.db; {command}\n" in told
    assert store.points() == {}
    project.kedro("metrics", "sync", "--env", "prod")
    assert set(store.points(run)) == {"train/loss", "épreuve"}


def test_another_address_of_the_same_environment(project, store):
    """No environment is named that would not help."""
    run = MlflowClient(store.uri).create_run("0").info.run_id
    abandon(Journal(str(project.root)), [save(0)], Record(store.uri, run, env="local"))
    told = project.kedro("metrics", "sync", fails=True).stdout
    assert "and the settings say sqlite:///mlflow.db; say which with --to\n" in told
