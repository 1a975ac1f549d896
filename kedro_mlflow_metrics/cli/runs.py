"""``kedro metrics runs``: the newest runs and their metrics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from kedro_mlflow_metrics.cli.common import looking
from kedro_mlflow_metrics.errors import did_you_mean
from kedro_mlflow_metrics.process import now
from kedro_mlflow_metrics.runs import find
from kedro_mlflow_metrics.tracking.store import NEWEST_FIRST
from kedro_mlflow_metrics.views import tables, text

if TYPE_CHECKING:
    from kedro_mlflow_metrics.cli.common import Looking
    from kedro_mlflow_metrics.delivery.read import Snapshot

__all__ = ["runs"]


@click.command()
@click.option("-n", "number", type=click.IntRange(1, 50_000), default=20, show_default=True, help="How many runs.")
@click.option("--top", type=click.IntRange(0), default=2, show_default=True, help="How many metrics have a column.")
@click.option("--all", "every", is_flag=True, help="All metrics have one.")
@click.option("--sort", metavar="METRIC", help="By this metric, the highest first; with a '-' before it the lowest.")
@click.option("--filter", "where", metavar="EXPRESSION", default="", help="Those that MLflow's expression chooses.")
@looking
def runs(  # noqa: PLR0913 - one per option
    look: Looking, *, number: int, top: int, every: bool, sort: str | None, where: str
) -> None:
    """List the newest runs, each with the metrics that most of them have.

    Two requests in all. Runs that MLflow does not have yet are listed too, unless there is a --filter.

    \b
    kedro metrics runs --top 3 --sort test.accuracy
    kedro metrics runs --filter "metrics.test.accuracy > 0.9"
    python -m kedro_mlflow_metrics runs --json | jq '.[0].metrics'
    """  # noqa: D301 - click keeps the lines below its \b as they are
    metric, lowest = (sort or "").removeprefix("-"), bool(sort) and str(sort).startswith("-")
    order = f"metrics.`{metric}` {'ASC' if lowest else 'DESC'}" if metric else NEWEST_FIRST
    found = find.recent(look.here, number, experiment=look.experiment, where=where, order=order)

    def rank(run: Snapshot) -> float:
        value = run.metrics.get(metric, math.nan)
        return math.inf if math.isnan(value) else value if lowest else -value

    if metric:
        found = sorted(found, key=rank)[:number]  # those that wait in the journal stand where they belong
        if found and not any(metric in run.metrics for run in found):
            close = did_you_mean(metric, {key for run in found for key in run.metrics})
            click.echo(f"None of these runs has a metric {metric!r}{close and '; '}{close}", err=True)
    if not found and not look.form:
        experiment = f"experiment {look.experiment or look.here.experiment!r} in {look.here.server.where}"
        click.echo(f"There is no {'such ' if where else ''}run in {experiment}.", err=True)
    columns = tables.common((run.metrics for run in found), None if every else top)
    if metric and metric not in columns:
        columns.insert(0, metric)
    look.answer(lambda: tables.of_runs(found, now(), look.display, columns), lambda: text.listed(found))
