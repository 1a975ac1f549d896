"""Tables and progress bars on a terminal; rich is imported when one is drawn."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.progress import Progress

__all__ = ["print_line", "print_table", "progress_bar", "reporting"]

PATIENCE_SECONDS = 2.0


def print_line(text: str) -> None:
    """Print a line as it is: Kedro's log would wrap a link, which nobody can click then."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, stderr: bool = False) -> None:
    """Print a table, as wide as it needs where no terminal limits it; nothing if it has no rows."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*heads)
    for row in rows:
        table.add_row(*row)
    tty = (sys.stderr if stderr else sys.stdout).isatty()
    if table.row_count:
        Console(stderr=stderr, width=None if tty else 200).print(table)


def progress_bar(*, disable: bool = False) -> Progress:
    """Return a bar on standard error that goes when it is done; it counts points."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=disable)


@contextmanager
def reporting(name: str) -> Iterator[Callable[[int, int], None]]:
    """Lend a function that is told how many points of how many are done; after 2 seconds it shows a bar."""
    begun = time.monotonic()
    bars: list[Progress] = []
    with ExitStack() as stack:

        def report(done: int, total: int) -> None:
            if not bars and done < total and time.monotonic() - begun > PATIENCE_SECONDS and sys.stderr.isatty():
                bars.append(stack.enter_context(progress_bar()))
                bars[0].add_task(f"{name} to MLflow", total=total)
            for bar in bars:
                bar.update(bar.task_ids[0], completed=done)

        yield report
