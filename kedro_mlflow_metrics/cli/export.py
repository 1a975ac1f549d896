"""``kedro metrics export``: writes the metrics of a run in another form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kedro_mlflow_metrics.cli.common import in_project, matching
from kedro_mlflow_metrics.delivery import read
from kedro_mlflow_metrics.delivery.imports import described
from kedro_mlflow_metrics.kubeflow.metrics_file import write_file
from kedro_mlflow_metrics.runs import find
from kedro_mlflow_metrics.views.tables import Table
from kedro_mlflow_metrics.views.terminal import print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kedro_mlflow_metrics.delivery.read import Snapshot
    from kedro_mlflow_metrics.project.binding import Binding

__all__ = ["export"]

FORMATS = ("json", "csv", "kubeflow-v1", "kubeflow-v2")


@click.command()
@click.argument("run")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="json", show_default=True, help="What is written."
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, allow_dash=True),
    default="-",
    help="A file; '-', standard output, is the default.",
)
@click.option("--only", multiple=True, metavar="GLOB", help="Only metrics whose key matches.")
@click.option("--percentage", multiple=True, metavar="GLOB", help="v1: metrics that are shown as a percentage.")
@click.option("--raw", multiple=True, metavar="GLOB", help="v1: metrics whose format is said to be RAW.")
@click.option("--order", multiple=True, metavar="GLOB", help="v1: metrics that come first; 50 are kept.")
@click.option("--names", type=click.Choice(("modern", "legacy")), default="modern", help="v1: legacy is before 1.0.")
@click.option("--executor-input", metavar="JSON", help="v2: what Kubeflow puts for {{$}}; its output file is written.")
@click.option("--output-name", metavar="NAME", help="v2: the output artifact, if the task has several.")
@in_project
def export(  # noqa: PLR0913 - one per option
    here: Binding,
    /,
    *,
    run: str,
    form: str,
    output: str,
    only: tuple[str, ...],
    executor_input: str | None,
    output_name: str | None,
    **options: Any,  # noqa: ANN401 - the fields of kubeflow's Options
) -> None:
    """Write the metrics of RUN.

    RUN is an id, the first 6 or more characters of one, a name, 'latest', or 'latest~1' for the run before that.
    """
    if executor_input and (form != "kubeflow-v2" or output != "-"):
        raise click.UsageError("--executor-input goes with --format kubeflow-v2 alone, and names its file itself")
    given = any(map(options.get, ("percentage", "raw", "order"))) or options["names"] != "modern"
    if given and form != "kubeflow-v1":
        raise click.UsageError("--percentage, --raw, --order and --names go with --format kubeflow-v1")
    (seen,) = find.several(here, [run])
    target = seen.target
    wanted = matching(only)
    if executor_input:
        from kedro_mlflow_metrics.kubeflow.v2 import leave_to_executor

        path = leave_to_executor(read.last_points(target, wanted), executor_input, output_name)
        click.echo(f"written to {path}", err=True)
        return
    text = _text(seen, wanted, form, options)
    if output == "-":
        click.echo(text.encode(), nl=False)
    else:
        write_file(Path(output), text.encode())


def _text(seen: Snapshot, wanted: Callable[[str], bool], form: str, options: Mapping[str, Any]) -> str:
    """Read the metrics of a run and write them in a form."""
    if form in ("json", "csv"):
        from kedro_mlflow_metrics.views.text import as_csv, as_json, in_order

        points = in_order(read.load(seen.target, wanted))
        return as_csv(points) if form == "csv" else as_json(seen, *described(seen), points)
    last = read.last_points(seen.target, wanted)
    if form == "kubeflow-v2":
        from kedro_mlflow_metrics.kubeflow.v2 import metadata_text

        return metadata_text(last)
    from kedro_mlflow_metrics.kubeflow.v1 import Manner, document, read_options, warn_left_out

    manner = Manner(read_options(options, form))
    made = document(last, lambda _: manner)
    warn_left_out(made.without_value, made.left_out)
    renamed = [pair for pair in made.names.items() if pair[0] != pair[1]]
    print_table(Table(("metric", "in Kubeflow"), renamed, left=2), stderr=True)
    return made.text
