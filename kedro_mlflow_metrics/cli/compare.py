"""``kedro metrics compare``: runs beside each other, and a gate for CI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kedro_mlflow_metrics.cli.common import looking
from kedro_mlflow_metrics.errors import MetricsError
from kedro_mlflow_metrics.runs import find
from kedro_mlflow_metrics.views import text
from kedro_mlflow_metrics.views.comparison import Comparison
from kedro_mlflow_metrics.views.gate import Gate

if TYPE_CHECKING:
    from kedro_mlflow_metrics.cli.common import Looking

__all__ = ["compare"]


@click.command()
@click.argument("names", metavar="[RUN]...", nargs=-1)
@click.option("--changed", is_flag=True, help="Only metrics that are not the same in all runs.")
@click.option("--higher", multiple=True, metavar="GLOB", help="Metrics that are the better the higher.")
@click.option("--lower", multiple=True, metavar="GLOB", help="Metrics that are the better the lower.")
@click.option("--fail-if", "conditions", multiple=True, metavar="CONDITION", help="Exit with 1 if it holds; see above.")
@looking
def compare(  # noqa: PLR0913 - one per option
    look: Looking,
    *,
    names: tuple[str, ...],
    changed: bool,
    higher: tuple[str, ...],
    lower: tuple[str, ...],
    conditions: tuple[str, ...],
) -> None:
    """Show the last values of runs beside each other, and the change from the first run to the last.

    RUN is an id, the first 6 or more characters of one, a name, 'latest', or 'latest~1' for the run before that.
    Without RUN the newest run is compared with the one before it. Each RUN costs a request or two.

    A CONDITION of --fail-if speaks of the change of a metric from the first run to the last, or of its value in the
    last; one that cannot be judged, for the metric is missing or NaN, holds too. Whatever it says, the table is shown.

    \b
    kedro metrics compare
    kedro metrics compare latest~1 latest --higher "*accuracy" --lower "*loss"
    kedro metrics compare --fail-if "test.accuracy < -0.01"      it has fallen by more than 0.01
    kedro metrics compare --fail-if "test.accuracy < -1%"        by more than 1 % of what it was
    kedro metrics compare --fail-if "test.accuracy.value < 0.9"  it is less than 0.9 in the last run
    """  # noqa: D301 - click keeps the lines below its \b as they are
    try:
        gates = list(map(Gate.of, conditions))
    except MetricsError as exc:
        raise click.UsageError(str(exc)) from None
    found = find.several(look.here, names or find.LAST_TWO, look.experiment)
    display = look.display.also(higher, lower)
    whole = Comparison.of(found, display)
    shown = Comparison.of(found, display, changed=True) if changed else whole
    if not shown.metrics and not look.form:
        click.echo("These runs have no metrics." if not changed else "Nothing has changed.", err=True)
    look.answer(shown.table, lambda: text.compared(shown))
    failures = [line for gate in gates for line in gate.broken(whole.metrics)]
    if failures:
        raise MetricsError("\n".join(failures))
