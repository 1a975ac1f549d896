"""``kedro metrics validate``: what Kubeflow Pipelines would do with a metrics file."""

from __future__ import annotations

from typing import BinaryIO

import click

from kedro_mlflow_metrics.kubeflow.rules import Outcome, check
from kedro_mlflow_metrics.views.tables import Table
from kedro_mlflow_metrics.views.terminal import print_table

__all__ = ["validate"]


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--legacy", is_flag=True, help="Judge for Kubeflow Pipelines before 1.0 too.")
def validate(file: BinaryIO, *, legacy: bool) -> None:
    """Say what Kubeflow Pipelines would drop or change in a metrics file.

    FILE is what a component writes as mlpipeline-metrics; '-' reads it from standard input. Exit code 1 if there is
    anything to say, but for a note that Kubeflow takes something though its documentation does not.
    """
    findings = check(file.read(), legacy=legacy)
    heads = ("entry", "metric", "problem", "Kubeflow", "versions")
    rows = [
        ("file" if found.entry is None else str(found.entry), *found[1:3], found.outcome.value, found.versions)
        for found in findings
    ]
    print_table(Table(heads, rows, left=len(heads)))
    if any(found.outcome is not Outcome.TAKES for found in findings):
        click.get_current_context().exit(1)
    click.echo(f"{file.name}: Kubeflow takes all of it, since version {'0.1' if legacy else '1.0'}.")
