"""``kedro metrics start``: opens a run for processes that are told its id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kedro_mlflow_metrics.cli.common import in_project
from kedro_mlflow_metrics.kubeflow.metrics_file import write_file
from kedro_mlflow_metrics.process import now
from kedro_mlflow_metrics.tracking import runs

if TYPE_CHECKING:
    from kedro_mlflow_metrics.project.binding import Binding

__all__ = ["start"]


@click.command()
@click.option("--name", default="", help="The run's name; else MLflow makes one up.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=TEXT", help="A tag; may be given several times.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="A file that the id is written to as well.")
@in_project
def start(here: Binding, *, name: str, tags: tuple[str, ...], output: str | None) -> None:
    """Open a run in the project's experiment and print its id, to hand it as MLFLOW_RUN_ID to other processes.

    None of them ends it: 'kedro metrics end' does.

    \b
    export MLFLOW_RUN_ID=$(python -m kedro_mlflow_metrics start --name nightly)
    kedro run --nodes train
    kedro run --nodes evaluate
    kedro metrics end $MLFLOW_RUN_ID --status FINISHED
    """  # noqa: D301 - click looks for the character itself
    pairs = [tag.partition("=") for tag in tags]
    if wrong := [tag for tag, (key, equals, _) in zip(tags, pairs, strict=True) if not (key and equals)]:
        raise click.UsageError(f"--tag {wrong[0]!r}: accepted is NAME=TEXT")
    run = runs.create(here.server, here.experiment, name, {key: text for key, _, text in pairs}, now())
    click.echo(run.run_id)  # first: it is there, whether it can be written down or not
    if output:
        write_file(Path(output), run.run_id.encode())
