"""``kedro metrics plot``: curves on the terminal, as a page or as a picture."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kedro_mlflow_metrics.cli.common import looking, matching
from kedro_mlflow_metrics.errors import MetricsError, counted
from kedro_mlflow_metrics.kubeflow.metrics_file import write_file
from kedro_mlflow_metrics.runs import find
from kedro_mlflow_metrics.views import text
from kedro_mlflow_metrics.views.drawing import drawings
from kedro_mlflow_metrics.views.tables import labels
from kedro_mlflow_metrics.views.terminal import charts, print_charts, redrawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_mlflow_metrics.cli.common import Looking
    from kedro_mlflow_metrics.delivery.read import Snapshot
    from kedro_mlflow_metrics.views.drawing import Drawing

__all__ = ["plot"]

_PAUSE_SECONDS = 2.0


@click.command()
@click.argument("names", metavar="[RUN]...", nargs=-1)
@click.option("--only", multiple=True, metavar="GLOB", help="Only metrics whose key matches.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="A page, x.html, or a picture, x.png.")
@click.option("--follow", is_flag=True, help="Draw again and again until the run ends.")
@looking
def plot(look: Looking, *, names: tuple[str, ...], only: tuple[str, ...], output: str | None, follow: bool) -> None:
    """Draw the curves of one run or of several, of metrics with more than one point.

    RUN is an id, the first 6 or more characters of one, a name, 'latest' (the default), or 'latest~1' for the run
    before that. MLflow is asked two or three times for each run and once for each of its metrics. Of a curve with more
    points than can be drawn the lowest and the highest of each stretch are, so that no peak is lost.

    \b
    kedro metrics plot
    kedro metrics plot latest~1 latest --only "*loss" --output losses.html
    kedro metrics plot --follow
    """  # noqa: D301 - click keeps the lines below its \b as they are
    suffix = Path(output or "").suffix.lower()
    if output is not None and suffix not in (".html", ".png"):
        raise click.UsageError(f"--output {output!r}: accepted are names that end in .html or .png")
    if sum((bool(output), follow, bool(look.form))) > 1:
        raise click.UsageError("--output, --follow, --json and --md exclude each other")
    if follow:
        with suppress(KeyboardInterrupt):
            _follow(look, names or (find.LATEST,), only)
        return
    found = find.several(look.here, names or (find.LATEST,), look.experiment)
    drawn, single = drawings(found, matching(only), look.display.share)
    if look.form == "json":
        click.echo(text.strict(text.drawn(found, drawn)), nl=False)
        return
    if not drawn:
        raise _nothing(found, only, single)
    if output:
        from kedro_mlflow_metrics.views import figure

        title = ", ".join(labels(found))
        made = figure.as_page(drawn, title).encode() if suffix == ".html" else figure.as_png(drawn)
        write_file(Path(output), made)
        click.echo(f"written to {output}", err=True)
    elif look.form:
        click.echo(text.fenced(charts(drawn)), nl=False)
    else:
        print_charts(drawn)
    if single:
        click.echo(f"Not drawn: {counted(len(single), 'metric')} without a curve; 'show' has them.", err=True)


def _nothing(runs: Sequence[Snapshot], only: Sequence[str], single: Sequence[str]) -> MetricsError:
    """Return the error for runs of which nothing can be drawn; ``single`` are their metrics with one point."""
    ours = f"run {runs[0].name or runs[0].run_id!r} has" if len(runs) == 1 else "these runs have"
    without = f", but {counted(len(single), 'metric')} without one: see 'show'" if single else ""
    return MetricsError(f"{ours} no{' such' if only else ''} curve{without}")


def _follow(look: Looking, names: Sequence[str], only: Sequence[str]) -> None:
    """Draw until all runs have ended; without a terminal only what there is then."""
    runs = find.several(look.here, names, look.experiment)
    drawn: list[Drawing] = []
    single: list[str] = []
    with redrawn() as draw:
        while True:
            with suppress(MetricsError):  # an outage passes
                runs = find.several(look.here, [run.run_id for run in runs], look.experiment)
                going = any(run.status == "RUNNING" for run in runs)
                if sys.stdout.isatty() or not going:
                    drawn, single = drawings(runs, matching(only), look.display.share)
                    draw(drawn)
                if not going:
                    break
            time.sleep(_PAUSE_SECONDS)
    if not drawn:
        raise _nothing(runs, only, single)
