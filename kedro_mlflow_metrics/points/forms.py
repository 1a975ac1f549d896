"""Points as a following node would like them: what ``load`` gives, and the last value of a metric."""

from __future__ import annotations

import math
import sys
from operator import ge, lt
from typing import TYPE_CHECKING, Any

from kedro_mlflow_metrics.points.curves import Curve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kedro_mlflow_metrics.points.curves import MetricPoint

__all__ = ["FORMS", "from_points", "in_order", "json_value", "last_finite", "later", "latest", "unclamped"]

FORMS = ("auto", "points", "values", "last", "frame")


def from_points(histories: Iterable[tuple[str, Iterable[MetricPoint]]], form: str) -> Any:  # noqa: ANN401 - by form
    """Give histories the form that ``load_args: {as: ...}`` names.

    Args:
        histories: Each metric's name, without prefix, and all its points in any order.
        form: One of `FORMS`.

    Returns:
        A dict by metric name, or for ``frame`` a pandas frame ``key, step, value, timestamp``.
    """
    if form == "frame":
        import pandas as pd

        rows = [
            (name, point.step, unclamped(point.value), point.timestamp)
            for name, points in histories
            for point in sorted(points, key=_order)
        ]
        return pd.DataFrame(rows, columns=["key", "step", "value", "timestamp"])
    return {name: _metric(_latest_by_step(points), form) for name, points in histories}


def _metric(points: list[tuple[int, float]], form: str) -> Any:  # noqa: ANN401 - by form
    if form == "values":
        return [value for _, value in points]
    if form == "last":
        return points[-1][1]
    dicts = [{"value": value, "step": step} for step, value in points]
    if form == "points" or len(points) > 1:
        return dicts
    step, value = points[0]
    return value if step == 0 else dicts[0]


def later(one: MetricPoint | None, other: MetricPoint) -> MetricPoint:
    """Return the point that MLflow calls the latest of two."""
    return other if one is None else max(one, other, key=_order)


def _order(point: MetricPoint) -> tuple[int, int, bool, float]:
    """Return what decides which point is the latest: as in MLflow the largest step, then timestamp, then value."""
    nan = math.isnan(point.value)
    return point.step, point.timestamp, not nan, 0.0 if nan else point.value


def in_order(curve: Curve) -> Curve:
    """Return the points of a metric in MLflow's order, the latest last."""
    steps, times = curve.steps, curve.timestamps
    if all(map(lt, zip(steps, times, strict=True), zip(steps[1:], times[1:], strict=True))):  # as most histories are
        return curve
    return Curve.of(curve.key, sorted(curve, key=_order))


def _latest_by_step(points: Iterable[MetricPoint]) -> list[tuple[int, float]]:
    points = list(points)
    steps = [point.step for point in points]
    if any(map(ge, steps, steps[1:])):  # not in order yet, as most histories are
        points.sort(key=_order)
    return list({point.step: unclamped(point.value) for point in points}.items())


def last_finite(points: Iterable[MetricPoint | None]) -> MetricPoint | None:
    """Return the last point by MLflow's order whose value is finite, None if there is none.

    The largest float counts as infinite: MLflow's SQL stores keep infinities as that.
    """
    finite = (point for point in points if point is not None and math.isfinite(unclamped(point.value)))
    return max(finite, key=_order, default=None)


def latest(curves: Iterable[Curve]) -> dict[str, MetricPoint | None]:
    """Return the last finite point of each key, None where there is none."""
    found: dict[str, MetricPoint | None] = {}
    for curve in curves:
        found[curve.key] = last_finite((found.get(curve.key), _last_of(curve)))
    return found


def _last_of(curve: Curve) -> MetricPoint | None:
    if not isinstance(curve.steps, range):
        return last_finite(curve)
    backwards = (curve[at : at + 1] for at in reversed(range(len(curve))))  # in order, and of one time
    return next((last for one in backwards if (last := last_finite(one))), None)


def unclamped(value: float) -> float:
    """Give back the infinity that MLflow's SQL stores keep as the largest float."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


def json_value(value: float) -> float | str:
    """Spell what JSON has no number for as protobuf does."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
