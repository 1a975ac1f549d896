"""Curves as a chart of characters, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_mlflow_metrics.views.numbers import between, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.text import Text

    from kedro_mlflow_metrics.points.series import Line

__all__ = ["COLOURS", "draw"]

COLOURS = ("cyan", "yellow", "magenta", "green", "red", "blue")
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a character, by row and column


def draw(
    lines: Sequence[tuple[int, Line]], width: int, height: int, write: Callable[[float], str] = number
) -> list[Text]:
    """Return the rows of a chart with its axes, a colour per curve.

    Each dot of a column's lowest and highest point is there, however many points it has.

    Args:
        lines: The curves, each with the number of its colour; at least one has a point.
        width: Characters of a row.
        height: Rows without the axis.
        write: Writes a value at the axis.
    """
    from rich.text import Text

    low, high = _ends([line.values for _, line in lines])
    start, end = _ends([line.steps for _, line in lines])
    middle = height // 2
    labels = {0: write(high), height - 1: write(low)} if high > low else {(height * 4 - 1) // 2 // 4: write(high)}
    if height > 4 and high > low:  # noqa: PLR2004 - room for one in the middle
        down = middle / (height - 1)
        labels[middle] = write(high * (1 - down) + low * down)
    margin = max(map(len, labels.values()))
    across = max(2, width - margin - 2)
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    for place, line in lines:
        colour = COLOURS[place % len(COLOURS)]
        xs = [_scaled(step, start, end, across * 2 - 1) for step in line.steps]
        ys = [height * 4 - 1 - _scaled(value, low, high, height * 4 - 1) for value in line.values]
        for x, y in _path(xs, ys):
            cell = y // 4, x // 2
            cells[cell] = cells.get(cell, (0, ""))[0] | _DOTS[y % 4][x % 2], colour
    rows = []
    for y in range(height):
        row = Text(f"{labels.get(y, ''):>{margin}} ┤" if y in labels else f"{'':>{margin}} │")
        for x in range(across):
            dots, colour = cells.get((y, x), (0, ""))
            row.append(chr(_BRAILLE + dots) if dots else " ", colour)
        rows.append(row)
    first, last = str(start), str(end) if end > start else ""
    rows.append(Text(f"{'':>{margin}} └{'─' * across}"))
    rows.append(Text(f"{'':>{margin}}  {first}{last:>{max(0, across - len(first))}}"))
    return rows


def _ends(columns: Sequence[Sequence[float]]) -> tuple[float, float]:
    some = [column for column in columns if len(column)]
    return min(map(min, some)), max(map(max, some))


def _scaled(value: float, low: float, high: float, most: int) -> int:
    return round(between(value, low, high) * most) if high > low else most // 2


def _path(xs: Sequence[int], ys: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the dots of the lines between points."""
    for at, (x, y) in enumerate(zip(xs, ys, strict=True)):
        yield x, y
        if at + 1 < len(xs):
            far = max(abs(xs[at + 1] - x), abs(ys[at + 1] - y))
            for step in range(1, far):
                yield x + round((xs[at + 1] - x) * step / far), y + round((ys[at + 1] - y) * step / far)
