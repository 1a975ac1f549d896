"""Runs and metrics as tables; pure: `terminal`, `text` and `html` write them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from kedro_mlflow_metrics.views.numbers import age, number, percentage, span, spark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kedro_mlflow_metrics.delivery.read import Snapshot
    from kedro_mlflow_metrics.points.series import Summary

__all__ = ["SHORT", "Best", "Display", "Table", "clean", "common", "labels", "of_metrics", "of_runs"]

SHORT = 8  # characters of an id


class Best(str):
    """A cell that is the best of its row."""

    __slots__ = ()


class Table(NamedTuple):
    """What is shown in rows and columns."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1  # how many columns, the first ones, hold text: they are repeated where a table is cut to fit
    title: str = ""


@dataclass(frozen=True)
class Display:
    """How a project wants its metrics shown."""

    share: Callable[[str], bool] = lambda _: False  # whether a metric is shown as a percentage
    higher: Sequence[str] = ()  # globs of the metrics that are the better the higher
    lower: Sequence[str] = ()  # and the lower

    def also(self, higher: Sequence[str], lower: Sequence[str]) -> Display:
        """Return the same, with more globs, or one, of metrics that are the better the higher, or the lower."""
        more = [(globs,) if isinstance(globs, str) else globs for globs in (higher, lower)]
        return Display(self.share, (*more[0], *self.higher), (*more[1], *self.lower))

    def value(self, key: str, value: float | None, missing: str = "") -> str:
        """Write a value of a metric."""
        if value is None:
            return missing
        return percentage(value) if self.share(key) else number(value)

    def best(self, key: str, values: Iterable[float | None]) -> float | None:
        """Return the best of several values, None where nobody said which is, or they are the same."""
        known = [value for value in values if value is not None and not math.isnan(value)]
        ways = ((max, self.higher), (min, self.lower))
        way = next((way for way, globs in ways if any(fnmatchcase(key, glob) for glob in globs)), None)
        return way(known) if way and len(set(known)) > 1 else None


def common(runs: Iterable[Mapping[str, float]], top: int | None = None) -> list[str]:
    """Return the metrics by the number of runs that have them, then by name; the first of them if so many are asked.

    A value that is NaN counts as none, as on the Runs page of Kubeflow Pipelines.
    """
    counts = Counter(key for metrics in runs for key, value in metrics.items() if not math.isnan(value))
    return sorted(counts, key=lambda key: (-counts[key], key))[:top]


def of_runs(runs: Sequence[Snapshot], now: int, display: Display, keys: Sequence[str]) -> Table:
    """Return a row per run; ``now`` is in milliseconds since the epoch."""
    heads = ("run", "id", "age", "took", "status", *map(clean, keys))
    rows = []
    for run in runs:
        metrics = run.metrics
        took = span((run.end_time or now) - run.start_time)
        values = (display.value(key, metrics.get(key)) for key in keys)
        rows.append((clean(run.name), run.run_id[:SHORT], age(now - run.start_time), took, run.status, *values))
    return Table(heads, rows, left=2)


def of_metrics(run: Snapshot, metrics: Mapping[str, Summary], display: Display) -> Table:
    """Return a row per metric of a run."""
    heads = ["metric", "curve", "first", "last", "min (step)", "max (step)", "points"]
    rows = []
    for key, found in metrics.items():
        ends = display.value(key, found.first), display.value(key, found.last)
        extremes = ((found.min, found.min_step), (found.max, found.max_step))
        at_steps = ("" if value is None else f"{display.value(key, value)} ({step})" for value, step in extremes)
        rows.append([clean(key), spark(found.line), *ends, *at_steps, str(found.count)])
    if not any(row[1] for row in rows):
        heads, rows = [heads[0], *heads[2:]], [[row[0], *row[2:]] for row in rows]
    return Table(heads, rows, title=f"{clean(run.name)} {run.run_id[:SHORT]} {run.status}".strip())


def labels(runs: Sequence[Snapshot]) -> list[str]:
    """Return what runs are called beside each other: their names, with an id where these are the same."""
    names = Counter(run.name for run in runs)
    return [
        clean(run.name if run.name and names[run.name] == 1 else f"{run.name} {run.run_id[:SHORT]}".strip())
        for run in runs
    ]


def clean(name: str) -> str:
    """Return the name of a run or a metric without what would move the cursor or begin a line."""
    return "".join(character if character.isprintable() else " " for character in name)
