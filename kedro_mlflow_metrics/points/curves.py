"""The points of one metric as columns, and how columns are joined, counted and cut into batches."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from itertools import chain, compress
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["MAX_POINTS", "Curve", "MetricPoint", "after", "apart", "batches", "count", "grouped", "joined"]

MAX_POINTS = 1000  # that MLflow takes in one request
MAX_BYTES = 900_000  # of the 1 MB that a request may have
MAX_AGAIN = 100  # points of several keys that MLflow before 3.10 takes again in one request
_POINT_BYTES = 100


class MetricPoint(NamedTuple):
    """One point, with MLflow's own field names; ``timestamp`` is milliseconds since the epoch."""

    key: str
    value: float
    step: int
    timestamp: int


@dataclass(frozen=True)
class Curve:
    """The points of one metric, as columns of equal length.

    Columns instead of objects: a million points cost a few MB and no Python object each.
    """

    key: str
    values: Sequence[float]
    steps: Sequence[int]
    timestamps: Sequence[int]

    @classmethod
    def of(cls, key: str, points: Iterable[MetricPoint]) -> Curve:
        """Return points, in any number, as columns of plain numbers."""
        held = list(points)
        values, steps = array("d", [point.value for point in held]), array("q", [point.step for point in held])
        return cls(key, values, steps, array("q", [point.timestamp for point in held]))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[MetricPoint]:
        """Yield the points one by one."""
        for value, step, timestamp in zip(self.values, self.steps, self.timestamps, strict=True):
            yield MetricPoint(self.key, value, step, timestamp)

    def __getitem__(self, part: slice) -> Curve:
        """Return a stretch of the points."""
        return Curve(self.key, self.values[part], self.steps[part], self.timestamps[part])

    def only(self, chosen: Sequence[bool]) -> Curve:
        """Return the points whose place in ``chosen`` is true."""
        steps, timestamps = (list(compress(column, chosen)) for column in (self.steps, self.timestamps))
        return Curve(self.key, list(compress(self.values, chosen)), steps, timestamps)


def count(curves: Iterable[Curve]) -> int:
    """Return how many points these are."""
    return sum(map(len, curves))


def grouped(curves: Iterable[Curve]) -> list[Curve]:
    """Return the same points in the order of their keys, one curve per key."""
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        found.setdefault(curve.key, []).append(curve)
    return [joined(key, found[key]) for key in sorted(found)]


def joined(key: str, parts: Sequence[Curve]) -> Curve:
    """Return the points of several curves as one curve of this key."""
    if len(parts) == 1:
        return parts[0]
    values = array("d", chain.from_iterable(part.values for part in parts))
    steps = array("q", chain.from_iterable(part.steps for part in parts))
    return Curve(key, values, steps, array("q", chain.from_iterable(part.timestamps for part in parts)))


def batches(curves: Iterable[Curve], most: int = MAX_POINTS) -> Iterator[list[Curve]]:
    """Cut points into batches of ``most`` points at most, and less than 1 MB of JSON."""
    batch: list[Curve] = []
    room, size = most, 0
    for curve in curves:
        weight = len(encode_basestring_ascii(curve.key)) + _POINT_BYTES
        start = 0
        while start < len(curve):
            number = min(room, (MAX_BYTES - size) // weight, len(curve) - start)
            if number:
                batch.append(curve if number == len(curve) else curve[start : start + number])
                room, size, start = room - number, size + number * weight, start + number
            if start < len(curve) or not room:
                yield batch
                batch, room, size = [], most, 0
    if batch:
        yield batch


def after(curves: Iterable[Curve], number: int) -> list[Curve]:
    """Return what follows the first ``number`` points."""
    left = []
    for curve in curves:
        if number < len(curve):
            left.append(curve[number:] if number else curve)
        number = max(0, number - len(curve))
    return left


def apart(curves: Iterable[Curve]) -> Iterator[list[Curve]]:
    """Cut points that may be stored already into pieces that every version of MLflow takes again.

    Before 3.10 it refuses a repeated batch of more than 100 points, unless all are of one key, and before 3.17 one that
    holds a NaN: these go one by one.
    """
    numbers: list[Curve] = []
    nans: list[Curve] = []
    for curve in curves:
        missing = list(map(math.isnan, curve.values))
        for kind, chosen in ((nans, missing), (numbers, [not nan for nan in missing])):
            if any(chosen):
                kind.append(curve if all(chosen) else curve.only(chosen))
    yield from ([curve] for curve in numbers if len(curve) > MAX_AGAIN)
    yield from batches((curve for curve in numbers if len(curve) <= MAX_AGAIN), MAX_AGAIN)
    yield from batches(nans, 1)
