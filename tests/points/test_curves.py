"""Batches and the progress bar."""

from __future__ import annotations

import json
import sys

from conftest import on_a_terminal
from hypothesis import given, settings
from hypothesis import strategies as st

from kedro_mlflow_metrics.points.curves import Curve, batches

keys = st.text("aé/", min_size=1, max_size=250)
saves = st.lists(st.tuples(keys, st.integers(0, 2500)), max_size=5)


@settings(max_examples=50, deadline=None)
@given(saves)
def test_batches_lose_nothing_and_fit(save):
    """Every point is in one batch, in order; a batch has 1,000 points and 1 MB of JSON at most."""
    points = [Curve(key, [float(n)] * n, range(n), [7] * n) for key, n in save]
    cut = list(batches(points))
    assert [point for batch in cut for some in batch for point in some] == [point for some in points for point in some]
    for batch in cut:
        metrics = [point._asdict() for some in batch for point in some]
        assert 0 < len(metrics) <= 1000
        assert len(json.dumps({"run_id": "x" * 32, "metrics": metrics})) < 1_000_000
    assert len(cut) <= sum(n for _, n in save) // 600 + 1


SAVE = """
import sys
import mlflow
from kedro_mlflow_metrics import MlflowMetricsDataset
from kedro_mlflow_metrics.views import terminal
terminal.PATIENCE_SECONDS = float(sys.argv[2])
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run(experiment_id="0"):
    MlflowMetricsDataset(prefix="big").save({"a": list(range(8000))})
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
