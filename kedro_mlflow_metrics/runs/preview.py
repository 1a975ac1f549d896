"""What Kedro-Viz and notebooks show: an entry in its newest runs, and runs beside each other."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from dataclasses import replace
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_mlflow_metrics.delivery import read
from kedro_mlflow_metrics.errors import MetricsError, NotThereError
from kedro_mlflow_metrics.points.series import summary
from kedro_mlflow_metrics.project import catalog as catalogs
from kedro_mlflow_metrics.runs import find
from kedro_mlflow_metrics.runs.fluent import here_of
from kedro_mlflow_metrics.views import figure, html
from kedro_mlflow_metrics.views.comparison import Comparison
from kedro_mlflow_metrics.views.drawing import drawings
from kedro_mlflow_metrics.views.tables import of_metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_mlflow_metrics.delivery.read import Snapshot
    from kedro_mlflow_metrics.project.binding import Binding
    from kedro_mlflow_metrics.project.context import MetricsDataset
    from kedro_mlflow_metrics.views.tables import Display

__all__ = ["as_figure", "as_html", "compare"]

_IN_A_REQUEST, _ALONE, _ONE_ANSWER, _FRESH = 1.2, 60.0, 1.0, 30.0  # seconds
_LOOKED_AT = 50
_NOT_YET = "There is no answer yet: close this panel and open it again in a moment."


class _Shown(NamedTuple):
    """What is shown of an entry."""

    binding: Binding  # how its metrics are named in these runs
    runs: Sequence[Snapshot]  # the newest last
    display: Display


def _look(dataset: MetricsDataset, number: int) -> _Shown:
    """Find the newest runs that have metrics of an entry, or the run that it names."""
    binding, display = catalogs.seen(dataset)
    here = here_of(replace(binding, target=None, server=replace(binding.server, timeout=_ONE_ANSWER)))
    if dataset.run_id and dataset.run_id != find.LATEST:
        found = find.several(here, [dataset.run_id])
    else:
        found = find.recent(here, _LOOKED_AT)
    for each in binding.readings:
        having = [run for run in found if any(map(each.owns, run.latest))]
        if having:
            return _Shown(each, having[:number][::-1], replace(display, share=partial(_share, display, each)))
    raise NotThereError("no run has metrics of this entry yet", "run a pipeline that saves it")


def _share(display: Display, binding: Binding, name: str) -> bool:
    """Tell whether a metric is shown as a percentage, by its name without prefix."""
    return display.share(binding.prefix + name)


def as_html(dataset: MetricsDataset) -> str:
    """Return a table of the entry's metrics in its newest run, for a notebook."""
    try:
        shown = _look(dataset, 1)
        (run,) = shown.runs
        found = read.load(run.target, shown.binding.owns, away=run.away)
        metrics = {shown.binding.strip(key): summary(points) for key, points in found}
    except MetricsError as exc:
        return f"<p>{escape(str(exc))}</p>"
    where = f"{run.target.server.safe}, {shown.binding.prefix}*"
    return f"{html.table(of_metrics(run, metrics, shown.display))}<p>{escape(where)}</p>"


def compare(*runs: str, experiment: str = "", higher: Sequence[str] = (), lower: Sequence[str] = ()) -> Comparison:
    """Compare the last values of MLflow runs; in a notebook the result shows itself as a table.

    Args:
        runs: Each is an id, the first 6 or more characters of one, a name, ``latest``, or ``latest~1`` for the run
            before that. Without any the newest run is compared with the one before it.
        experiment: Another experiment than the project's.
        higher: Globs of metrics that are the better the higher: the best of a row is bold.
        lower: The same for the lower. What the settings say about both counts too.

    Returns:
        An object whose ``metrics`` has, by key, a value per run, None where the run does not have the metric.

    Raises:
        MetricsError: There is no such run, or MLflow does not answer; one line.
    """
    binding, display = catalogs.looking()
    found = find.several(here_of(binding), runs or find.LAST_TWO, experiment)
    return Comparison.of(found, display.also(higher, lower))


def as_figure(dataset: MetricsDataset, runs: int) -> dict[str, Any]:
    """Return a Plotly figure of the entry's newest runs: curves, and below them a table of what has one point.

    In a web server, which stands still meanwhile, it returns in less than two seconds, with a word on why if there is
    nothing to show by then. It never raises.
    """
    try:
        asyncio.get_running_loop()
        patience = _IN_A_REQUEST
    except RuntimeError:  # nobody waits for another answer, as in `kedro viz build`
        patience = _ALONE
    if not isinstance(runs, int) or runs < 1:
        return figure.note(f"preview_args: 'runs' is {runs!r}; accepted: a whole number from 1 on")
    job = _jobs.get((id(dataset), runs))
    if job is None or job.ended < time.monotonic() - _FRESH:
        job = _jobs[id(dataset), runs] = _Job(dataset, runs)
        job.start()
    job.join(patience)
    if job.is_alive():  # who comes back meets it again
        return figure.note(_NOT_YET)
    _jobs.pop((id(dataset), runs), None)
    return job.made


class _Job(threading.Thread):
    """Makes a figure; who gives up on it may come back."""

    def __init__(self, dataset: MetricsDataset, runs: int) -> None:
        super().__init__(daemon=True, name="kedro-mlflow-metrics-preview")
        self.made, self.ended = figure.note(_NOT_YET), math.inf
        self._dataset, self._runs = dataset, runs

    def run(self) -> None:
        """Make it."""
        try:
            self.made = _figure(_look(self._dataset, self._runs))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the page of others goes on
            self.made = figure.note(str(exc))
        self.ended = time.monotonic()


_jobs: dict[tuple[int, int], _Job] = {}


def _figure(shown: _Shown) -> dict[str, Any]:
    strip = shown.binding.strip
    drawn, single = drawings(shown.runs, shown.binding.owns, lambda key: shown.display.share(strip(key)))
    charts = [each._replace(key=strip(each.key)) for each in drawn]
    table = None
    if single:
        compared = Comparison.of(shown.runs, shown.display)
        metrics = {strip(key): compared.metrics[key] for key in single}
        table = replace(compared, metrics=metrics).table()
    return figure.figure(charts, columns=1, single=table)
