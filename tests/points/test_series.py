"""What is said of a metric in a line, and which of its points are drawn."""

from __future__ import annotations

import math
import tracemalloc
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_mlflow_metrics.points.curves import Curve, MetricPoint
from kedro_mlflow_metrics.points.forms import unclamped
from kedro_mlflow_metrics.points.series import Line, line, summary

POINTS = st.lists(
    st.builds(
        MetricPoint,
        st.just("k"),
        st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0, math.nan])),
        st.integers(-5, 5),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=30,
)
BIG = 2**63 - 1


def order(point: MetricPoint) -> tuple:
    """MLflow's: the largest step, then timestamp, then value; NaN is the lowest."""
    nan = math.isnan(point.value)
    return point.step, point.timestamp, not nan, 0 if nan else point.value


@given(POINTS)
def test_a_summary(points):
    """First and last by MLflow's order; the lowest and the highest number at its first step; NaN is no number."""
    found = summary(points)
    ordered = sorted(points, key=order)
    assert repr((found.first, found.last)) == repr((unclamped(ordered[0].value), unclamped(ordered[-1].value)))
    assert (found.last_step, found.count) == (ordered[-1].step, len(points))
    numbers = [point for point in ordered if not math.isnan(point.value)]
    if not numbers:
        assert (found.min, found.min_step, found.max, found.max_step) == (None,) * 4
        return
    values = [unclamped(point.value) for point in numbers]
    assert (found.min, found.max) == (min(values), max(values))
    assert found.min_step == numbers[values.index(found.min)].step
    assert found.max_step == numbers[values.index(found.max)].step


@given(POINTS)
def test_a_line(points):
    """A finite value per step, the latest; how many steps have none is counted."""
    found = line(points)
    latest = {point.step: point.value for point in sorted(points, key=order)}
    finite = {step: value for step, value in latest.items() if math.isfinite(unclamped(value))}
    assert dict(zip(found.steps, found.values, strict=True)) == finite
    assert list(found.steps) == sorted(finite)
    assert (found.count, found.left_out) == (len(finite), len(latest) - len(finite))


@given(
    st.lists(
        st.tuples(st.integers(-BIG, BIG), st.floats(-1e9, 1e9)), min_size=1, max_size=300, unique_by=lambda p: p[0]
    ),
    st.integers(6, 60),
)
def test_thinning_keeps_ends_and_peaks(points, most):
    """At most so many points, in order, the first, the last, the highest and the lowest of all among them."""
    points.sort()
    steps, values = array("q", [step for step, _ in points]), array("d", [value for _, value in points])
    whole = Line(steps, values, len(values))
    thin = whole.thinned(most)
    kept = list(zip(thin.steps, thin.values, strict=True))
    assert len(kept) <= max(most, 6) and set(kept) <= set(points) and kept == sorted(kept)
    assert kept[0] == points[0] and kept[-1] == points[-1]
    assert (min(thin.values), max(thin.values), thin.count) == (min(values), max(values), len(values))
    assert len(points) > most or thin == whole


@pytest.mark.parametrize("spike", [0, 500_000])
def test_a_million_points(spike):
    """A spike of one point is drawn, wherever it is; no object per point is kept."""
    number = 1_000_000
    curve = Curve("k", array("d", bytes(8 * number)), array("q", range(number)), array("q", range(number)))
    curve.values[spike] = 1.0
    tracemalloc.start()
    found = line(curve).thinned(2_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.values) <= 2_000
    assert (found.steps[list(found.values).index(1.0)], found.count) == (spike, number)
    assert peak < 60 * number  # bytes: a few plain columns
