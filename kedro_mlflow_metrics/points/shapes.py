"""What a node may return, read into plain columns: every accepted shape."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from kedro_mlflow_metrics.points.frames import frame_of, labelled, series_of
from kedro_mlflow_metrics.points.values import (
    PLAIN,
    Given,
    array_kind,
    fail,
    integer_of,
    is_number,
    is_step,
    loaded,
    number_of,
    numbers_of,
    shown,
    timestamp_of,
)

__all__ = ["FIELDS", "parse"]

FIELDS = ("value", "step", "timestamp")
SHAPES = 'a number, {"value", "step"}, a list of either, an array, {step: number}, or a group of metrics'
TOP = "a dict of metric name to value, a list of such dicts, an iterator of them, or a data frame"


def parse(data: object) -> Iterator[Given]:
    """Read one mapping or frame.

    Args:
        data: A mapping of metric name to value, or a pandas or polars frame.

    Yields:
        Each metric, groups flattened with ``.``.
    """
    frame = frame_of(data)
    if frame is not None:
        yield from frame
        return
    if is_number(data):
        number = data if type(data) in PLAIN else number_of("the data", data)
        fail("the data", f'got {shown(data)}, which has no name; return {{"accuracy": {shown(number).split(" (")[0]}}}')
    named = _mapping_of("the data", data)
    if named is None:
        fail("the data", f"got {shown(data)}; accepted: {TOP}")
    if named and set(named) <= set(FIELDS):
        fail("the data", f"a point without a name; give it one: {{'loss': {_point_form(named)}}}")
    default = _shared_step(named)
    yield from _group(named, "", default, skip_step=default is not None)


def _mapping_of(where: str, value: Any) -> Mapping[Any, Any] | None:  # noqa: ANN401 - anything
    """Return what names its parts as a mapping, None for anything else."""
    if isinstance(value, Mapping):
        return value
    kind = type(value)
    if not _names_its_parts(kind):
        return labelled(where, value)
    if is_dataclass(kind):
        return {field.name: getattr(value, field.name) for field in fields(kind)}
    return value._asdict() if hasattr(value, "_asdict") else dict(value)  # a NamedTuple, a pydantic model


def _names_its_parts(kind: type) -> bool:
    """Tell whether objects of a type are mappings, NamedTuples, or of a dataclass or pydantic model."""
    return (
        issubclass(kind, (Mapping, loaded("pydantic", "BaseModel") or Mapping))
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
        or (is_dataclass(kind) and not hasattr(kind, "__float__"))
    )


def _point_form(data: Mapping[Any, Any]) -> str:
    """Show the form of a lone point, its numbers kept short."""
    return "{" + ", ".join(f"{name!r}: {shown(value).split(' (')[0]}" for name, value in data.items()) + "}"


def _shared_step(data: Mapping[Any, Any]) -> int | None:
    """Return the ``step`` that stands beside bare numbers at top level, if one does."""
    if "step" not in data or not any(name != "step" and _has_bare_number(value) for name, value in data.items()):
        return None
    return integer_of("step", "'step' beside the metrics", data["step"])


def _has_bare_number(value: object) -> bool:
    """Tell whether a value is a number, or a group with one in it."""
    named = _mapping_of("the data", value)
    if named is None:
        return is_number(value)
    if not named or set(named) & set(FIELDS) or not all(isinstance(name, str) for name in named):
        return False
    return any(_has_bare_number(inner) for inner in named.values())


def _group(data: Mapping[Any, Any], outer: str, default: int | None, *, skip_step: bool) -> Iterator[Given]:
    for name, value in data.items():
        if not isinstance(name, str):
            fail(
                f"group {outer[:-1]!r}" if outer else "the data",
                f"got the metric name {shown(name)}; accepted: text",
            )
        if skip_step and name == "step":
            continue
        full = outer + str.__str__(name)  # an Enum of text by its value
        named = None if type(value) in PLAIN else _mapping_of(f"metric {full!r}", value)
        if named is None:
            yield _leaf(full, value, default)
        else:
            yield from _mapping(full, named, default)


def _mapping(name: str, value: Mapping[Any, Any], default: int | None) -> Iterator[Given]:
    """Tell a point, a ``{step: value}`` curve and a group apart."""
    if not value:
        return
    where = f"metric {name!r}"
    if any(known in value for known in FIELDS):
        number, step, timestamp = _point(where, value)
        yield Given(name, array("d", (number,)), (step,), (timestamp,))
    elif any(is_step(key) for key in value):
        steps = [integer_of("step", where, key) for key in value]
        items = zip(steps, value.values(), strict=True)
        numbers = [number_of(f"{where}, step {step}", item) for step, item in items]
        yield Given(name, array("d", numbers), steps)
    else:
        yield from _group(value, f"{name}.", default, skip_step=False)


def _leaf(name: str, value: object, default: int | None) -> Given:
    steps = None if default is None else (default,)
    if type(value) is float:  # the usual case, without a word for a message
        return Given(name, (value,), steps)
    where = f"metric {name!r}"
    if type(value) in PLAIN or isinstance(value, str) or is_number(value):
        return Given(name, (number_of(where, value),), steps)
    series = series_of(where, value)
    if series is not None:
        return Given(name, *series)
    size = getattr(value, "ndim", None)
    if isinstance(size, int) and not isinstance(value, type | str | bytes):
        if size > 1:
            fail(where, f"got an array of {size} dimensions; accepted: one dimension, a number per step")
        return Given(name, numbers_of(where, _items(where, value)))
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray | memoryview):
        fail(where, f"got {shown(value)}; accepted: {SHAPES}")
    return _sequence(name, where, value)


def _sequence(name: str, where: str, value: Sequence[Any]) -> Given:
    """Read a list of numbers, of points, or of both."""
    kinds = set(map(type, value))
    if kinds <= PLAIN or not any(map(_names_its_parts, kinds)):
        return Given(name, numbers_of(where, value))
    numbers, steps, timestamps = array("d"), [], []
    for position, item in enumerate(value):
        here = f"{where}, position {position}"
        named = _mapping_of(here, item)
        number, step, timestamp = (number_of(here, item), None, None) if named is None else _point(here, named)
        numbers.append(number)
        steps.append(step)
        timestamps.append(timestamp)
    return Given(name, numbers, steps, timestamps)


def _point(where: str, point: Mapping[Any, Any]) -> tuple[float, int | None, int | None]:
    for field in point:
        if field not in FIELDS:
            close = get_close_matches(field, FIELDS, 1, 0.5) if isinstance(field, str) else ()
            hint = f"; did you mean {close[0]!r}?" if close else ""
            fail(where, f"a point has no field {shown(field)}; its fields are value, step, timestamp{hint}")
    if "value" not in point:
        fail(where, "a point needs a 'value'; accepted: {'value': number, 'step': int, 'timestamp': int}")
    step, timestamp = point.get("step"), point.get("timestamp")
    return (
        number_of(where, point["value"]),
        None if step is None else integer_of("step", where, step),
        None if timestamp is None else timestamp_of(where, timestamp),
    )


def _items(where: str, value: Any) -> Sequence[object]:  # noqa: ANN401 - any array library's own type
    """Return the numbers of a one-dimensional array, as floats without an object each where possible."""
    kind = array_kind(value)
    if kind in "cUSMm":
        fail(where, f"got an array of {getattr(value, 'dtype', kind)}; accepted: numbers")
    if type(value).__module__ == "numpy" and kind in "fiub":
        return array("d", value.astype("float64", copy=False).tobytes())
    try:
        return list(value.tolist() if hasattr(value, "tolist") else value.numpy().tolist())
    except Exception as exc:  # noqa: BLE001 - whatever the user's object raises
        fail(where, f"got {shown(value)}; accepted: numbers", exc)
