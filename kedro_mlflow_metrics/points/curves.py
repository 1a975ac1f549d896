"""Metrics as columns of points: what a node returned, checked and stamped. No MLflow, no Kedro, no clock."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import NamedTuple

from kedro_mlflow_metrics.errors import InvalidMetricsError
from kedro_mlflow_metrics.points.names import check_name
from kedro_mlflow_metrics.points.shapes import INT64, Curve, fail, parse

__all__ = ["MetricPoint", "Points", "Progress", "grouped", "to_points"]


class MetricPoint(NamedTuple):
    """One point, with MLflow's own field names; ``timestamp`` is milliseconds since the epoch."""

    key: str
    value: float
    step: int
    timestamp: int


@dataclass(frozen=True)
class Points:
    """The points of one metric in one save, as columns of equal length.

    Columns instead of objects: a million points cost 8 MB and no Python object each.
    """

    key: str
    values: Sequence[float]
    steps: Sequence[int]
    timestamps: Sequence[int]

    def __iter__(self) -> Iterator[MetricPoint]:
        """Yield the points one by one."""
        for value, step, timestamp in zip(self.values, self.steps, self.timestamps, strict=True):
            yield MetricPoint(self.key, value, step, timestamp)

    def __getitem__(self, part: slice) -> Points:
        """Return a stretch of the points."""
        return Points(self.key, self.values[part], self.steps[part], self.timestamps[part])


@dataclass
class Progress:
    """How far the keys of one dataset object have come in one run.

    Attributes:
        last: Per key the highest step so far and the highest timestamp so far.
        under: What this is a draft of.
    """

    last: dict[str, tuple[int, int]] = field(default_factory=dict)
    under: Progress | None = None

    def of(self, key: str) -> tuple[int, int] | None:
        """Return how far a key has come, None if it is new."""
        progress: Progress | None = self
        while progress is not None:
            if (found := progress.last.get(key)) is not None:
                return found
            progress = progress.under
        return None

    def draft(self) -> Progress:
        """Return what a save may change; the save that succeeds has it adopted, one that raises drops it."""
        return Progress(under=self)

    def adopt(self, draft: Progress) -> None:
        """Take over what a draft has changed."""
        self.last.update(draft.last)


class _Constant(Sequence[int]):
    """One timestamp for many points, without a copy for each."""

    def __init__(self, value: int, length: int) -> None:
        self._value, self._length = value, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        return repeat(self._value, self._length)

    def __getitem__(self, index: int | slice) -> int | Sequence[int]:  # type: ignore[override]
        if isinstance(index, slice):
            return _Constant(self._value, len(range(*index.indices(self._length))))
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return self._value


def grouped(points: Iterable[Points]) -> list[Points]:
    """Return the same points in the order of their keys, those of one key together."""
    found: dict[str, list[Points]] = {}
    for some in points:
        found.setdefault(some.key, []).append(some)
    return [_joined(key, found[key]) for key in sorted(found)]


def _joined(key: str, parts: list[Points]) -> Points:
    if len(parts) == 1:
        return parts[0]
    values = array("d", chain.from_iterable(part.values for part in parts))
    steps = array("q", chain.from_iterable(part.steps for part in parts))
    return Points(key, values, steps, array("q", chain.from_iterable(part.timestamps for part in parts)))


def to_points(data: object, *, prefix: str, now: int, progress: Progress, where: str = "") -> list[Points]:
    """Turn one mapping or frame into checked, stamped points.

    Args:
        data: A mapping of metric name to value, or a pandas or polars frame.
        prefix: What stands before each name, separator included.
        now: The time of the save, milliseconds since the epoch.
        progress: How far the keys have come; brought up to date in place.
        where: How a message names the dataset.

    Returns:
        One item per metric that has points, in the order given.

    Raises:
        InvalidMetricsError: Anything in ``data`` is not accepted; ``progress`` may then be half changed.
    """
    curves: Iterable[Curve]
    try:
        curves = list(parse(data))
        seen: set[str] = set()
        points = []
        for curve in curves:
            if curve.name in seen:
                fail(f"metric {curve.name!r}", "the name stands twice in this dict; give each metric its own")
            seen.add(curve.name)
            key = prefix + curve.name
            known = progress.of(key)
            if known is None:  # one that is known has been checked
                check_name(curve.name, prefix)
            if len(curve.values):
                points.append(_stamp(key, curve, now, progress, known))
    except InvalidMetricsError as exc:
        raise InvalidMetricsError(f"{where}{exc}") from exc.__cause__
    except RecursionError:
        raise InvalidMetricsError(f"{where}the data: the groups stand too deep in each other") from None
    return points


def _stamp(key: str, curve: Curve, now: int, progress: Progress, known: tuple[int, int] | None) -> Points:
    """Give every point the step and the timestamp that it lacks."""
    top_step, top_time = known or (-1, -1)
    untouched = known is None
    count = len(curve.values)
    if curve.steps is None and curve.timestamps is None:
        if count == 1 and curve.rows is None and top_step < INT64:  # the usual case
            progress.last[key] = (top_step + 1, max(top_time, now))
            return Points(key, curve.values, (top_step + 1,), (now,))
        first = top_step + 1 if not untouched else 0
        rows = range(count) if curve.rows is None else curve.rows
        if first + rows[-1] > INT64:
            fail(f"metric {curve.name!r}", "its next step leaves 64 bits; give steps of its own")
        steps: Sequence[int] = range(first, first + count)
        if curve.rows is not None:
            steps = array("q", (first + row for row in rows))
        progress.last[key] = (steps[-1], max(top_time, now))
        return Points(key, curve.values, steps, _Constant(now, count))
    out_steps, out_times = array("q"), array("q")
    for index in range(count):
        step = None if curve.steps is None else curve.steps[index]
        if step is None:
            step = 0 if untouched else top_step + 1
            if step > INT64:
                fail(f"metric {curve.name!r}", "its next step leaves 64 bits; give steps of its own")
        timestamp = None if curve.timestamps is None else curve.timestamps[index]
        if timestamp is None:
            timestamp = now if untouched or step > top_step else min(max(now, top_time + 1), INT64)
        top_step = step if untouched else max(top_step, step)
        top_time = max(top_time, timestamp)
        untouched = False
        out_steps.append(step)
        out_times.append(timestamp)
    progress.last[key] = (top_step, top_time)
    return Points(key, curve.values, out_steps, out_times)
