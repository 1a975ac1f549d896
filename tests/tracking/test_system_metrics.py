"""System metrics: as MLflow logs them, in the process that made the run, and never in the way of its end."""

from __future__ import annotations

import time

import pytest
from mlflow import MlflowClient
from support.server import free_port

from kedro_mlflow_metrics.tracking import system_metrics

SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
OFTEN = {"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.05"}
ON = {SWITCH: "true", **OFTEN}
STARTED = "Started monitoring system metrics"


@pytest.fixture
def measured(simple):
    """A project with a pipeline that takes until system metrics are there."""
    simple.catalog("m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet, prefix: ''}\n")
    simple.pipeline("""
        import time
        from kedro.pipeline import node, pipeline
        def waits():
            import mlflow
            deadline = time.monotonic() + 30
            run = mlflow.active_run().info.run_id
            while not any(key.startswith("system/") for key in mlflow.get_run(run).data.metrics):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            return {"a": 1}
        def show(m):
            print("LOADED", m)
        def register_pipelines():
            waiting, quick = node(waits, None, "m"), node(lambda: {"a": 1}, None, "m")
            return {"waits": pipeline([waiting, node(show, "m", None)]), "__default__": pipeline([quick])}
    """)
    return simple


@pytest.mark.parametrize("way", ["environment", "settings"])
def test_a_run_is_measured(measured, way):
    """Until its end, and what was measured is no metric of an entry."""
    if way == "settings":
        measured.settings("run: {system_metrics: true}\n")
    out = measured.kedro("run", "--pipeline", "waits", env=ON if way == "environment" else OFTEN).stdout
    assert "LOADED {'a': 1.0}" in out
    assert out.count(STARTED) == 1
    assert {"a", "system/cpu_utilization_percentage"} <= set(measured.store.points())
    ((last,),) = measured.store.rows("SELECT MAX(timestamp) FROM metrics WHERE key LIKE 'system/%'")
    assert last <= measured.store.run["end_time"]
    assert measured.store.run["status"] == "FINISHED"


@pytest.mark.parametrize("way", ["variable", "joined", "run key", "offline"])
def test_a_run_that_is_not_measured(measured, way):
    """The variable stands above the setting; who joins a run, or begins without MLflow, does not measure."""
    env = dict(ON)
    if way == "variable":
        measured.settings("run: {system_metrics: true}\n")
        env[SWITCH] = "false"
    elif way == "joined":
        env["MLFLOW_RUN_ID"] = MlflowClient(measured.store.uri).create_run("0").info.run_id
    elif way == "run key":
        env["KEDRO_MLFLOW_RUN_KEY"] = "k"
        assert STARTED in measured.kedro("run", env=env).stdout
    else:
        measured.settings(f"tracking_uri: http://127.0.0.1:{free_port()}\n")
    assert STARTED not in measured.kedro("run", env=env).stdout


def test_without_psutil(measured):
    """One warning, and the pipeline goes on."""
    measured.write("src/proj/settings.py", 'import sys\nsys.modules["psutil"] = None\n')
    out = measured.kedro("run", env=ON).stdout
    assert out.count("There are no system metrics: the package psutil is missing") == 1
    assert measured.store.points() == {"a": [(0, 1.0)]}


def test_a_server_that_hangs_at_the_end(sqlite_server, monkeypatch):
    """The end of a run is held up for a few seconds at most."""
    server, _ = sqlite_server
    for name, value in {**ON, "MLFLOW_TRACKING_URI": server.uri}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(system_metrics, "PATIENCE_SECONDS", 0.5)
    monitor = system_metrics.start(MlflowClient().create_run("0").info.run_id, None)
    assert monitor is not None
    server.hang()
    try:
        begun = time.monotonic()
        system_metrics.stop(monitor)
        assert 0.4 < time.monotonic() - begun < 3
    finally:
        server.go_on()
