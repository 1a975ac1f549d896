"""A metric over its steps: what there is to say of it in a line, and how many points of it a picture needs."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import chain, compress, pairwise
from operator import lt
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.points.curves import Curve
from kedro_mlflow_metrics.points.forms import in_order, unclamped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kedro_mlflow_metrics.points.curves import MetricPoint

__all__ = ["Line", "Summary", "line", "summary"]


@dataclass(frozen=True)
class Line:
    """What is drawn of a metric of one run: one finite value per step, the latest."""

    steps: Sequence[int]
    values: Sequence[float]
    count: int  # how many steps have a finite value
    left_out: int = 0  # how many have none

    def thinned(self, most: int) -> Line:
        """Return ``most`` points at most: the first, the last, the lowest and the highest of each stretch.

        Half of the stretches have as many steps as each other, half as many points: no gap makes a curve coarse.
        """
        if len(self.values) <= most:
            return self
        number, stretches = len(self.values), max(1, most // 4 - 1)
        length, kept = self.steps[-1] + 1 - self.steps[0], {0, number - 1}
        by_step = (bisect_left(self.steps, self.steps[0] + at * length // stretches) for at in range(stretches + 1))
        by_count = (at * number // stretches for at in range(stretches + 1))
        for start, end in chain(pairwise(by_step), pairwise(by_count)):
            if end > start:
                part = self.values[start:end]
                kept |= {start + part.index(extreme) for extreme in (min(part), max(part))}
        places = sorted(kept)
        return replace(self, steps=[self.steps[at] for at in places], values=[self.values[at] for at in places])


@dataclass(frozen=True)
class Summary:
    """What there is to say of a metric of one run; a lowest and a highest there is only among numbers."""

    first: float
    last: float
    last_step: int
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None
    count: int
    line: Line


def summary(points: Iterable[MetricPoint]) -> Summary:
    """Look through all points of a metric, of which there is at least one; in MLflow's order, the latest last."""
    steps, values = _columns(points)
    numbers = [not math.isnan(value) for value in values]
    found: dict[str, tuple[float | None, int | None]] = {"min": (None, None), "max": (None, None)}
    if any(numbers):
        for name, extreme in (("min", min), ("max", max)):
            value = extreme(compress(values, numbers))
            found[name] = value, steps[values.index(value)]
    (least, least_step), (most, most_step) = found["min"], found["max"]
    of_all = least, least_step, most, most_step, len(values)
    return Summary(values[0], values[-1], steps[-1], *of_all, _line(steps, values))


def line(points: Iterable[MetricPoint]) -> Line:
    """Return what is drawn of a metric."""
    return _line(*_columns(points))


def _columns(points: Iterable[MetricPoint]) -> tuple[Sequence[int], Sequence[float]]:
    """Return steps and values, in MLflow's order."""
    curve = in_order(points if isinstance(points, Curve) else Curve.of("", points))
    return curve.steps, array("d", map(unclamped, curve.values))


def _line(steps: Sequence[int], values: Sequence[float]) -> Line:
    if not all(map(lt, steps, steps[1:])):
        last = [one != other for one, other in pairwise(steps)] + [True]
        steps, values = array("q", compress(steps, last)), array("d", compress(values, last))
    finite = list(map(math.isfinite, values))
    number = sum(finite)
    if number < len(values):
        steps, values = array("q", compress(steps, finite)), array("d", compress(values, finite))
    return Line(steps, values, number, len(finite) - number)
