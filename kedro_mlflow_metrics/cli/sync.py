"""``kedro metrics``: what is done with metrics outside a pipeline. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from kedro_mlflow_metrics.delivery.leftovers import Waiting
    from kedro_mlflow_metrics.project.context import Project
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = ["commands"]

FORMATS = ("json", "csv", "kubeflow-v1", "kubeflow-v2")


@click.group(name="kedro-mlflow-metrics")
def commands() -> None:
    """Hold the group that Kedro's own command takes in."""


@commands.group()
def metrics() -> None:
    """Metrics that pipelines log to MLflow."""


@metrics.command()
@click.option("--env", "-e", default=None, help="Kedro environment whose settings and credentials are used.")
@click.option("--run", "ident", default=None, metavar="ID", help="Only this run; its first characters will do.")
@click.option("--to", "uri", default=None, metavar="URI", help="Send there, whatever the settings say.")
@click.option("--dry-run", is_flag=True, help="Only show what waits, since when and why.")
@click.option("--drop", is_flag=True, help="Throw away what waits instead of sending it; asks first.")
@click.pass_obj
def sync(metadata: Any, env: str | None, ident: str | None, uri: str | None, dry_run: bool, drop: bool) -> None:  # noqa: ANN401, PLR0913, PLR0917, FBT001 - one per option
    """Send the metrics that wait in the journal to MLflow.

    Exit code 1 while something is left.
    """
    from kedro_mlflow_metrics.delivery import leftovers
    from kedro_mlflow_metrics.errors import MetricsError, one_line_exit

    try:
        project = _project(metadata, env)
        server = project.server(project.settings())
        waiting = [each for each in leftovers.look(server.delivery) if _chosen(each, ident)]
        found = [each for each in waiting if each.something]
        if not found:
            click.echo("Nothing waits.")
            _send(waiting, server, uri, quiet=True)
            return
        if dry_run:
            _show(found)
        elif drop:
            _drop(found)
        else:
            _send(waiting, server, uri)
        left = [each for each in leftovers.look(server.delivery) if each.something and _chosen(each, ident)]
    except MetricsError as exc:
        raise one_line_exit(exc) from exc
    if left:
        click.get_current_context().exit(1)


@metrics.command()
@click.argument("run")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="json", show_default=True, help="What is written."
)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file; the terminal also shows Kedro's log.",
)
@click.option("--only", multiple=True, metavar="GLOB", help="Only metrics whose key matches.")
@click.option("--percentage", multiple=True, metavar="GLOB", help="v1: metrics that are shown as a percentage.")
@click.option("--raw", multiple=True, metavar="GLOB", help="v1: metrics whose format is said to be RAW.")
@click.option("--order", multiple=True, metavar="GLOB", help="v1: metrics that come first; 50 are kept.")
@click.option("--names", type=click.Choice(("modern", "legacy")), default="modern", help="v1: legacy is before 1.0.")
@click.option("--executor-input", metavar="JSON", help="v2: what Kubeflow puts for {{$}}; its output file is written.")
@click.option("--output-name", metavar="NAME", help="v2: the output artifact, if the task has several.")
@click.option("--env", "-e", default=None, help="Kedro environment whose settings and credentials are used.")
@click.pass_obj
def export(  # noqa: PLR0913 - one per option
    metadata: Any,  # noqa: ANN401 - kedro's ProjectMetadata
    /,
    *,
    run: str,
    form: str,
    output: Path | None,
    only: tuple[str, ...],
    executor_input: str | None,
    output_name: str | None,
    env: str | None,
    **options: Any,  # noqa: ANN401 - the fields of kubeflow's Options
) -> None:
    """Write the metrics of RUN: an MLflow run id, or 'latest' for the project's newest run."""
    from kedro_mlflow_metrics.errors import MetricsError, one_line_exit
    from kedro_mlflow_metrics.kubeflow.metrics_file import write_aside
    from kedro_mlflow_metrics.tracking import runs
    from kedro_mlflow_metrics.views import text as exports

    if executor_input and (form != "kubeflow-v2" or output):
        raise click.UsageError("--executor-input goes with --format kubeflow-v2 alone, and names its file itself")
    if form != "kubeflow-v1" and (
        any(map(options.get, ("percentage", "raw", "order"))) or options["names"] != "modern"
    ):
        raise click.UsageError("--percentage, --raw, --order and --names go with --format kubeflow-v1")
    try:
        project = _project(metadata, env)
        settings = project.settings()
        server = project.server(settings)
        latest = run == "latest"
        target = runs.newest(server, settings.experiment or project.package) if latest else runs.join(server, run)
        if executor_input:
            path = exports.leave_to_executor(target, only, executor_input, output_name)
            click.echo(f"written to {path}", err=True)
            return
        made = exports.written(target, only, form, options)
        _show_names(made.names)
        if output is None:
            click.echo(made.text, nl=False)
        else:
            write_aside(output, made.text)
    except MetricsError as exc:
        raise one_line_exit(exc) from exc
    except OSError as exc:
        raise click.ClickException(f"{exc.filename}: {exc.strerror}") from exc


