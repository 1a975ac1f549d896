"""Values, changes and times, as people read them."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kedro_mlflow_metrics.points.series import Line
from kedro_mlflow_metrics.views.numbers import age, change, number, percentage, relative, span, spark


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (0.96875, "0.96875"),
        (1 / 3, "0.333333"),
        (-0.0, "0"),
        (123456789.0, "123456789"),
        (1e15, "1e+15"),
        (1.7e308, "1.7e+308"),
        (5e-324, "4.94066e-324"),
        (math.nan, "NaN"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.937, "93.700%"),
        (0.000625, "0.063%"),  # a tie, which Kubeflow rounds away from zero
        (-0.000625, "-0.063%"),
        (-0.0, "0.000%"),
        (1.0, "100.000%"),
        (math.nan, "NaN%"),
        (math.inf, "inf%"),
        (1e300, "1e+302%"),
    ],
)
def test_percentages(value, text):
    """As Kubeflow's pages write them: `(value * 100).toFixed(3)` of JavaScript."""
    assert percentage(value) == text


@pytest.mark.parametrize(
    ("before", "after", "difference", "in_percent"),
    [
        (0.5, 0.75, "+0.25", "+50.0%"),
        (0.75, 0.5, "-0.25", "-33.3%"),
        (-0.5, 0.5, "+1", "+200.0%"),
        (1.0, 1.0, "0", "0%"),
        (0.0, 1.0, "+1", ""),
        (1e-9, 1.0, "+1", "+1e+11%"),
        (math.nan, 1.0, "NaN", ""),
        (math.inf, math.inf, "0", "0%"),
        (1e6, 1e6 + 1, "+1", "+0.0001%"),
        (1.0, math.inf, "+inf", ""),
        (None, 1.0, "", ""),
    ],
)
def test_changes(before, after, difference, in_percent):
    assert (change(before, after), relative(before, after)) == (difference, in_percent)


def test_a_change_of_a_share_is_in_percentage_points():
    assert change(0.5, 0.4, share=True) == "-10.000 pp"


@pytest.mark.parametrize(
    ("milliseconds", "ago", "took"),
    [
        (0, "0s", "0.0s"),
        (-5_000, "0s", "0.0s"),
        (1_940, "1s", "1.9s"),
        (61_000, "1m", "1m1s"),
        (3_600_000, "1h", "1h0m"),
        (90_000_000, "1d", "1d1h"),
    ],
)
def test_times(milliseconds, ago, took):
    assert (age(milliseconds), span(milliseconds)) == (ago, took)


def line(values, steps=None):
    return Line(range(len(values)) if steps is None else steps, values, len(values))


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=2, max_size=50))
@example([sys.float_info.max] * 3)
def test_a_sparkline_shows_the_highest_or_the_lowest(values):
    """A character per stretch; the value that is farthest from all others is a full bar, or none."""
    text = spark(line(values))
    assert len(text) == min(12, len(values))
    if max(values) / 2 - min(values) / 2 > 0:
        assert "█" in text or "▁" in text


def test_sparklines():
    """A spike of one point among many is there; a stretch of steps is as wide as it is long."""
    values = [0.0] * 10_000
    values[4321] = 9.0
    assert spark(line(values)) == "▁▁▁▁▁█▁▁▁▁▁▁"
    assert spark(line([1.0])) == spark(line([])) == ""
    assert spark(line([2.0, 2.0, 2.0])) == "▁▁▁"
    assert spark(line([0.0, 1.0, 4.0, 1.0], [0, 1, 30, 40])) == "▁▁█▃"
