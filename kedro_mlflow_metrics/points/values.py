"""One value as given: a number, a step or a timestamp; whatever is none is refused in one line."""

from __future__ import annotations

import math
import operator
import sys
from array import array
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

from kedro_mlflow_metrics.errors import InvalidMetricsError

__all__ = [
    "INT64",
    "PLAIN",
    "Given",
    "array_kind",
    "fail",
    "integer_of",
    "is_number",
    "is_step",
    "loaded",
    "number_of",
    "numbers_of",
    "shown",
    "timestamp_of",
]

INT64 = 2**63 - 1
FOR_TEXT = "; log text with mlflow.log_param or mlflow.set_tag inside the node"
YEAR_9999 = 253_402_300_799_999  # its last millisecond
PLAIN = frozenset((int, float, bool))


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


def is_step(key: object) -> bool:
    """Tell whether something is an integer, and no truth value."""
    return hasattr(key, "__index__") and not isinstance(key, type) and type(key).__name__ not in ("bool", "bool_")


def integer_of(kind: str, where: str, value: object) -> int:
    """Return a step as a Python int; NumPy's would be stored by SQLite as a blob."""
    number = None
    cause = None
    if is_step(value):
        try:
            number = operator.index(value)  # type: ignore[arg-type] # what it raises is caught
        except Exception as exc:  # noqa: BLE001 - whatever the user's object raises
            cause = exc
    if number is None:
        fail(where, f"the {kind} is {shown(value)}; accepted: an integer", cause)
    if not -INT64 - 1 <= number <= INT64:
        fail(where, f"the {kind} {number if abs(number) < 10**30 else 'given'} leaves 64 bits")
    return number


def timestamp_of(where: str, value: Any) -> int:  # noqa: ANN401 - unchecked yet
    """Return a timestamp as milliseconds since the epoch."""
    if isinstance(value, datetime):
        if hasattr(value, "to_pydatetime"):  # pandas takes a naive one for UTC, and Python for local time
            value = value.to_pydatetime(warn=False)
        try:
            value = math.floor(value.timestamp() * 1000 + 0.5)
        except (ValueError, OverflowError, OSError):
            fail(where, f"the timestamp {value} is no time since 1970")
    if not is_step(value):
        accepted = "int milliseconds since the epoch or a datetime"
        fail(where, f"the timestamp is {shown(value)}; accepted: {accepted}")
    number = integer_of("timestamp", where, value)
    if number < 0:
        fail(where, f"the timestamp {number} lies before 1970; MLflow takes none below 0")
    if number > YEAR_9999:
        fail(where, f"the timestamp {number} lies past the year 9999; give it in milliseconds since the epoch")
    return number


def is_number(value: object) -> bool:
    """Tell whether something is one number, by type and shape alone."""
    if isinstance(value, str | bytes | complex | Mapping):
        return False
    size = getattr(value, "ndim", None)
    if isinstance(size, int) and not isinstance(value, type):
        if size == 0:  # numpy.ma.masked is no number, though its item() is 0.0
            return array_kind(value) not in "cUSMm" and type(value).__name__ != "MaskedConstant"
        module = type(value).__module__.partition(".")[0]
        return module not in ("numpy", "pandas", "polars") and _length(value) == 1
    return hasattr(value, "__float__") or (hasattr(value, "item") and not hasattr(value, "__len__"))


def array_kind(value: object) -> str:
    """Return NumPy's letter for what an array holds, ``f`` where nothing says so."""
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    return kind if isinstance(kind, str) else "f"


def _length(value: object) -> int:
    try:
        return math.prod(int(side) for side in getattr(value, "shape", ()))
    except (TypeError, ValueError):  # a lazy array does not know
        return -1


def number_of(where: str, value: object, advice: str = "") -> float:
    """Return one value as a float; ``advice`` is what the message of a refusal says besides."""
    if type(value) is float:
        return value
    if not is_number(value):
        advice = advice or (FOR_TEXT if isinstance(value, str) else "")
        fail(where, f"got {shown(value)}; accepted: a number{advice}")
    try:
        if isinstance(getattr(value, "ndim", None), int) or not hasattr(value, "__float__"):
            value = (value if hasattr(value, "item") else value.numpy()).item()  # type: ignore[attr-defined] # caught below
        if isinstance(value, str | bytes | complex):
            fail(where, f"got {shown(value)}; accepted: a number")
        number = float(value)  # type: ignore[arg-type] # caught below
    except OverflowError:
        fail(where, "the number is too large for a 64-bit float")
    except InvalidMetricsError:
        raise
    except Exception as exc:  # noqa: BLE001 - whatever the user's object raises
        fail(where, f"got {shown(value)}; accepted: a number", exc)
    if math.isinf(number) and isinstance(value, Decimal) and value.is_finite():
        fail(where, "the number is too large for a 64-bit float")
    return number


def numbers_of(where: str, items: Sequence[object]) -> array[float]:
    """Return many values as floats: in one step where they are plain, else one by one."""
    if set(map(type, items)) <= PLAIN:
        try:
            return array("d", items)  # type: ignore[arg-type] # their types were just looked at
        except OverflowError:
            pass
    return array("d", (number_of(f"{where}, position {at}", item) for at, item in enumerate(items)))


def loaded(module: str, name: str) -> Any:  # noqa: ANN401 - a class that mypy does not see
    """Return a class of a library that is loaded; a library that is not made none of our data."""
    return getattr(sys.modules.get(module), name, ())
