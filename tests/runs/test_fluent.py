"""A dataset in a script, without a pipeline."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from mlflow import MlflowClient
from support.bench import said

SCRIPT = """
import logging, sys, time
from pathlib import Path
from kedro_mlflow_metrics import MlflowMetricsDataSet

logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
prefix, run_id, *waits = sys.argv[1:]
MlflowMetricsDataSet(prefix=prefix, run_id=run_id or None).save({"a": 1})
deadline = time.monotonic() + 20
while waits and any(Path(".kedro_mlflow_metrics/runs").iterdir()):
    assert time.monotonic() < deadline
    time.sleep(0.01)
"""


@pytest.mark.parametrize("second", ["of the same run", "of another"])
def test_the_next_script_sends_what_waits(sqlite_server, tmp_path, second):
    """In the background, as the next pipeline does; the first one is told what sends it without a next one."""
    server, store = sqlite_server
    run = MlflowClient(server.uri).create_run("0").info.run_id

    def script(*arguments):
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments],
            cwd=tmp_path,
            env={**os.environ, "MLFLOW_TRACKING_URI": server.uri},
            text=True,
            capture_output=True,
            timeout=60,
            check=True,
        ).stderr

    server.kill()
    try:
        (warning,) = said(script("first", run), "WARNING")
    finally:
        server.start()
    assert f"wait in {tmp_path}/.kedro_mlflow_metrics/" in warning
    assert "'python -m kedro_mlflow_metrics sync' sends what is left" in warning
    assert store.points(run) == {}
    script("second", run if second == "of the same run" else "", "until it is sent")
    assert store.points(run)["first.a"] == [(0, 1.0)]
    assert store.points()["second.a"][-1] == (0, 1.0)
