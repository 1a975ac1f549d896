"""The short table with which a run on a terminal ends: its metrics, and what became of them since the run before."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kedro_mlflow_metrics import process
from kedro_mlflow_metrics.delivery import read
from kedro_mlflow_metrics.errors import MetricsError
from kedro_mlflow_metrics.points.forms import unclamped
from kedro_mlflow_metrics.points.series import Line, line
from kedro_mlflow_metrics.views.numbers import change, spark
from kedro_mlflow_metrics.views.tables import Table
from kedro_mlflow_metrics.views.terminal import print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kedro_mlflow_metrics.delivery.stream import Place
    from kedro_mlflow_metrics.delivery.target import Target
    from kedro_mlflow_metrics.points.curves import Curve, MetricPoint
    from kedro_mlflow_metrics.views.tables import Display

__all__ = ["CurvesOfRuns", "Summary"]

_ROWS = 20
_VALUES = 128  # that are kept of a curve
_NONE = Line((), (), 0)
_MEASURED = "system/"  # by MLflow, of the machine

_curves: process.Own[dict[tuple[str, str], dict[str, Line]]] = process.Own(dict)  # by run and key


class CurvesOfRuns:
    """A sink that keeps the shape of what this process saves, for the sparklines of the summary."""

    def take(self, target: Target, curves: Sequence[Curve], place: Place) -> None:  # noqa: ARG002 - as `Sink` has it
        """Keep the lowest and highest values of long curves, and all of short ones."""
        kept = _curves.value.setdefault(target.key, {})
        for curve in curves:
            before, new = kept.get(curve.key, _NONE), line(curve)
            steps, values = [*before.steps, *new.steps], [*before.values, *new.values]
            if before.count and new.count and new.steps[0] <= before.steps[-1]:
                steps, values = map(list, zip(*sorted(zip(steps, values, strict=True)), strict=True))
            both = Line(steps, values, before.count + new.count)
            kept[curve.key] = both.thinned(_VALUES) if len(values) > 2 * _VALUES else both

    def settle(self, target: Target) -> None:
        """Nothing was put off."""


@dataclass(frozen=True)
class Summary:
    """What has to be known to sum up a run.

    Attributes:
        display: How metrics are shown.
        pipeline: What the run before has to be a run of.
    """

    display: Display
    pipeline: str

    def show(self, target: Target, latest: Mapping[str, MetricPoint]) -> None:
        """Print the table; MLflow is asked once, for the run before, and may well not answer."""
        keys = [key for key in sorted(latest) if not key.startswith(_MEASURED)]
        kept = _curves.value.pop(target.key, {})
        if not keys:
            return
        before: dict[str, float] = {}
        with suppress(MetricsError):
            before = read.run_before(target, self.pipeline)
        sparks = {key: spark(kept.get(key, _NONE)) for key in keys[:_ROWS]}
        heads = ["metric", "value", *(("change",) if before else ()), *(("curve",) if any(sparks.values()) else ())]
        rows = []
        for key in keys[:_ROWS]:
            value, old = unclamped(latest[key].value), before.get(key)
            row = [key, self.display.value(key, value)]
            if before:
                row.append(change(old, value, share=self.display.share(key)))
            rows.append([*row, sparks[key]][: len(heads)])
        print_table(Table(heads, rows))
        if len(keys) > _ROWS:
            print_line(f"... and {len(keys) - _ROWS} more: {target.journal.command('show')}")
