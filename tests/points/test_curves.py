"""Batches: no point is lost, and MLflow takes each of them."""

from __future__ import annotations

import json

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
