"""Runs beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.views import html
from kedro_mlflow_metrics.views.numbers import change, relative
from kedro_mlflow_metrics.views.tables import Best, Display, Table, clean, labels
from kedro_mlflow_metrics.views.terminal import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kedro_mlflow_metrics.delivery.read import Snapshot

__all__ = ["Comparison"]


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other; it shows itself, in a notebook as HTML.

    Attributes:
        runs: The runs, in the order in which they were named.
        metrics: By key a value per run, the latest; None where the run does not have the metric.
        display: How they are shown.
    """

    runs: Sequence[Snapshot]
    metrics: Mapping[str, Sequence[float | None]]
    display: Display

    @classmethod
    def of(cls, runs: Sequence[Snapshot], display: Display, *, changed: bool = False) -> Comparison:
        """Compare all metrics of runs, or only those that are not the same in all of them."""
        values = [run.metrics for run in runs]
        metrics = {key: [each.get(key) for each in values] for key in sorted(set().union(*values))}
        if changed:
            metrics = {key: found for key, found in metrics.items() if len(set(map(repr, found))) > 1}
        return cls(runs, metrics, display)

    def table(self) -> Table:
        """Return a row per metric, and the change from the first run to the last."""
        heads = ["metric", *labels(self.runs)]
        if len(self.runs) > 1:
            heads += ["change", "in %"]
        return Table(heads, [self._row(key, found) for key, found in self.metrics.items()])

    def _row(self, key: str, found: Sequence[float | None]) -> list[str]:
        best = self.display.best(key, found)
        texts = (self.display.value(key, value, "missing") for value in found)
        cells = zip(texts, found, strict=True)
        row = [clean(key), *(Best(text) if best is not None and value == best else text for text, value in cells)]
        if len(self.runs) > 1:
            row += [change(found[0], found[-1], share=self.display.share(key)), relative(found[0], found[-1])]
        return row

    def __repr__(self) -> str:
        return plain(self.table())

    def _repr_html_(self) -> str:
        return html.table(self.table())
