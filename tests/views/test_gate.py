"""Conditions of a gate, on numbers that floats cannot hold exactly, big ones and infinite ones."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_mlflow_metrics.views.gate import Gate


@pytest.mark.parametrize(
    ("condition", "before", "after", "holds"),
    [
        ("k < -0.01", 0.95, 0.94, False),
        ("k <= -0.01", 0.95, 0.94, True),
        ("k < -1%", 0.7, 0.693, False),
        ("k <= -1%", 0.7, 0.693, True),
        ("k.value < 0.3", 0.0, 0.1 + 0.2, False),
        ("k.value > 0.3", 0.0, 0.1 + 0.2, False),
        ("k > 0", 1_500_000_000, 1_500_000_001, True),
        ("k >= 2", 1_500_000_000, 1_500_000_001, False),
        ("k.value < 3000000000", 3e9, 2_999_999_998, True),
        ("k > 0.0999999", 123456.7, 123456.8, True),
        ("k < 0", math.inf, math.inf, False),
        ("k <= -0.01", math.inf, math.inf, False),
        ("k > 5", 1.0, math.inf, True),
        ("k > 5%", 0.0, 1.0, True),
        ("k < 0", 1.0, math.nan, True),
    ],
)
def test_a_condition(condition, before, after, holds):
    """It speaks of the numbers as they are written, and not of what a float makes of them."""
    assert bool(list(Gate.of(condition).broken({"k": [before, after]}))) is holds


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_decimals(before, after, limit):
    """Changes of decimal numbers are judged as by hand."""
    gate = Gate.of(f"k < {limit / 1000}")
    assert bool(list(gate.broken({"k": [before / 1000, after / 1000]}))) is (after - before < limit)
