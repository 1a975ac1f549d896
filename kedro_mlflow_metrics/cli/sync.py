"""``kedro metrics sync``: sends what waits in the journal."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kedro_mlflow_metrics.cli.common import in_project
from kedro_mlflow_metrics.delivery import leftovers
from kedro_mlflow_metrics.errors import MetricsError, TrackingError, counted
from kedro_mlflow_metrics.tracking.address import absolute
from kedro_mlflow_metrics.views.tables import Table
from kedro_mlflow_metrics.views.terminal import print_table, progress_bar

if TYPE_CHECKING:
    from kedro_mlflow_metrics.delivery.leftovers import Waiting
    from kedro_mlflow_metrics.project.binding import Binding

__all__ = ["sync"]

_ELSEWHERE = "begun on another machine, or before this one was started; if its process is gone"


@click.command()
@click.option("--run", "ident", default=None, metavar="ID", help="Only this run; its first characters will do.")
@click.option("--to", "uri", default=None, metavar="URI", help="Send there, whatever the settings say.")
@click.option("--dry-run", is_flag=True, help="Only show what waits, since when and why.")
@click.option("--drop", is_flag=True, help="Throw away what waits instead of sending it; asks first.")
@click.option("--refused", is_flag=True, help="Send points again that MLflow has refused for their content.")
@in_project
def sync(  # noqa: PLR0913 - one per option
    here: Binding, *, ident: str | None, uri: str | None, dry_run: bool, drop: bool, refused: bool
) -> None:
    """Send the metrics that wait in the journal to MLflow.

    Exit code 1 while something is left.
    """
    waiting = [each for each in leftovers.look(here.journal) if each.is_run(ident)]
    for each in waiting:
        if each.elsewhere and each.record:
            end = f"{here.journal.command('end')} {each.record.shown[:8]}"
            click.echo(f"{each.title}: RUNNING, {_ELSEWHERE}: {end}", err=True)
    found = [each for each in waiting if each.something]
    if not found:
        click.echo("Nothing waits.")
        _send(waiting, here, uri, quiet=True)
        return
    if dry_run:
        _show(found)
    elif drop:
        _drop(found)
    else:
        _send(waiting, here, uri, refused=refused)
    if any(each.something and each.is_run(ident) for each in leftovers.look(here.journal)):
        click.get_current_context().exit(1)


def _send(
    waiting: list[Waiting], here: Binding, uri: str | None, *, refused: bool = False, quiet: bool = False
) -> None:
    """Send what waits, run by run, with a progress bar on a terminal."""
    down: set[str] = set()
    with progress_bar(disable=quiet) as progress:
        for each in waiting:
            there, refusal = _address(each, here, uri)
            if refusal or there in down:
                click.echo(refusal or f"{each.title}: waits too", err=True)
                continue
            task = progress.add_task(each.title, total=each.points)
            sent = 0
            try:
                for number in leftovers.deliver(each.folder, replace(here.server, uri=there), refused=refused):
                    sent += number
                    progress.update(task, completed=sent)
            except MetricsError as exc:
                click.echo(f"{each.title}: {counted(sent, 'point')} sent, the rest waits: {exc}", err=True)
                if isinstance(exc, TrackingError) and exc.outage:
                    down.add(there)
                continue
            if each.something and not quiet:
                points = sent or each.points or each.refused or each.damaged
                told = counted(sent, "point") if points else "no points waited, its status was"
                click.echo(f"{each.title}: {told} sent{_remainder(leftovers.look_at(each.folder))}")


def _remainder(waiting: Waiting) -> str:
    """Say what can never be sent."""
    kinds = ((waiting.refused, "refused by MLflow"), (waiting.damaged, "damaged"))
    parts = [f"{number} {kind}" for number, kind in kinds if number]
    return f"; {' and '.join(parts)} in {waiting.folder.path}; --refused sends, --drop throws away" if parts else ""


def _address(waiting: Waiting, here: Binding, uri: str | None) -> tuple[str, str]:
    """Return where to send a run's points, and why not, if they must not be sent."""
    record, ours = waiting.record, here.server.portable(here.journal.base)
    if record is None:
        return "", f"{waiting.title}: nothing says which run this is; look into it, or throw it away with --drop"
    if uri is None and record.uri != ours:
        if not here.journal.in_project:
            return absolute(record.uri, Path(here.journal.root)), ""
        told = f"{waiting.title}: it was logged to {record.uri} and the settings say {ours}"
        if record.env not in ("", here.journal.env):
            return "", f"{told}; send it with 'kedro metrics sync --env {record.env}', or say which with --to"
        return "", f"{told}; say which with --to"
    return uri or here.server.uri, ""


def _show(found: list[Waiting]) -> None:
    """Print a table of what waits."""
    heads, rows = ("run", "points", "since", "address", "why"), []
    for each in found:
        record = each.record
        kinds = ((each.refused, "refused"), (each.damaged, "damaged"))
        why = each.why + "".join(f"; {number} {what}" for number, what in kinds if number)
        title = each.title if record else each.folder.path.name
        rows.append((title, str(each.points), _moment(each.since), record.uri if record else "", why))
    print_table(Table(heads, rows, left=len(heads)))


def _moment(timestamp: int) -> str:
    """Show milliseconds since the epoch as local time; what users take for that may be beyond any calendar."""
    try:
        return datetime.fromtimestamp(timestamp / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"timestamp {timestamp}"


def _drop(found: list[Waiting]) -> None:
    """Throw away what waits, after a question."""
    points = sum(each.points + each.refused for each in found)
    what = f"{counted(points, 'point')} of {counted(len(found), 'run')}"
    click.confirm(f"Throw away {what} for good?", abort=True)
    for each in found:
        if each.live:
            click.echo(f"{each.title}: its process still runs; nothing thrown away", err=True)
        else:
            each.folder.drop()
            click.echo(f"{each.title}: thrown away")
