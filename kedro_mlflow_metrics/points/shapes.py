"""What a node may return, read into plain columns: every accepted shape, every refusal of a value."""

from __future__ import annotations

import math
import operator
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn

from kedro_mlflow_metrics.errors import InvalidMetricsError

__all__ = ["INT64", "Given", "fail", "parse"]

INT64 = 2**63 - 1
FIELDS = ("value", "step", "timestamp")
SHAPES = 'a number, {"value", "step"}, a list of either, an array, {step: number}, or a group of metrics'
TOP = "a dict of metric name to value, a list of such dicts, an iterator of them, or a data frame"
_PLAIN = frozenset((int, float, bool))


class Given(NamedTuple):
    """One metric as given: its values, and its steps and timestamps where the user gave any."""

    name: str
    values: Sequence[float]
    steps: Sequence[int | None] | None = None
    timestamps: Sequence[int | None] | None = None
    # in a frame without steps, the row of each value: its step, counted from the next one
    rows: Sequence[int] | None = None


def fail(where: str, what: str, cause: Exception | None = None) -> NoReturn:
    """Raise the one line that says where it stands and what is wrong.

    It has no square brackets: Kedro's log swallows them.
    """
    raise InvalidMetricsError(f"{where}: {what}".replace("[", "(").replace("]", ")")) from cause


def shown(thing: object) -> str:
    """Name a refused object in few words."""
    kind = type(thing).__name__
    if thing is None:
        return "None"
    if isinstance(thing, int) and abs(thing) > INT64:
        return f"a huge number ({kind})"
    if isinstance(thing, str | bytes | complex | int | float):
        text = repr(thing[:40] if isinstance(thing, str | bytes) else thing)
        return f"{text[:60]} ({kind})"
    return f"an object of type {kind}"


def parse(data: object) -> Iterator[Given]:
    """Read one mapping or frame.

    Args:
        data: A mapping of metric name to value, or a pandas or polars frame.

    Yields:
        Each metric, groups flattened with ``.``.
    """
    frame = _frame_columns(data)
    if frame is not None:
        yield from _frame(frame)
        return
    if not isinstance(data, Mapping):
        fail("the data", f"got {shown(data)}; accepted: {TOP}")
    if data and set(data) <= set(FIELDS):
        fail("the data", f"a point without a name; give it one: {{'loss': {_point_form(data)}}}")
    default = _shared_step(data)
    yield from _group(data, "", default, skip_step=default is not None)


def _point_form(data: Mapping[Any, Any]) -> str:
    """Show the form of a lone point, its numbers kept short."""
    return "{" + ", ".join(f"{name!r}: {shown(value).split(' (')[0]}" for name, value in data.items()) + "}"


def _shared_step(data: Mapping[Any, Any]) -> int | None:
    """Return the ``step`` that stands beside bare numbers at top level, if one does."""
    if "step" not in data or not any(name != "step" and _has_bare_number(value) for name, value in data.items()):
        return None
    return _integer("step", "'step' beside the metrics", data["step"])


def _has_bare_number(value: object) -> bool:
    """Tell whether a value is a number, or a group with one in it."""
    if isinstance(value, Mapping):
        if not value or set(value) & set(FIELDS) or not all(isinstance(name, str) for name in value):
            return False
        return any(_has_bare_number(inner) for inner in value.values())
    return _is_number(value)


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
        if isinstance(value, Mapping):
            yield from _mapping(full, value, default)
        else:
            yield _leaf(full, value, default)


def _mapping(name: str, value: Mapping[Any, Any], default: int | None) -> Iterator[Given]:
    """Tell a point, a ``{step: value}`` curve and a group apart."""
    if not value:
        return
    where = f"metric {name!r}"
    if any(known in value for known in FIELDS):
        number, step, timestamp = _point(where, value)
        yield Given(name, array("d", (number,)), (step,), (timestamp,))
    elif any(_is_step(key) for key in value):
        steps = [_integer("step", where, key) for key in value]
        items = zip(steps, value.values(), strict=True)
        numbers = [_number(f"{where}, step {step}", item) for step, item in items]
        yield Given(name, array("d", numbers), steps)
    else:
        yield from _group(value, f"{name}.", default, skip_step=False)


