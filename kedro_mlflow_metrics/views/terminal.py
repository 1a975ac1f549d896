"""Tables, charts and progress bars on a terminal."""

from __future__ import annotations

import io
import re
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich.cells import cell_len

from kedro_mlflow_metrics.views.numbers import number, percentage
from kedro_mlflow_metrics.views.tables import Best, clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TextIO

    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table as RichTable
    from rich.text import Text as RichText

    from kedro_mlflow_metrics.views.drawing import Drawing
    from kedro_mlflow_metrics.views.tables import Table

__all__ = [
    "charts",
    "lossy",
    "pieces",
    "plain",
    "print_charts",
    "print_line",
    "print_table",
    "progress_bar",
    "redrawn",
    "reporting",
]

PATIENCE_SECONDS = 2.0
_NARROWEST, _NARROWEST_HEAD = 14, 8  # characters
_AROUND = 3  # characters around a column, but the last has one less
_USUAL_WIDTH, _WIDEST_CHART, _LOWEST_CHART = 80, 120, 8  # characters, and rows with title and axis
_STYLES = {"FINISHED": "green", "FAILED": "red", "KILLED": "yellow", "RUNNING": "cyan", "missing": "dim"}


def print_line(text: str) -> None:
    """Print a line as it is: Kedro's log would wrap a link, which nobody can click then."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_table(table: Table, *, stderr: bool = False) -> None:
    """Print a table: on a terminal in pieces that fit, else plain and as wide as it needs; nothing without rows."""
    if not table.rows:
        return
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    with lossy(stream):
        if stream.isatty():
            console = Console(stderr=stderr, highlight=False)
            for at, piece in enumerate(pieces(table, console)):
                if at:
                    console.print()
                console.print(piece)
        else:
            stream.write(plain(table))
            stream.flush()


@contextmanager
def lossy(stream: TextIO) -> Iterator[None]:
    """Have a question mark written for each character, of a sparkline say, that the stream's encoding lacks."""
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    errors = stream.errors
    stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        stream.reconfigure(errors=errors)


def plain(table: Table) -> str:
    """Return a table as text, whatever its width."""
    columns = []
    for at, head in enumerate(table.heads):
        texts = [head, *_marked([row[at] for row in table.rows])]
        widths = [len(text) if text.isascii() else cell_len(text) for text in texts]
        widest = max(widths)
        blanks = [" " * (widest - width) for width in widths]
        left = at < table.left
        columns.append([text + blank if left else blank + text for text, blank in zip(texts, blanks, strict=True)])
    lines = ("  ".join(line).rstrip() for line in zip(*columns, strict=True))
    return "".join(f"{line}\n" for line in ((table.title, *lines) if table.title else lines))


def pieces(table: Table, console: Console) -> Iterator[RichTable]:
    """Yield a table in pieces as wide as a terminal, each with the first columns."""
    cells = [_cells([row[at] for row in table.rows]) for at in range(len(table.heads))]
    widths = [max(cell.cell_len for cell in column) for column in cells]
    if table.left == len(table.heads):  # nothing but text, which is folded
        yield _rich(table, cells, {})
        return
    heads = {at: _folded(table.heads[at], widths[at], _NARROWEST_HEAD) for at in range(table.left, len(table.heads))}
    shown = [heads.get(at, head) for at, head in enumerate(table.heads)]
    widths = [max(width, *map(cell_len, head.split("\n"))) for width, head in zip(widths, shown, strict=True)]
    room = console.width - sum(widths[1 : table.left]) - _AROUND * table.left + 1  # for the first column and the others
    least, rest = min(widths[0], _NARROWEST), list(heads)
    while rest:
        used, many = 0, 0
        while many < len(rest) and (not many or used + widths[rest[many]] + _AROUND <= room - least):
            used, many = used + widths[rest[many]] + _AROUND, many + 1
        first = max(1, min(widths[0], room - used))
        if table.left == 1:
            cells[0] = [_text(_folded(row[0], first)) for row in table.rows]
        yield _rich(table, cells, {at: heads[at] for at in rest[:many]}, first)
        rest = rest[many:]


