"""``kedro metrics import``: makes MLflow runs of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kedro_mlflow_metrics.cli.common import in_project
from kedro_mlflow_metrics.delivery import imports
from kedro_mlflow_metrics.errors import MetricsError, TrackingError, counted
from kedro_mlflow_metrics.points.curves import count
from kedro_mlflow_metrics.tracking import runs
from kedro_mlflow_metrics.views.terminal import reporting

if TYPE_CHECKING:
    from kedro_mlflow_metrics.delivery.imports import Import
    from kedro_mlflow_metrics.project.binding import Binding

__all__ = ["import_"]


@click.command("import")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Check the files, and only show what would be imported.")
@click.option("--experiment", metavar="NAME", default="", help="Another experiment than the project's.")
@click.option("--prefix", default=None, help="Of versions: what stands before each name; by default the file's name.")
@click.option("--numbers", is_flag=True, help="Of versions: leave out what is no number, as in tracking.JSONDataset.")
@in_project
def import_(  # noqa: PLR0913 - one per option
    here: Binding, *, paths: tuple[Path, ...], dry_run: bool, experiment: str, prefix: str | None, numbers: bool
) -> None:
    """Make MLflow runs of files, each once.

    PATH is a file that 'kedro metrics export' has written, or a folder with the versions of tracking.MetricsDataset,
    each of which becomes a run of its time. For example:

    \b
      kedro metrics import data/09_tracking --dry-run
      kedro metrics import archive/*.json

    A file that cannot be imported is named, and nothing of it is written. Exit code 1 if there is one.
    """  # noqa: D301 - click's mark for lines that are kept as they are
    ident, name = ("", experiment) if experiment else runs.asked_for(here.server, here.experiment)
    refused = False
    for path in imports.files_in(paths):
        try:
            manner = replace(here, given=path.stem if prefix is None else prefix)
            run, renamed = imports.read(path, manner.prefix, numbers=numbers)
            ident = ident or _experiment(here, name, create=not dry_run)
            what = imports.look(here.server, ident, run)
            if what.whole and what.known:
                click.echo(f"{path}: it is there already, as run {what.known.run_id}")
                continue
            for key, given in renamed.items():
                click.echo(f"{path}: metric {given!r} is {key!r} in MLflow, which does not take that name", err=True)
            if not dry_run:
                _make(here, ident, what)
            done = "would be imported" if dry_run else "imported"
            click.echo(f"{path}: {counted(count(what.left), 'point')} {done}, run {run.name!r}")
        except MetricsError as exc:
            if isinstance(exc, TrackingError) and exc.outage:
                again = "import it again when MLflow answers: what is there is not sent twice"
                raise MetricsError(f"{path}: {exc.reason}", again) from exc
            if isinstance(exc, TrackingError) and exc.credentials:
                raise
            click.echo(f"{path}: {exc}", err=True)
            refused = True
    if refused:
        click.get_current_context().exit(1)


def _experiment(here: Binding, name: str, *, create: bool) -> str:
    """Return the id of the experiment; empty if there is none and none is to be made."""
    if create:
        return runs.experiment_id(here.server, name)
    try:
        return runs.known_experiment(here.server, name)
    except TrackingError as exc:
        if exc.code != TrackingError.NO_STORE:
            raise
        return ""


def _make(here: Binding, ident: str, what: Import) -> None:
    """Make a run; on a terminal a bar shows how far it is."""
    done, total = 0, count(what.left)
    with reporting(what.run.name) as report:
        for number in imports.make(here.server, here.journal, ident, what):
            done += number
            report(done, total)