def _leaf(name: str, value: object, default: int | None) -> Given:
    steps = None if default is None else (default,)
    if type(value) is float:  # the usual case, without a word for a message
        return Given(name, (value,), steps)
    where = f"metric {name!r}"
    if type(value) in _PLAIN or _is_number(value):
        return Given(name, (_number(where, value),), steps)
    series = _series(where, value)
    if series is not None:
        return Given(name, *series)
    size = getattr(value, "ndim", None)
    if isinstance(size, int) and not isinstance(value, type | str | bytes):
        if size > 1:
            fail(where, f"got an array of {size} dimensions; accepted: one dimension, a number per step")
        return Given(name, _numbers(where, _items(where, value)))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return _sequence(name, where, value)
    fail(where, f"got {shown(value)}; accepted: {SHAPES}")


def _sequence(name: str, where: str, value: Sequence[Any]) -> Given:
    """Read a list of numbers, of points, or of both."""
    if set(map(type, value)) <= _PLAIN or not any(isinstance(item, Mapping) for item in value):
        return Given(name, _numbers(where, value))
    numbers, steps, timestamps = array("d"), [], []
    for position, item in enumerate(value):
        here = f"{where}, position {position}"
        number, step, timestamp = _point(here, item) if isinstance(item, Mapping) else (_number(here, item), None, None)
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
        _number(where, point["value"]),
        None if step is None else _integer("step", where, step),
        None if timestamp is None else _timestamp(where, timestamp),
    )


def _is_step(key: object) -> bool:
    return hasattr(key, "__index__") and not isinstance(key, type) and type(key).__name__ not in ("bool", "bool_")


def _integer(kind: str, where: str, value: object) -> int:
    """Return a step as a Python int; NumPy's would be stored by SQLite as a blob."""
    number = None
    cause = None
    if _is_step(value):
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except Exception as exc:  # noqa: BLE001 - whatever the user's object raises
            cause = exc
    if number is None:
        fail(where, f"the {kind} is {shown(value)}; accepted: an integer", cause)
    if not -INT64 - 1 <= number <= INT64:
        fail(where, f"the {kind} {number if abs(number) < 10**30 else 'given'} leaves 64 bits")
    return number


def _timestamp(where: str, value: object) -> int:
    if isinstance(value, datetime):
        try:
            value = math.floor(value.timestamp() * 1000 + 0.5)
        except (ValueError, OverflowError, OSError):
            fail(where, f"the timestamp {value} is no time since 1970")
    if not _is_step(value):
        accepted = "int milliseconds since the epoch or a datetime"
        fail(where, f"the timestamp is {shown(value)}; accepted: {accepted}")
    number = _integer("timestamp", where, value)
    if number < 0:
        fail(where, f"the timestamp {number} lies before 1970; MLflow takes none below 0")
    return number


def _is_number(value: object) -> bool:
    """Tell whether something is one number, by type and shape alone."""
    if isinstance(value, str | bytes | complex | Mapping):
        return False
    size = getattr(value, "ndim", None)
    if isinstance(size, int) and not isinstance(value, type):
        if size == 0:  # numpy.ma.masked is no number, though its item() is 0.0
            return _array_kind(value) not in "cUSMm" and type(value).__name__ != "MaskedConstant"
        module = type(value).__module__.partition(".")[0]
        return module not in ("numpy", "pandas", "polars") and _length(value) == 1
    return hasattr(value, "__float__") or (hasattr(value, "item") and not hasattr(value, "__len__"))


def _array_kind(value: object) -> str:
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    return kind if isinstance(kind, str) else "f"


def _length(value: object) -> int:
    try:
        return math.prod(int(side) for side in getattr(value, "shape", ()))
    except (TypeError, ValueError):  # a lazy array does not know
        return -1