def _rich(table: Table, cells: Sequence[Sequence[RichText]], heads: Mapping[int, str], first: int = 0) -> RichTable:
    """Return the columns of text of a table, and some of the others, as rich draws them.

    Args:
        table: The table.
        cells: Its cells, column by column.
        heads: The others, by number, with their headings.
        first: How many characters the first column has; 0 where all are folded to fit.
    """
    from rich import box
    from rich.table import Table as RichTable

    drawn = RichTable(
        box=box.SIMPLE_HEAD,
        title=_text(table.title, "bold") if table.title else None,
        title_justify="left",
        show_edge=False,
    )
    names = first > 0 and table.left > 1  # beside ids, which tell them apart: they may be cut
    for at in range(table.left):
        title, width = _text(table.heads[at]), first if at == 0 and first else None
        cut = names and at == 0
        drawn.add_column(
            title, overflow="ellipsis" if cut else "fold", width=width, no_wrap=cut or (at > 0 and bool(heads))
        )
    for head in heads.values():
        drawn.add_column(_text(head), justify="right", no_wrap=True)
    for row in zip(*cells[: table.left], *(cells[at] for at in heads), strict=True):
        drawn.add_row(*row)
    return drawn


def _cells(texts: Sequence[str]) -> list[RichText]:
    """Return the cells of a column in their colours."""
    styles = ("bold green" if isinstance(text, Best) else _STYLES.get(text, "") for text in texts)
    return [_text(text, style) for text, style in zip(_marked(texts), styles, strict=True)]


def _marked(texts: Sequence[str]) -> list[str]:
    """Mark the best of a row; the other cells of its column leave room beside them."""
    room = "  " if any(isinstance(text, Best) for text in texts) else ""
    return [f"{text} *" if isinstance(text, Best) else f"{text}{room}" for text in texts]


def _text(text: str, style: str = "") -> RichText:
    """Return text in which rich sees no markup."""
    from rich.text import Text

    return Text(text, style)


def _folded(name: str, width: int, least: int = 1) -> str:
    """Fold the name of a run at its spaces, or of a metric after its separators, where it is wider than that."""
    folded = [""]
    for part in re.findall(r"\S+\s*" if " " in name else r"[^./_:-]+[./_:-]*|[./_:-]+", name):
        if folded[-1] and cell_len(folded[-1] + part.rstrip()) > max(width, least):
            folded.append("")
        folded[-1] += part
    return "\n".join(line.strip() for line in folded)


def charts(drawings: Sequence[Drawing], width: int = 80, height: int = 10) -> list[RichText]:
    """Return the rows of charts, one below the other, with a legend where there are several runs."""
    from rich.text import Text

    from kedro_mlflow_metrics.views.chart import COLOURS, draw
    from kedro_mlflow_metrics.views.drawing import runs_of

    runs = runs_of(drawings)
    rows = []
    if len(runs) > 1:
        rows.append(Text("  ").join(Text(f"━ {run}", COLOURS[at % len(COLOURS)]) for at, run in enumerate(runs)))
    for drawing in drawings:
        remark = f"  {drawing.remark}" if drawing.remark else ""
        rows.append(Text.assemble((clean(drawing.key), "bold"), (remark, "dim")))
        write = percentage if drawing.share else number
        lines = [(runs.index(label), line) for label, line in drawing.lines]
        rows += draw(lines, width, height, write)
    return rows


def print_charts(drawings: Sequence[Drawing]) -> None:
    """Print charts as wide as the terminal; without one 80 characters wide and without colours."""
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _USUAL_WIDTH)
    for row in charts(drawings, min(console.width, _WIDEST_CHART)):
        console.print(row, no_wrap=True)


@contextmanager
def redrawn() -> Iterator[Callable[[Sequence[Drawing]], None]]:
    """Lend a function that draws charts in place of those before, as many as the terminal has room for."""
    if not sys.stdout.isatty():
        yield print_charts
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False) as live:

        def draw(drawings: Sequence[Drawing]) -> None:
            room = console.height - 3  # for the legend and what is left out
            number = min(len(drawings), max(1, room // _LOWEST_CHART))
            rows = charts(
                drawings[:number], min(console.width, _WIDEST_CHART), max(1, min(10, room // max(1, number) - 3))
            )
            if number < len(drawings):
                rows.append(Text(f"and {len(drawings) - number} more: choose with --only", "dim"))
            live.update(Group(*rows) if rows else Text("There are no curves yet.", "dim"), refresh=True)

        yield draw


def progress_bar(*, disable: bool = False) -> Progress:
    """Return a bar on standard error, if that is a terminal, which goes when it is done; it counts points."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=disable or not sys.stderr.isatty())


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