@metrics.command()
@click.argument("file", type=click.File("rb"))
@click.option("--legacy", is_flag=True, help="Judge for Kubeflow Pipelines before 1.0 too.")
def validate(file: BinaryIO, *, legacy: bool) -> None:
    """Say what Kubeflow Pipelines would drop or change in a metrics file.

    FILE is what a component writes as mlpipeline-metrics; '-' reads it from standard input. Exit code 1 if there is
    anything to say.
    """
    from rich.table import Table

    from kedro_mlflow_metrics.kubeflow.rules import check

    findings = check(file.read(), legacy=legacy)
    if not findings:
        click.echo(f"{file.name}: Kubeflow takes all of it, since version {'0.1' if legacy else '1.0'}.")
        return
    table = Table("entry", "metric", "problem", "Kubeflow", "versions")
    for found in findings:
        entry = "file" if found.entry is None else str(found.entry)
        table.add_row(entry, found.name, found.problem, found.outcome.value, found.versions)
    _print(table)
    click.get_current_context().exit(1)


def _print(table: Table, *, stderr: bool = False) -> None:
    """Print a table, as wide as it needs where no terminal limits it."""
    from rich.console import Console

    tty = (sys.stderr if stderr else sys.stdout).isatty()
    Console(stderr=stderr, width=None if tty else 200).print(table)


def _show_names(names: Mapping[str, str]) -> None:
    """Print which metrics have another name in Kubeflow."""
    from rich.table import Table

    table = Table("metric", "in Kubeflow")
    for key, name in names.items():
        if key != name:
            table.add_row(key, name)
    if table.row_count:
        _print(table, stderr=True)


def _project(metadata: Any, env: str | None) -> Project:  # noqa: ANN401 - kedro's ProjectMetadata
    """Read the project's context, which runs nothing and builds no dataset."""
    from kedro.framework.session import KedroSession

    from kedro_mlflow_metrics.hook import project_of

    with KedroSession.create(project_path=metadata.project_path, env=env) as session:
        return project_of(session.load_context())  # type: ignore[attr-defined]


def _chosen(waiting: Waiting, ident: str | None) -> bool:
    record = waiting.record
    return ident is None or (
        record is not None
        and (record.run_id, record.local_id) != ("", "")
        and any(known.startswith(ident) for known in (record.run_id, record.local_id) if known)
    )


def _send(waiting: list[Waiting], server: Server, uri: str | None, *, quiet: bool = False) -> None:
    """Send what waits, run by run, with a progress bar on a terminal."""
    from dataclasses import replace

    from kedro_mlflow_metrics.delivery import leftovers
    from kedro_mlflow_metrics.errors import MetricsError, TrackingError
    from kedro_mlflow_metrics.views.progress import progress_bar

    down: set[str] = set()
    with progress_bar(disable=quiet) as progress:
        for each in waiting:
            there, refusal = _address(each, server, uri)
            if refusal or there in down:
                click.echo(refusal or f"{_title(each)}: waits too", err=True)
                continue
            task = progress.add_task(_title(each), total=each.points)
            sent = 0
            try:
                for number in leftovers.deliver(each.folder, replace(server, uri=there)):
                    sent += number
                    progress.update(task, completed=sent)
            except MetricsError as exc:
                click.echo(f"{_title(each)}: {sent} points sent, the rest waits: {exc}", err=True)
                if isinstance(exc, TrackingError) and exc.outage:
                    down.add(there)
                continue
            if not quiet:
                click.echo(f"{_title(each)}: {sent} points sent{_remainder(each)}")


def _remainder(waiting: Waiting) -> str:
    """Say what can never be sent."""
    kinds = ((waiting.refused, "refused by MLflow"), (waiting.damaged, "damaged"))
    parts = [f"{number} {kind}" for number, kind in kinds if number]
    return f"; {' and '.join(parts)} in {waiting.folder}, which --drop throws away" if parts else ""


def _address(waiting: Waiting, server: Server, uri: str | None) -> tuple[str, str]:
    """Return where to send a run's points, and why not, if they must not be sent."""
    from kedro_mlflow_metrics.journal.folder import portable_uri

    record = waiting.record
    if record is None:
        return "", f"{waiting.folder}: nothing says which run this is; look into it, or throw it away with --drop"
    if uri is not None:
        return uri, ""
    if record.uri != portable_uri(server):
        return "", (
            f"{_title(waiting)}: it was logged to {record.uri} and the settings say {portable_uri(server)}; "
            "say which with --to"
        )
    return server.uri, ""


def _title(waiting: Waiting) -> str:
    record = waiting.record
    if record is None:
        return str(waiting.folder)
    return f"{record.name} {record.ident[:8]}" if record.name else record.ident


def _show(found: list[Waiting]) -> None:
    """Print a table of what waits."""
    from datetime import datetime

    from rich.table import Table

    table = Table("run", "points", "since", "address", "why")
    for each in found:
        record = each.record
        since = datetime.fromtimestamp(each.since / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        reason = (
            "its process still runs" if each.live else (record.reason if record else "") or "its process was killed"
        )
        why = reason + "".join(
            f"; {number} {what}" for number, what in ((each.refused, "refused"), (each.damaged, "damaged")) if number
        )
        about = (_title(each), record.uri) if record else (each.folder.name, "")
        table.add_row(about[0], str(each.points), since, about[1], why)
    _print(table)


def _drop(found: list[Waiting]) -> None:
    """Throw away what waits, after a question."""
    from kedro_mlflow_metrics.delivery import leftovers

    points = sum(each.points + each.refused for each in found)
    click.confirm(f"Throw away {points} points of {len(found)} runs for good?", abort=True)
    for each in found:
        if each.live:
            click.echo(f"{_title(each)}: its process still runs; nothing thrown away", err=True)
        else:
            leftovers.drop(each)
            click.echo(f"{_title(each)}: thrown away")
