"""From what a node returned to points: read, checked, and given the steps and timestamps that they lack."""

from __future__ import annotations

from array import array
from types import MappingProxyType
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.errors import InvalidMetricsError
from kedro_mlflow_metrics.points.curves import Curve
from kedro_mlflow_metrics.points.names import check_name
from kedro_mlflow_metrics.points.shapes import parse
from kedro_mlflow_metrics.points.values import INT64, Given, fail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Progress", "to_curves"]

_NONE: Mapping[str, tuple[int, int]] = MappingProxyType({})
Progress = dict[str, tuple[int, int]]
"""How far the keys of one dataset object have come in one run: per key its highest step and its highest timestamp."""


def to_curves(  # noqa: PLR0913 - all that a point depends on: nothing is read from elsewhere
    data: object,
    *,
    prefix: str,
    now: int,
    progress: Progress,
    before: Mapping[str, tuple[int, int]] = _NONE,
    where: str = "",
) -> list[Curve]:
    """Turn one mapping or frame into checked, stamped points.

    Args:
        data: A mapping of metric name to value, or a pandas or polars frame.
        prefix: What stands before each name, separator included.
        now: The time of the save, milliseconds since the epoch.
        progress: How far the keys have come; brought up to date in place.
        before: How far the others have come, which is left as it is.
        where: How a message names the dataset.

    Returns:
        One curve per metric that has points, in the order given.
    """
    try:
        seen: set[str] = set()
        curves = []
        for given in list(parse(data)):
            if given.name in seen:
                fail(f"metric {given.name!r}", "the name stands twice in this dict; give each metric its own")
            seen.add(given.name)
            key = prefix + given.name
            known = progress.get(key) or before.get(key)
            if known is None:  # one that is known has been checked
                check_name(given.name, prefix)
            if len(given.values):
                curves.append(_stamp(key, given, now, progress, known))
    except InvalidMetricsError as exc:
        raise InvalidMetricsError(f"{where}{exc}") from exc.__cause__
    except RecursionError:
        raise InvalidMetricsError(f"{where}the data: the groups stand too deep in each other") from None
    return curves


def _stamp(key: str, given: Given, now: int, progress: Progress, known: tuple[int, int] | None) -> Curve:
    """Give every point the step and the timestamp that it lacks."""
    if given.steps is None and given.timestamps is None:
        return _at_next_steps(key, given, now, progress, known)
    top_step, top_time = known or (-1, -1)
    untouched = known is None
    steps, times = array("q"), array("q")
    for index in range(len(given.values)):
        step = None if given.steps is None else given.steps[index]
        if step is None:
            step = 0 if untouched else top_step + 1
            _check_next(given.name, step)
        timestamp = None if given.timestamps is None else given.timestamps[index]
        if timestamp is None:
            timestamp = now if untouched or step > top_step else min(max(now, top_time + 1), INT64)
        top_step = step if untouched else max(top_step, step)
        top_time = max(top_time, timestamp)
        untouched = False
        steps.append(step)
        times.append(timestamp)
    progress[key] = (top_step, top_time)
    return Curve(key, given.values, steps, times)


def _at_next_steps(key: str, given: Given, now: int, progress: Progress, known: tuple[int, int] | None) -> Curve:
    """Put values that have no steps after the last one of their key, all at the time of the save."""
    top_step, top_time = known or (-1, -1)
    first = 0 if known is None else top_step + 1
    count = len(given.values)
    rows = range(count) if given.rows is None else given.rows
    _check_next(given.name, first + rows[-1])
    steps: Sequence[int] = range(first, first + count)
    if given.rows is not None:
        steps = array("q", (first + row for row in rows))
    progress[key] = (steps[-1], max(top_time, now))
    return Curve(key, given.values, steps, (now,) if count == 1 else array("q", (now,)) * count)


def _check_next(name: str, step: int) -> None:
    if step > INT64:
        fail(f"metric {name!r}", "its next step leaves 64 bits; give steps of its own")
