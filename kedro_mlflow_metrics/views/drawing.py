"""What a picture of curves shows, whatever draws it: a chart per metric, in it a line per run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kedro_mlflow_metrics.delivery import read
from kedro_mlflow_metrics.points.series import line
from kedro_mlflow_metrics.views.tables import labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kedro_mlflow_metrics.delivery.read import Snapshot
    from kedro_mlflow_metrics.points.series import Line

__all__ = ["MOST", "Drawing", "drawings", "runs_of"]

MOST = 2_000  # points of a line that are drawn: more than any screen has columns


class Drawing(NamedTuple):
    """The chart of one metric."""

    key: str
    lines: Sequence[tuple[str, Line]]  # what each run is called, and its curve
    share: bool = False  # whether the values are shown as percentages

    @property
    def remark(self) -> str:
        """What the chart leaves out; empty if it shows every point."""
        drawn, count, left_out = (
            sum(each)
            for each in zip(*((len(line.values), line.count, line.left_out) for _, line in self.lines), strict=True)
        )
        thinned = f"{drawn:,} of {count:,} points, peaks are kept" if drawn < count else ""
        return ", ".join(filter(None, (thinned, f"{left_out:,} not finite" if left_out else "")))


def drawings(
    runs: Sequence[Snapshot], wanted: Callable[[str], bool], share: Callable[[str], bool]
) -> tuple[list[Drawing], list[str]]:
    """Read the curves of runs; return them, and the metrics that have no curve: one point in each run.

    MLflow is asked once more for each run and once for each of its metrics; of a long history only what is drawn is
    kept.
    """
    found: dict[str, list[tuple[str, Line]]] = {}
    for run, label in zip(runs, labels(runs), strict=True):
        for key, points in read.load(run.target, wanted, away=run.away):
            found.setdefault(key, []).append((label, line(points).thinned(MOST)))
    single = sorted(key for key, lines in found.items() if all(line.count < 2 for _, line in lines))  # noqa: PLR2004 - one is no curve
    return [Drawing(key, _with_points(found[key]), share(key)) for key in sorted({*found} - {*single})], single


def runs_of(drawings: Iterable[Drawing]) -> list[str]:
    """Return what the runs of drawings are called, each once: its place is that of its colour."""
    return list(dict.fromkeys(label for drawing in drawings for label, _ in drawing.lines))


def _with_points(lines: Iterable[tuple[str, Line]]) -> list[tuple[str, Line]]:
    return [(label, each) for label, each in lines if each.count]
