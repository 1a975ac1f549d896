"""From what a node returned to points: read, checked, and given the steps and timestamps that they lack."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kedro_mlflow_metrics.errors import InvalidMetricsError
from kedro_mlflow_metrics.points.curves import Curve
from kedro_mlflow_metrics.points.names import TAKEN, logged_as, plain
from kedro_mlflow_metrics.points.shapes import parse
from kedro_mlflow_metrics.points.values import INT64, Given, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeGuard

__all__ = ["Progress", "Remarks", "is_list", "to_curves"]

Progress = dict[str, tuple[int, int]]
"""How far the keys of one dataset object have come in one run: per key its highest step and its highest timestamp."""


EARLY = 315_532_800_000  # the start of 1980, in milliseconds
_EXACT = "'save_args: {names: exact}' refuses such a name instead"
_SECONDS = "if that is in seconds, multiply it by 1000: MLflow counts milliseconds"


@dataclass
class Remarks:
    """What one dataset object changed or doubts of its metrics, for the user to be told once.

    Attributes:
        names: By key, the name that was given, where MLflow does not take it.
        early: The first metric with a timestamp before 1980.
    """

    names: dict[str, str] = field(default_factory=dict)
    early: str = ""

    def copy(self) -> Remarks:
        """Return a copy that can be added to."""
        return Remarks(dict(self.names), self.early)

    def since(self, before: Remarks) -> Iterator[str]:
        """Yield, as a line each, what was added."""
        for key, name in self.names.items():
            if key not in before.names:
                yield f"metric {plain(name)!r} is logged as {key!r}: MLflow takes {TAKEN} in a name; {_EXACT}"
        if self.early and not before.early:
            yield f"metric {plain(self.early)!r} has a timestamp before 1980; {_SECONDS}"


def is_list(data: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Tell whether data is a list of what `to_curves` takes; a NamedTuple is a group."""
    return isinstance(data, list | tuple) and not hasattr(data, "_fields")


def to_curves(  # noqa: PLR0913 - all that a point depends on: nothing is read from elsewhere
    data: object,
    *,
    prefix: str,
    now: int,
    progress: Progress,
    before: Progress | None = None,
    where: str = "",
    remarks: Remarks | None = None,
    exact: bool = False,
) -> list[Curve]:
    """Turn one mapping or frame into checked, stamped points.

    Args:
        data: A mapping of metric name to value, or a pandas or polars frame.
        prefix: What stands before each name, separator included.
        now: The time of the save, milliseconds since the epoch.
        progress: How far the keys have come; brought up to date in place.
        before: How far they had come before; left as it is.
        where: How a message names the dataset.
        remarks: What the user is to be told; added to in place.
        exact: Whether a name that MLflow does not take is refused.

    Returns:
        One curve per metric that has points, in the order given.
    """
    try:
        seen: dict[str, str] = {}
        curves = []
        remarks = remarks or Remarks()
        earlier = before or {}

        def known(key: str) -> tuple[int, int] | None:
            return progress.get(key) or earlier.get(key)

        for given in list(parse(data)):
            key = _key(given.name, prefix, known, seen, remarks.names, exact=exact)
            if given.timestamps and min((time for time in given.timestamps if time is not None), default=EARLY) < EARLY:
                remarks.early = remarks.early or given.name
            if len(given.values):
                curves.append(_stamp(key, given, now, progress, known(key)))
    except InvalidMetricsError as exc:
        raise InvalidMetricsError(f"{where}{exc}") from exc.__cause__
    except RecursionError:
        raise InvalidMetricsError(f"{where}the data: the groups stand too deep in each other") from None
    return curves


def _key(  # noqa: PLR0913 - all that it is compared with
    name: str,
    prefix: str,
    known: Callable[[str], object],
    seen: dict[str, str],
    renamed: dict[str, str],
    *,
    exact: bool,
) -> str:
    """Return the key of a metric; two names that come to the same key are refused.

    Args:
        name: The name as given.
        prefix: What stands before it.
        known: Returns something of a key that was logged before, None of another.
        seen: By key, the names of this dict so far; added to in place.
        renamed: By key, the names that were logged as others; added to in place.
        exact: Whether a name that MLflow does not take is refused.
    """
    key = own = prefix + name
    if known(own) is None:  # one that is known has been checked
        key = prefix + logged_as(name, prefix, exact=exact)
    if seen.get(key) == name:
        fail(f"metric {name!r}", "the name stands twice in this dict; give each metric its own")
    other = seen.get(key) or renamed.get(key) or (name if known(key) is None else key[len(prefix) :])
    if other != name:
        fail(f"metric {name!r}", f"MLflow does not tell it from {other!r}, both are {key!r}; rename one")
    seen[key] = name
    if key != own:
        renamed[key] = name
    return key


def _stamp(key: str, given: Given, now: int, progress: Progress, known: tuple[int, int] | None) -> Curve:
    """Give every point the step and the timestamp that it lacks."""
    if given.steps is None and given.timestamps is None:
        return _at_next_steps(key, given, now, progress, known)
    top_step, top_time = known or (-1, -1)
    if given.steps is None and given.rows is not None:
        _check_next(given.name, top_step + 1 + given.rows[-1])
        given = given._replace(steps=[top_step + 1 + row for row in given.rows])
    untouched = known is None
    steps, times = array("q"), array("q")
    for index in range(len(given.values)):
        step = None if given.steps is None else given.steps[index]
        if step is None:
            step = 0 if untouched else top_step + 1
            _check_next(given.name, step)
        timestamp = None if given.timestamps is None else given.timestamps[index]
        if timestamp is None:
            timestamp = now if untouched or step > top_step else max(now, top_time + 1)
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
