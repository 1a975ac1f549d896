"""Points cut into the largest batches that MLflow takes."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kedro_mlflow_metrics.points import Points

__all__ = ["MAX_POINTS", "after", "batches", "count"]

MAX_POINTS = 1000
MAX_BYTES = 900_000
_POINT_BYTES = 100


def count(points: Iterable[Points]) -> int:
    """Return how many points these are."""
    return sum(len(some.values) for some in points)


def batches(points: Iterable[Points], most: int = MAX_POINTS) -> Iterator[list[Points]]:
    """Cut points into batches of ``most`` points at most, and less than 1 MB of JSON."""
    batch: list[Points] = []
    room, size = most, 0
    for some in points:
        weight = len(encode_basestring_ascii(some.key)) + _POINT_BYTES
        start = 0
        while start < len(some.values):
            number = min(room, (MAX_BYTES - size) // weight, len(some.values) - start)
            if number:
                whole = number == len(some.values)
                batch.append(some if whole else some[start : start + number])
                room, size, start = room - number, size + number * weight, start + number
            if start < len(some.values) or not room:
                yield batch
                batch, room, size = [], most, 0
    if batch:
        yield batch


def after(points: Iterable[Points], number: int) -> list[Points]:
    """Return what follows the first ``number`` points."""
    left = []
    for some in points:
        if number < len(some.values):
            left.append(some[number:] if number else some)
        number = max(0, number - len(some.values))
    return left