def _number(where: str, value: object) -> float:
    """Return one value as a float."""
    if type(value) is float:
        return value
    if not _is_number(value):
        fail(where, f"got {shown(value)}; accepted: a number")
    try:
        if isinstance(getattr(value, "ndim", None), int) or not hasattr(value, "__float__"):
            value = (value if hasattr(value, "item") else value.numpy()).item()  # type: ignore[attr-defined]
        if isinstance(value, str | bytes | complex):
            fail(where, f"got {shown(value)}; accepted: a number")
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        fail(where, "the number is too large for a 64-bit float")
    except InvalidMetricsError:
        raise
    except Exception as exc:  # noqa: BLE001 - whatever the user's object raises
        fail(where, f"got {shown(value)}; accepted: a number", exc)
    if math.isinf(number) and isinstance(value, Decimal) and value.is_finite():
        fail(where, "the number is too large for a 64-bit float")
    return number


def _numbers(where: str, items: Sequence[object]) -> array[float]:
    """Return many values as floats: in one step where they are plain, else one by one."""
    if set(map(type, items)) <= _PLAIN:
        try:
            return array("d", items)  # type: ignore[arg-type]
        except OverflowError:
            pass
    return array("d", (_number(f"{where}, position {at}", item) for at, item in enumerate(items)))


def _items(where: str, value: Any) -> Sequence[object]:  # noqa: ANN401 - any array library's own type
    """Return the numbers of a one-dimensional array, as floats without an object each where possible."""
    kind = _array_kind(value)
    if kind in "cUSMm":
        fail(where, f"got an array of {getattr(value, 'dtype', kind)}; accepted: numbers")
    if type(value).__module__ == "numpy" and kind in "fiub":
        return array("d", value.astype("float64", copy=False).tobytes())
    try:
        return list(value.tolist() if hasattr(value, "tolist") else value.numpy().tolist())
    except Exception as exc:  # noqa: BLE001 - whatever the user's object raises
        fail(where, f"got {shown(value)}; accepted: numbers", exc)


def _series(where: str, value: Any) -> tuple[Sequence[float], Sequence[int] | None] | None:  # noqa: ANN401 - anything array-like
    """Return values and steps of a pandas or polars Series; None for anything else."""
    if isinstance(value, _class("polars", "Series")):
        return _numbers(where, value.to_list()), None
    if not isinstance(value, _class("pandas", "Series")):
        return None
    numbers = _numbers(where, value.tolist())
    if value.index.dtype.kind not in "iu":
        return numbers, None
    return numbers, [_integer("step", where, step) for step in value.index.tolist()]


def _class(module: str, name: str) -> Any:  # noqa: ANN401 - a class that mypy does not see
    """Return a class of a library that is loaded; a library that is not made none of our data."""
    return getattr(sys.modules.get(module), name, ())


class _Columns(NamedTuple):
    """A frame as lists, a missing cell being None."""

    columns: list[tuple[object, list[object]]]
    steps: list[object] | None


def _frame_columns(data: Any) -> _Columns | None:  # noqa: ANN401 - a frame of an optional library
    if isinstance(data, _class("polars", "DataFrame")):
        columns = [(column.name, column.to_list()) for column in data.get_columns()]
        steps = None
    elif isinstance(data, _class("pandas", "DataFrame")):
        columns = []
        for position, name in enumerate(data.columns):
            column = data.iloc[:, position]
            cells = zip(column.tolist(), column.isna().tolist(), strict=True)
            columns.append((name, [None if missing else cell for cell, missing in cells]))
        index = data.index
        steps = index.tolist() if index.name == "step" and index.dtype.kind in "iu" else None
    else:
        return None
    if steps is None:
        steps = next((cells for name, cells in columns if name == "step"), None)
        columns = [(name, cells) for name, cells in columns if name != "step"]
    return _Columns(columns, steps)


def _frame(frame: _Columns) -> Iterator[Given]:
    """Read each column of a frame as a metric, a missing cell as no point."""
    steps = frame.steps
    if steps is not None:
        steps = [_integer("step", f"column 'step', row {row}", step) for row, step in enumerate(steps)]
    for name, cells in frame.columns:
        if not isinstance(name, str):
            fail("the frame", f"got the column name {shown(name)}; accepted: text")
        rows = [row for row, cell in enumerate(cells) if cell is not None]
        where = f"column {name!r}"
        numbers = array("d", (_number(f"{where}, row {row}", cells[row]) for row in rows))
        if steps is not None:
            yield Given(name, numbers, [steps[row] for row in rows])  # type: ignore[misc]
        else:
            yield Given(name, numbers, rows=rows)
