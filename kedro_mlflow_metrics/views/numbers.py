"""How values, changes and times are written for people."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro_mlflow_metrics.points.series import Line

__all__ = ["age", "between", "change", "difference", "number", "percentage", "relative", "span", "spark"]

_WHOLE = 1e15  # up to here a float holds each whole number, and people can read it
_LONGEST_FIXED = 1e12
_LEAST_SHARE, _MANIFOLD = 0.0005, 100  # what is less needs other digits; from here on they do not matter
_BARS = "▁▂▃▄▅▆▇█"
_SPARKS = 12  # characters of a sparkline
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def number(value: float) -> str:
    """Return six significant digits, whole numbers as they are."""
    if math.isfinite(value) and value == int(value) and abs(value) < _WHOLE:
        return str(int(value))
    return f"{value:.6g}".replace("nan", "NaN")


def percentage(value: float) -> str:
    """Return a share of one as Kubeflow Pipelines shows it: times 100, three decimals, halves away from zero."""
    hundredfold = value * 100
    if not math.isfinite(hundredfold) or abs(hundredfold) > _LONGEST_FIXED:
        return f"{number(hundredfold)}%"
    return f"{Decimal(hundredfold or 0.0).quantize(Decimal('0.001'), ROUND_HALF_UP)}%"


def change(before: float | None, after: float | None, *, share: bool = False) -> str:
    """Return the difference of two values with its sign; of shares in percentage points."""
    if before is None or after is None:
        return ""
    found = difference(before, after)
    text = percentage(found).replace("%", " pp") if share else number(found)
    return text if text.startswith("-") or not found or math.isnan(found) else f"+{text}"


def difference(before: float, after: float) -> float:
    """Return how much a value has changed: nothing if it is infinite as before."""
    return 0.0 if before == after else after - before


def relative(before: float | None, after: float | None) -> str:
    """Return the difference in percent of the first value; nothing if that is 0."""
    share = math.nan if before is None or after is None or not before else difference(before, after) / abs(before)
    if not share or not math.isfinite(share):
        return "0%" if share == 0 else ""
    if _LEAST_SHARE <= abs(share) < _MANIFOLD:
        return f"{share:+.1%}"
    return f"{share * 100:+.{3 if abs(share) > 1 else 1}g}%"


def age(milliseconds: int) -> str:
    """Return how long something is ago, in its largest unit."""
    seconds = max(0, milliseconds) // 1000
    unit, size = next((each for each in _UNITS if seconds >= each[1]), _UNITS[-1])
    return f"{seconds // size}{unit}"


def span(milliseconds: int) -> str:
    """Return how long something took, in its two largest units."""
    if milliseconds < 10_000:  # noqa: PLR2004 - ten seconds
        return f"{max(0, milliseconds) / 1000:.1f}s"
    seconds = milliseconds // 1000
    at = next(at for at, (_, size) in enumerate(_UNITS) if seconds >= size)
    unit, size = _UNITS[at]
    rest = f"{seconds % size // _UNITS[at + 1][1]}{_UNITS[at + 1][0]}" if size > 1 else ""
    return f"{seconds // size}{unit}{rest}"


def between(value: float, low: float, high: float) -> float:
    """Return where a value lies between two others, 0 to 1; also where their difference is more than any float."""
    length = high - low
    if math.isinf(length):
        return (value / 2 - low / 2) / (high / 2 - low / 2)
    return (value - low) / length if length else 0.0


def spark(line: Line) -> str:
    """Return a line of small bars: each stands for a stretch of steps, with its peak, or as the one before."""
    steps, values = line.steps, line.values
    if len(values) < 2:  # noqa: PLR2004 - one is no curve
        return ""
    low, high = min(values), max(values)
    half_mean = math.fsum(value / 2 / len(values) for value in values)  # no sum of halves leaves the range of floats
    length, width = steps[-1] - steps[0] + 1, min(_SPARKS, len(values))
    peaks: dict[int, float] = {}
    for step, value in zip(steps, values, strict=True):
        at = (step - steps[0]) * width // length
        if at not in peaks or abs(value / 2 - half_mean) >= abs(peaks[at] / 2 - half_mean):
            peaks[at] = value
    bars = ""
    for at in range(width):
        height = int(between(peaks.get(at, low), low, high) * len(_BARS))
        bars += bars[-1] if bars and at not in peaks else _BARS[min(len(_BARS) - 1, height)]
    return bars
