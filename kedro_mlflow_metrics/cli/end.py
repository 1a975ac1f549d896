"""``kedro metrics end``: ends a run whose process is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kedro_mlflow_metrics.cli.common import in_project
from kedro_mlflow_metrics.delivery import leftovers
from kedro_mlflow_metrics.runs import find

if TYPE_CHECKING:
    from kedro_mlflow_metrics.project.binding import Binding

__all__ = ["end"]

STATUSES = ("KILLED", "FAILED", "FINISHED")


@click.command()
@click.argument("run")
@click.option("--status", type=click.Choice(STATUSES), default="KILLED", show_default=True, help="How it ended.")
@in_project
def end(here: Binding, *, run: str, status: str) -> None:
    """Set the status of RUN, which MLflow takes for RUNNING, though its process is gone.

    The next run and 'sync' do so themselves, but only for processes of the same machine since its last start. RUN is an
    id, the first 6 or more characters of one, a name, 'latest', or 'latest~1' for the run before that.
    """
    target = find.named(here, run)
    leftovers.end_by_hand(target, status)
    click.echo(f"Run {target.record.name or target.record.shown!r} is {status} now.")
