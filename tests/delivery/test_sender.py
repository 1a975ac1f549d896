"""How points are sent that MLflow may hold already."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedro_mlflow_metrics.delivery.sender import Sender
from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.journal.folder import Journal
from kedro_mlflow_metrics.points.curves import Curve, apart
from kedro_mlflow_metrics.tracking.address import Server
from kedro_mlflow_metrics.tracking.store import RunInfo

values = st.lists(st.sampled_from([1.0, math.nan, math.inf]), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(values, max_size=250), st.integers(0, 300))
def test_pieces_that_no_version_refuses(columns, long):
    """At most 100 points, or those of one key; NaN one by one; and nothing lost."""
    columns = [*columns, [2.0] * long]
    points = [Curve(f"m{key}", row, range(len(row)), range(len(row))) for key, row in enumerate(columns)]
    pieces = list(apart(points))
    flat = [point for piece in pieces for some in piece for point in some]
    assert Counter(map(repr, flat)) == Counter(repr(point) for some in points for point in some)
    for piece in pieces:
        number = sum(map(len, piece))
        assert 0 < number <= 100 or len(piece) == 1
        assert number == 1 or not any(math.isnan(value) for some in piece for value in some.values)


@pytest.mark.parametrize(("timeout", "limits"), [(10.0, [20.0, 40.0, 60.0, 60.0]), (120.0, [120.0] * 4)])
def test_a_request_that_is_too_late(mocker, tmp_path, timeout, limits):
    """The next may take twice as long, up to a minute, and never less than the user allows."""
    store = mocker.patch("kedro_mlflow_metrics.delivery.sender.open_store").return_value
    store.log_batch.side_effect = TrackingError("late", code=TrackingError.TIMED_OUT)
    sender = Sender(Target.of(Server("http://127.0.0.1:1", timeout), Journal(str(tmp_path)), RunInfo("r")))
    for limit in limits:
        with pytest.raises(TrackingError, match="late"):
            list(sender.send([Curve("a", [1.0], [0], [0])]))
        assert sender.server.timeout == limit
