"""Points cut into the largest batches that MLflow takes."""

from __future__ import annotations

import math
from itertools import compress
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.points.curves import Points

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MAX_POINTS", "after", "apart", "batches", "count"]

MAX_POINTS = 1000
MAX_KEYS = 100
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


def apart(points: Iterable[Points]) -> Iterator[list[Points]]:
    """Cut points into pieces of at most 100 keys, in which either all values are NaN or none is."""
    numbers: list[Points] = []
    nans: list[Points] = []
    for some in points:
        missing = list(map(math.isnan, some.values))
        for kind, chosen in ((nans, missing), (numbers, [not nan for nan in missing])):
            if any(chosen):
                kind.append(some if all(chosen) else _chosen(some, chosen))
    for kind in (numbers, nans):
        yield from (kind[start : start + MAX_KEYS] for start in range(0, len(kind), MAX_KEYS))


def _chosen(some: Points, chosen: list[bool]) -> Points:
    steps, timestamps = (list(compress(column, chosen)) for column in (some.steps, some.timestamps))
    return Points(some.key, list(compress(some.values, chosen)), steps, timestamps)
