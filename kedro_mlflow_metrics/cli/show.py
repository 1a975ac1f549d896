"""``kedro metrics show``: every metric of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kedro_mlflow_metrics.cli.common import looking, matching
from kedro_mlflow_metrics.delivery import read
from kedro_mlflow_metrics.points.series import summary
from kedro_mlflow_metrics.runs import find
from kedro_mlflow_metrics.views import tables, text

if TYPE_CHECKING:
    from kedro_mlflow_metrics.cli.common import Looking

__all__ = ["show"]


@click.command()
@click.argument("run", default=find.LATEST)
@click.option("--only", multiple=True, metavar="GLOB", help="Only metrics whose key matches.")
@looking
def show(look: Looking, *, run: str, only: tuple[str, ...]) -> None:
    """Show every metric of RUN: its first, last, lowest and highest value, and its curve.

    RUN is an id, the first 6 or more characters of one, a name, 'latest' (the default), or 'latest~1' for the run
    before that. MLflow is asked two or three times for the run and once for each metric.

    \b
    kedro metrics show
    kedro metrics show latest~1 --only "training_metrics.*"
    """  # noqa: D301 - click keeps the lines below its \b as they are
    (found,) = find.several(look.here, [run], look.experiment)
    metrics = {key: summary(points) for key, points in read.load(found.target, matching(only), away=found.away)}
    if not metrics and not look.form:
        click.echo(f"Run {found.name or found.run_id!r} has no{' such' if only else ''} metrics.", err=True)
    look.answer(lambda: tables.of_metrics(found, metrics, look.display), lambda: text.summed_up(found, metrics))
