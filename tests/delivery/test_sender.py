"""How points are sent that MLflow may hold already."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from kedro_mlflow_metrics.points.curves import Curve, apart

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
