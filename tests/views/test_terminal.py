"""What is shown on a terminal."""

from __future__ import annotations

import sys

from support.terminal import on_a_terminal

SAVE = """
import sys
import mlflow
from kedro_mlflow_metrics import MlflowMetricsDataSet
from kedro_mlflow_metrics.views import terminal
terminal.PATIENCE_SECONDS = float(sys.argv[2])
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run(experiment_id="0"):
    MlflowMetricsDataSet(prefix="big").save({"a": list(range(8000))})
"""


def saved_on_a_terminal(store, patience):
    """Run a big save whose standard error is a terminal, and return what that showed."""
    return on_a_terminal([sys.executable, "-c", SAVE, store.uri, patience])


def test_progress_bar(store):
    """A save that takes its time shows a bar on a terminal; a quick one does not."""
    shown = saved_on_a_terminal(store, "0")
    assert "big to MLflow" in shown
    assert "/8000" in shown
    assert "big to MLflow" not in saved_on_a_terminal(store, "600")
    assert len(store.points()["big.a"]) == 16_000  # two saves
