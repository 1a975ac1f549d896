"""What a node may return: every accepted shape and every refusal of a value."""

from __future__ import annotations

import math
import uuid
from array import array
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from kedro_mlflow_metrics.errors import InvalidMetricsError
from kedro_mlflow_metrics.points.stamp import Progress, to_curves

SHAPES = 'a number, {"value", "step"}, a list of either, an array, {step: number}, or a group of metrics'
TOP = "a dict of metric name to value, a list of such dicts, an iterator of them, or a data frame"
TEXT = "; log text with mlflow.log_param or mlflow.set_tag inside the node"
COLUMN = "; drop the column, or with pandas make it the index"
FIELDS = "its fields are value, step, timestamp"
UTC = timezone.utc
HUGE = "the number is too large for a 64-bit float"


class Tensor:
    """The part of torch's interface that matters here."""

    def __init__(self, data, shape=()):
        self._data, self.shape, self.ndim = data, shape, len(shape)

    def item(self):
        """Return the one number."""
        data = self._data
        for _ in self.shape:
            (data,) = data
        return data

    def tolist(self):
        """Return nested lists."""
        return self._data

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]


class EagerTensor:
    """The part of TensorFlow's interface that matters here: no ``item``, no ``tolist``."""

    def __init__(self, data):
        self._data = np.array(data)
        self.shape, self.ndim, self.dtype = self._data.shape, self._data.ndim, "a dtype of its own"

    def numpy(self):
        """Return the array."""
        return self._data


class Item:
    """A scalar with ``item`` alone."""

    def item(self):
        """Return the number."""
        return 2.5


class Floating:
    """A number of somebody's own."""

    def __float__(self):
        return 2.5


class Broken:
    """An object whose every conversion fails in its own way."""

    def __float__(self):
        raise RuntimeError("[device]\nlost")

    def __index__(self):
        raise RuntimeError("[device]\nlost")


class BrokenTensor:
    """A tensor without its data."""

    ndim, shape = 1, (None,)

    def tolist(self):
        """Fail as a tensor on a lost device does."""
        raise RuntimeError("no data")


class Name(str, Enum):
    """Metric names as an enumeration."""

    LOSS = "loss"


def read(data):
    """Return the points of one save as (key, value, step)."""
    made = to_curves(data, prefix="", now=0, progress=Progress())
    return [(point.key, point.value, point.step) for points in made for point in points]


def curve(value):
    """Return the points of one metric as (value, step)."""
    return [(number, step) for _, number, step in read({"m": value})]


def refusal(data):
    """Return the message with which the data is refused."""
    with pytest.raises(InvalidMetricsError) as exc:
        read(data)
    return str(exc.value)


# --- a number


@pytest.mark.parametrize(
    ("number", "stored"),
    [
        (3, 3.0),
        (0.5, 0.5),
        (True, 1.0),
        (2**62, float(2**62)),
        (Decimal("2.5"), 2.5),
        (Fraction(5, 2), 2.5),
        (np.float16(2.5), 2.5),
        (np.float32(2.5), 2.5),
        (np.float64(2.5), 2.5),
        (np.longdouble(2.5), 2.5),
        (np.int64(3), 3.0),
        (np.uint8(3), 3.0),
        (np.bool_(True), 1.0),
        (np.array(2.5), 2.5),
        (np.array(3), 3.0),
        (np.array(2.5, dtype=object), 2.5),
        (Tensor(2.5), 2.5),
        (Tensor([2.5], (1,)), 2.5),
        (Tensor([[2.5]], (1, 1)), 2.5),
        (EagerTensor(2.5), 2.5),
        (EagerTensor([2.5]), 2.5),
        (Item(), 2.5),
        (Floating(), 2.5),
        (pl.Series([2.5])[0], 2.5),
        (pd.Series([3])[0], 3.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_number_is_one_point(number, stored):
    """Anything with ``__float__`` or ``item()`` that is no text is one point; its value is a plain float."""
    ((value, step),) = curve(number)
    assert (value, step) == (stored, 0)
    assert type(value) is float


@pytest.mark.parametrize("number", [math.inf, -math.inf, Decimal("Infinity"), np.float32("inf"), np.array(-np.inf)])
def test_infinities_are_kept(number):
    """An infinity is logged as one."""
    assert curve(number) == [(float(number), 0)]


@pytest.mark.parametrize("number", [math.nan, Decimal("NaN"), np.float32("nan"), np.array(np.nan), Tensor(math.nan)])
def test_nan_is_kept(number):
    """NaN is logged as NaN."""
    ((value, _),) = curve(number)
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (10**400, f"metric 'm': {HUGE}"),
        (Decimal("1e400"), f"metric 'm': {HUGE}"),
        (Fraction(10**400, 3), f"metric 'm': {HUGE}"),
        ([1, 10**400], f"metric 'm', position 1: {HUGE}"),
    ],
    ids=["int", "decimal", "fraction", "list"],
)
def test_a_number_too_large_for_a_float_is_refused(value, message):
    """A finite number never becomes an infinity silently."""
    assert refusal({"m": value}) == message


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0.9", "'0.9' (str)"),
        ("", "'' (str)"),
        ("a[0]\nb", r"'a(0)\nb' (str)"),
        ("x" * 99, f"'{'x' * 40}' (str)"),
        (np.str_("x"), "'x' (str_)"),
    ],
)
def test_text_is_refused(value, shown):
    """The message says where text belongs."""
    assert refusal({"m": value}) == f"metric 'm': got {shown}; accepted: a number{TEXT}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (b"x", "b'x' (bytes)"),
        (1j, "1j (complex)"),
        ({1, 2}, "an object of type set"),
        (object(), "an object of type object"),
        (len, "an object of type builtin_function_or_method"),
        (iter([1]), "an object of type list_iterator"),
        (bytearray(b"x"), "an object of type bytearray"),
        (date(2024, 1, 1), "an object of type date"),
        (uuid.UUID(int=1), "an object of type UUID"),
        (pd.NA, "an object of type NAType"),
        (pd.NaT, "an object of type NaTType"),
        (pd.Timestamp(0), "an object of type Timestamp"),
        (pl.DataFrame({"a": [1]}), "an object of type DataFrame"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_metric_is_refused(value, shown):
    """``None``, complex numbers and other objects are refused; the message says what is accepted."""
    assert refusal({"m": value}) == f"metric 'm': got {shown}; accepted: {SHAPES}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("sNaN"), "an object of type Decimal"),
        (float, "an object of type type"),
        (Broken(), "an object of type Broken"),
        (Tensor("x"), "'x' (str)"),
        (Tensor(1j), "1j (complex)"),
        (Tensor(None), "None"),
        (np.array(None), "None"),
    ],
    ids=["signal", "class", "broken", "tensor-text", "tensor-complex", "tensor-none", "array-none"],
)
def test_what_only_looks_like_a_number_is_refused(value, shown):
    """A conversion that fails is a refusal, whatever the object raises."""
    assert refusal({"m": value}) == f"metric 'm': got {shown}; accepted: a number"


def test_the_error_of_an_object_is_the_cause():
    """What a user's object raised is kept behind the refusal."""
    with pytest.raises(InvalidMetricsError) as exc:
        read({"m": Broken()})
    assert isinstance(exc.value.__cause__, RuntimeError)


# --- a list, an array, a Series of numbers


@pytest.mark.parametrize(
    "values",
    [
        [1, 2.5],
        (1, 2.5),
        [True, 2.5],
        [Decimal(1), Fraction(5, 2)],
        [np.float32(1), np.array(2.5)],
        [Tensor(1), Tensor([2.5], (1,))],
        deque([1, 2.5]),
        array("d", [1, 2.5]),
        np.array([1, 2.5]),
        np.array([1, 2.5], dtype="float16"),
        np.array([1, 2.5], dtype=">f8"),
        np.array([1, 2.5], dtype=object),
        np.array([1, 9, 2.5])[::2],
        Tensor([1, 2.5], (2,)),
        EagerTensor([1, 2.5]),
        pd.Series([1, 2.5]),
        pd.Series([1, 2.5], dtype="Float64"),
        pd.Series([1, 2.5], index=[0.5, 1.5]),
        pd.array([1, 2.5]),
        pd.Index([1, 2.5]),
        pl.Series([1.0, 2.5]),
    ],
    ids=lambda value: type(value).__module__ + "." + type(value).__name__,
)
def test_a_list_of_numbers_is_a_curve(values):
    """Lists, tuples, arrays and Series give points at consecutive steps."""
    curve_ = curve(values)
    assert [step for _, step in curve_] == [0, 1]
    assert [value for value, _ in curve_] == [1.0, 2.5]
    assert {type(value) for value, _ in curve_} == {float}


@pytest.mark.parametrize("kind", ["i1", "u8", "i4", "?", "f4"])
def test_every_kind_of_numpy_number_is_taken(kind):
    """Integers, unsigned ones, booleans and floats of any width."""
    assert curve(np.array([0, 1], dtype=kind)) == [(0.0, 0), (1.0, 1)]


def test_a_range_is_a_curve():
    """Any sequence of numbers will do."""
    assert curve(range(5, 7)) == [(5.0, 0), (6.0, 1)]


def test_nan_and_infinities_in_a_list_are_kept():
    """A list keeps its place for a NaN."""
    values = [value for value, _ in curve([math.nan, math.inf, 1])]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, 1.0]


@pytest.mark.parametrize("kind", ["int64", "int8", "uint16", "Int64"])
def test_a_series_with_an_integer_index_gives_its_steps(kind):
    """The index of a pandas Series is its steps where it is one of integers; they become Python ints."""
    points = curve(pd.Series([1, 2.5], index=pd.Index([5, 9], dtype=kind)))
    assert points == [(1.0, 5), (2.5, 9)]
    assert {type(step) for _, step in points} == {int}


@pytest.mark.parametrize(
    ("values", "position", "shown"),
    [
        ([1, None], 1, "None"),
        ([1, "x"], 1, "'x' (str)"),
        ([1j], 0, "1j (complex)"),
        ([[1]], 0, "an object of type list"),
        ([1, {"value": 1}, "x"], 2, "'x' (str)"),
        (np.array([1, "x"], dtype=object), 1, "'x' (str)"),
        (np.ma.masked_array([1.0, 2.0], mask=[False, True]), 1, "None"),
        ([1, np.ma.masked], 1, "an object of type MaskedConstant"),
        ([np.array([1.0])], 0, "an object of type ndarray"),
        (pd.Series(["x"]), 0, "'x' (str)"),
        (pd.Series([1, None], dtype="Int64"), 1, "an object of type NAType"),
        (pl.Series([1, None]), 1, "None"),
        (pl.Series(["x"]), 0, "'x' (str)"),
        (Tensor([1j, 2j], (2,)), 0, "1j (complex)"),
    ],
    ids=lambda value: None if isinstance(value, int | str) else type(value).__name__,
)
def test_a_bad_item_is_refused_with_its_position(values, position, shown):
    """The message about a list names the position, counted from 0."""
    advice = TEXT if "(str)" in shown else ""
    assert refusal({"m": values}) == f"metric 'm', position {position}: got {shown}; accepted: a number{advice}"


@pytest.mark.parametrize(
    ("values", "size"),
    [
        (np.zeros((2, 2)), 2),
        (np.array([[1.0]]), 2),
        (np.zeros((0, 2)), 2),
        (np.zeros((1, 1, 1)), 3),
        (Tensor([[1, 2]], (1, 2)), 2),
        (EagerTensor([[1, 2]]), 2),
        (pd.DataFrame({"a": [1, 2]}), 2),
    ],
    ids=["2x2", "1x1", "empty", "1x1x1", "tensor", "eager", "frame"],
)
def test_an_array_of_more_dimensions_is_refused(values, size):
    """A curve has one dimension."""
    assert refusal({"m": values}) == (
        f"metric 'm': got an array of {size} dimensions; accepted: one dimension, a number per step"
    )


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array(["x"]), "<U1"),
        (np.array("x"), "<U1"),
        (np.array([b"x"]), "|S1"),
        (np.array([1j]), "complex128"),
        (np.array(1j), "complex128"),
        (np.complex64(1), "complex64"),
        (np.array([0], dtype="M8[s]"), "datetime64(s)"),
        (np.datetime64(0, "s"), "datetime64(s)"),
        (np.timedelta64(1, "ms"), "timedelta64(ms)"),
    ],
    ids=["text", "0-d text", "bytes", "complex", "0-d complex", "scalar", "times", "time", "duration"],
)
def test_an_array_of_something_else_is_refused(values, kind):
    """An array, of no dimension too, is refused by what it holds."""
    assert refusal({"m": values}) == f"metric 'm': got an array of {kind}; accepted: numbers"


@pytest.mark.parametrize("value", [np.ma.masked, BrokenTensor()], ids=["masked", "broken"])
def test_an_array_without_its_numbers_is_refused(value):
    """NumPy's masked constant is no 0.0; a tensor that cannot be read is no curve."""
    kind = type(value).__name__
    assert refusal({"m": value}) == f"metric 'm': got an object of type {kind}; accepted: numbers"


# --- points


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ({"value": 0.5}, (0.5, 0)),
        ({"value": 0.5, "step": 3}, (0.5, 3)),
        ({"value": 0.5, "step": None, "timestamp": None}, (0.5, 0)),
        ({"step": 3, "timestamp": 5, "value": 0.5}, (0.5, 3)),
        ({"value": Tensor(0.5), "step": np.int32(3)}, (0.5, 3)),
        ({"value": 0.5, "step": np.array(3)}, (0.5, 3)),
        ({"value": 0.5, "step": -(2**63)}, (0.5, -(2**63))),
        ({"value": 0.5, "step": 2**63 - 1}, (0.5, 2**63 - 1)),
        (OrderedDict(value=0.5), (0.5, 0)),
        (MappingProxyType({"value": 0.5}), (0.5, 0)),
    ],
)
def test_a_point_needs_a_value_only(point, expected):
    """Step and timestamp may be missing or ``None``; a step becomes a Python int."""
    for form in (point, [point], (point,)):
        assert curve(form) == [expected]
        assert type(curve(form)[0][1]) is int


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"step": 1}, "a point needs a 'value'; accepted: {'value': number, 'step': int, 'timestamp': int}"),
        ({"value": 1, "stpe": 2}, f"a point has no field 'stpe' (str); {FIELDS}; did you mean 'step'?"),
        ({"value": 1, "time": 2}, f"a point has no field 'time' (str); {FIELDS}; did you mean 'timestamp'?"),
        ({"value": 1, "zzz": 2}, f"a point has no field 'zzz' (str); {FIELDS}"),
        ({"value": 1, 7: 2}, f"a point has no field 7 (int); {FIELDS}"),
        ({"value": 1, 10**5000: 2}, f"a point has no field a huge number (int); {FIELDS}"),
        ({"value": None}, "got None; accepted: a number"),
        ({"value": "x"}, f"got 'x' (str); accepted: a number{TEXT}"),
        ({"value": [1]}, "got an object of type list; accepted: a number"),
        ({"value": 1, "step": 1.0}, "the step is 1.0 (float); accepted: an integer"),
        ({"value": 1, "step": "1"}, "the step is '1' (str); accepted: an integer"),
        ({"value": 1, "step": True}, "the step is True (bool); accepted: an integer"),
        ({"value": 1, "step": np.array(1.5)}, "the step is an object of type ndarray; accepted: an integer"),
        ({"value": 1, "step": int}, "the step is an object of type type; accepted: an integer"),
        ({"value": 1, "step": Broken()}, "the step is an object of type Broken; accepted: an integer"),
        ({"value": 1, "step": 2**63}, "the step 9223372036854775808 leaves 64 bits"),
        ({"value": 1, "step": -(2**63) - 1}, "the step -9223372036854775809 leaves 64 bits"),
        ({"value": 1, "step": 10**5000}, "the step given leaves 64 bits"),
    ],
)
def test_a_bad_point_is_refused(point, message):
    """Unknown fields, a missing value and a bad step are refused, in a list with the position."""
    assert refusal({"m": point}) == f"metric 'm': {message}"
    assert refusal({"m": [0, point]}) == f"metric 'm', position 1: {message}"


@pytest.mark.parametrize(
    ("timestamp", "message"),
    [
        (5.0, "is 5.0 (float); accepted: int milliseconds since the epoch or a datetime"),
        ("now", "is 'now' (str); accepted: int milliseconds since the epoch or a datetime"),
        (True, "is True (bool); accepted: int milliseconds since the epoch or a datetime"),
        (
            np.datetime64(0, "s"),
            "is an object of type datetime64; accepted: int milliseconds since the epoch or a datetime",
        ),
        (-1, "-1 lies before 1970; MLflow takes none below 0"),
        (
            datetime(1969, 12, 31, tzinfo=timezone.utc),
            "-86400000 lies before 1970; MLflow takes none below 0",
        ),
        (datetime(1, 1, 1), "0001-01-01 00:00:00 is no time since 1970"),  # noqa: DTZ001
        (pd.NaT, "NaT is no time since 1970"),
        (2**63, "9223372036854775808 leaves 64 bits"),
        (
            1_700_000_000_000_000,
            "1700000000000000 lies past the year 9999; give it in milliseconds since the epoch",
        ),
    ],
    ids=["float", "text", "bool", "numpy", "negative", "before", "year-1", "NaT", "65-bits", "microseconds"],
)
def test_a_bad_timestamp_is_refused(timestamp, message):
    """A timestamp is int milliseconds from 1970 on, or a datetime."""
    if timestamp == datetime(1, 1, 1) and not _fails(timestamp):  # noqa: DTZ001 - west of Greenwich
        message = f"{round(timestamp.timestamp() * 1000)} lies before 1970; MLflow takes none below 0"
    assert refusal({"m": {"value": 1, "timestamp": timestamp}}) == f"metric 'm': the timestamp {message}"


def _fails(moment):
    try:
        moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return True
    return False


# --- curves by step, and groups


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8])
def test_a_mapping_with_integer_keys_is_a_curve(kind):
    """``{step: value}``; the steps may come in any order and become Python ints."""
    points = curve({kind(9): 1, kind(5): Tensor(2.5)})
    assert points == [(1.0, 9), (2.5, 5)]
    assert {type(step) for _, step in points} == {int}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1: "x"}, f"metric 'm', step 1: got 'x' (str); accepted: a number{TEXT}"),
        ({1: [1]}, "metric 'm', step 1: got an object of type list; accepted: a number"),
        ({1: 1, "a": 2}, "metric 'm': the step is 'a' (str); accepted: an integer"),
        ({2: 1, 2.5: 2}, "metric 'm': the step is 2.5 (float); accepted: an integer"),
        ({2: 1, True: 2}, "metric 'm': the step is True (bool); accepted: an integer"),
        ({2**63: 1}, "metric 'm': the step 9223372036854775808 leaves 64 bits"),
    ],
    ids=["text", "list", "mixed", "float", "bool", "65-bits"],
)
def test_a_bad_step_or_value_of_such_a_curve_is_refused(value, message):
    """The message names the step, or the key that is none."""
    assert refusal({"m": value}) == message


def test_any_other_mapping_is_a_group():
    """Groups are joined with a dot, however deep."""
    data = {"val": {"acc": 0.9, "top": {"k5": [1, 2]}, "curve": {3: 4}, "point": {"value": 5, "step": 6}}}
    assert read(data) == [
        ("val.acc", 0.9, 0),
        ("val.top.k5", 1.0, 0),
        ("val.top.k5", 2.0, 1),
        ("val.curve", 4.0, 3),
        ("val.point", 5.0, 6),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({3: 1}, "the data: got the metric name 3 (int); accepted: text"),
        ({"a": 1, None: 1}, "the data: got the metric name None; accepted: text"),
        ({10**5000: 1}, "the data: got the metric name a huge number (int); accepted: text"),
        ({"m": {"n": {None: 1}}}, "group 'm.n': got the metric name None; accepted: text"),
        ({"m": {2.5: 1}}, "group 'm': got the metric name 2.5 (float); accepted: text"),
        ({"m": {True: 1}}, "group 'm': got the metric name True (bool); accepted: text"),
        ({"m": {"n": "x"}}, f"metric 'm.n': got 'x' (str); accepted: a number{TEXT}"),
        ({"a[0]": "x"}, f"metric 'a(0)': got 'x' (str); accepted: a number{TEXT}"),
        ({"a\nb": "x"}, rf"metric 'a\nb': got 'x' (str); accepted: a number{TEXT}"),
    ],
    ids=["int", "none", "huge", "deep", "float", "bool", "inside", "brackets", "newline"],
)
def test_a_bad_name_or_value_of_a_group_is_refused(data, message):
    """A name is text; the message gives the whole way to it, on one line without square brackets."""
    assert refusal(data) == message


@pytest.mark.parametrize("name", [Name.LOSS, np.str_("loss")], ids=["enum", "numpy"])
def test_a_name_may_be_a_kind_of_text(name):
    """A subclass of text counts by its text, and becomes plain text."""
    ((key, _, _),) = read({name: 1})
    assert key == "loss"
    assert type(key) is str


# --- a step beside the metrics


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"loss": 0.5, "step": 3}, [("loss", 0.5, 3)]),
        ({"step": np.int64(3), "loss": 0.5}, [("loss", 0.5, 3)]),
        ({"val": {"loss": 0.5}, "step": 3}, [("val.loss", 0.5, 3)]),
        ({"loss": 0.5, "acc": [1], "step": 3}, [("loss", 0.5, 3), ("acc", 1.0, 0)]),
        ({"loss": 0.5, "acc": {"value": 1}, "step": 3}, [("loss", 0.5, 3), ("acc", 1.0, 0)]),
        ({"loss": 0.5, "val": {"step": 9, "value": 1}, "step": 3}, [("loss", 0.5, 3), ("val", 1.0, 9)]),
        ({"value": 1, "step": 2, "loss": 3}, [("value", 1.0, 2), ("loss", 3.0, 2)]),
    ],
    ids=["beside", "numpy", "group", "list", "point", "own-step", "value"],
)
def test_a_step_beside_bare_numbers_is_their_step(data, expected):
    """At top level ``step`` is the step of the bare numbers, of those in groups too, and of nothing else."""
    assert read(data) == expected


def test_a_step_beside_no_bare_number_is_a_metric():
    """Without a number beside it, ``step`` is a name like any other."""
    assert read({"loss": [0.5], "step": 3}) == [("loss", 0.5, 0), ("step", 3.0, 0)]


@pytest.mark.parametrize(
    ("step", "shown"),
    [
        (2.0, "2.0 (float)"),
        ("3", "'3' (str)"),
        (None, "None"),
        (True, "True (bool)"),
        ([1], "an object of type list"),
    ],
    ids=["float", "text", "none", "bool", "list"],
)
def test_a_shared_step_that_is_no_integer_is_refused(step, shown):
    """A bad step beside bare numbers is not taken for a metric."""
    assert refusal({"loss": 1, "step": step}) == (
        f"'step' beside the metrics: the step is {shown}; accepted: an integer"
    )


# --- in place of the dict


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (None, "None"),
        ("x", "'x' (str)"),
        ([1], "an object of type list"),
        (np.array([1]), "an object of type ndarray"),
        (pd.Series([1.0]), "an object of type Series"),
        (pl.LazyFrame({"a": [1]}), "an object of type LazyFrame"),
    ],
    ids=["none", "text", "list", "array", "series", "lazy"],
)
def test_what_is_neither_mapping_nor_frame_is_refused(data, shown):
    """A bare value has no name."""
    assert refusal(data) == f"the data: got {shown}; accepted: {TOP}"


@pytest.mark.parametrize(
    ("number", "shown", "form"),
    [
        (0.93, "0.93 (float)", "0.93"),
        (3, "3 (int)", "3"),
        (True, "True (bool)", "True"),
        (np.float32(0.5), "an object of type float32", "0.5"),
        (Tensor(0.5), "an object of type Tensor", "0.5"),
    ],
    ids=["float", "int", "bool", "numpy", "tensor"],
)
def test_a_lone_number_is_refused_with_the_dict_it_takes(number, shown, form):
    """The message has the number that came."""
    assert refusal(number) == f'the data: got {shown}, which has no name; return {{"accuracy": {form}}}'


@pytest.mark.parametrize(
    ("data", "form"),
    [
        ({"value": 0.5}, "{'value': 0.5}"),
        ({"value": 0.5, "step": 3}, "{'value': 0.5, 'step': 3}"),
        ({"step": 3}, "{'step': 3}"),
        ({"value": [1], "step": 3}, "{'value': an object of type list, 'step': 3}"),
    ],
    ids=["value", "step", "step-alone", "list"],
)
def test_a_lone_point_is_refused_with_the_form_it_takes(data, form):
    """A point without a name is not taken for metrics called value and step."""
    assert refusal(data) == f"the data: a point without a name; give it one: {{'loss': {form}}}"


# --- what names its parts


class Scores(NamedTuple):
    accuracy: float
    f1: float


class Point(NamedTuple):
    value: float
    step: int


@dataclass
class Losses:
    train: float
    val: Scores


@dataclass(slots=True)
class Slotted:
    accuracy: float
    f1: float


class Report(BaseModel):
    accuracy: float
    f1: float


@dataclass
class Measured:
    """A number of a kind of its own."""

    number: float

    def __float__(self):
        return self.number


LABELLED = pd.Series([0.9, 0.8], index=["accuracy", "f1"])
NAMED = pytest.mark.parametrize(
    "value",
    [
        Scores(0.9, 0.8),
        Slotted(0.9, 0.8),
        Report(accuracy=0.9, f1=0.8),
        LABELLED,
        LABELLED.set_axis(pd.CategoricalIndex(["accuracy", "f1"])),
    ],
    ids=["NamedTuple", "dataclass", "pydantic", "Series", "categories"],
)


@NAMED
def test_labels_are_names(value):
    """A NamedTuple, a dataclass object, a pydantic model and a Series with an index of text are groups."""
    assert read({"m": value}) == [("m.accuracy", 0.9, 0), ("m.f1", 0.8, 0)]
    assert read({"m": {"val": value}}) == [("m.val.accuracy", 0.9, 0), ("m.val.f1", 0.8, 0)]


@NAMED
def test_labels_are_names_in_place_of_the_dict(value):
    """So is what a node returns."""
    assert read(value) == [("accuracy", 0.9, 0), ("f1", 0.8, 0)]


@NAMED
def test_a_step_beside_labels_is_their_step(value):
    """As it is beside any group with bare numbers."""
    assert read({"m": value, "step": 3}) == [("m.accuracy", 0.9, 3), ("m.f1", 0.8, 3)]


def test_a_described_column_is_a_group():
    """What pandas calls each statistic is its name."""
    described = pd.Series([1.0, 3.0]).describe()
    names = ["count", "mean", "std", "min", "25_", "50_", "75_", "max"]  # MLflow takes no percent sign
    assert [key for key, _, _ in read({"x": described})] == [f"x.{name}" for name in names]


def test_a_point_may_be_an_object():
    """With the fields of a point it is one, alone and in a list."""
    assert curve(Point(0.5, 3)) == [(0.5, 3)]
    assert curve([Point(0.5, 3), {"value": 0.4, "step": 5}, 0.3]) == [(0.5, 3), (0.4, 5), (0.3, 6)]


def test_objects_stand_in_objects():
    """Groups of groups."""
    assert read(Losses(0.5, Scores(0.9, 0.8))) == [("train", 0.5, 0), ("val.accuracy", 0.9, 0), ("val.f1", 0.8, 0)]


def test_an_object_that_is_a_number_is_one():
    """Whatever its class is made with."""
    assert curve(Measured(0.5)) == [(0.5, 0)]


def test_a_label_that_stands_twice_is_refused():
    """Two values of one name would be one metric."""
    assert refusal({"m": pd.Series([1, 2, 3], index=["a", "b", "b"])}) == (
        "metric 'm': the index of the Series has 'b' twice; its labels are names, give each its own"
    )


def test_an_object_of_something_else_is_refused_by_its_field():
    """The message names what is no number."""
    assert refusal(Losses(0.5, Scores(0.9, None))) == f"metric 'val.f1': got None; accepted: {SHAPES}"


# --- frames


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_each_column_of_a_frame_is_a_metric(library):
    """Without steps the rows count from the next step; numbers, booleans and integers are taken."""
    assert read(library.DataFrame({"a": [0.5, 1.5], "b": [True, False]})) == [
        ("a", 0.5, 0),
        ("a", 1.5, 1),
        ("b", 1.0, 0),
        ("b", 0.0, 1),
    ]


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_a_column_named_step_gives_the_steps(library):
    """The column is no metric of its own."""
    assert read(library.DataFrame({"step": [5, 9], "a": [0.5, 1.5]})) == [("a", 0.5, 5), ("a", 1.5, 9)]


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
@pytest.mark.parametrize(("extra", "expected"), [({}, 2), ({"step": [5, 6, 7]}, 7)], ids=["rows", "steps"])
def test_a_missing_cell_is_no_point(library, extra, expected):
    """The other cells of the column keep their steps."""
    frame = library.DataFrame({"a": [1.0, None, 3.0], **extra})
    assert read(frame) == [("a", 1.0, expected - 2), ("a", 3.0, expected)]


def test_a_missing_cell_of_a_nullable_column_is_no_point():
    """The library's own missing value is missing too; infinities are not."""
    frame = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [math.inf, None]})
    assert read(frame) == [("a", 1.0, 0), ("b", math.inf, 0)]


def test_a_nan_of_polars_is_a_number():
    """A polars frame tells NaN from a missing cell, so NaN is logged."""
    ((_, value, _),) = read(pl.DataFrame({"a": [math.nan, None]}))
    assert math.isnan(value)


def test_an_integer_index_named_step_gives_the_steps():
    """An index of another name, or without one, does not."""
    index = pd.Index([5, 9], name="step")
    assert read(pd.DataFrame({"a": [0.5, 1.5]}, index=index)) == [("a", 0.5, 5), ("a", 1.5, 9)]
    assert read(pd.DataFrame({"a": [0.5, 1.5]}, index=index.rename("epoch"))) == [
        ("a", 0.5, 0),
        ("a", 1.5, 1),
    ]


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
@pytest.mark.parametrize("times", [[7, None, 9], [datetime.fromtimestamp(at / 1000, UTC) for at in (7, 8, 9)]])
def test_a_column_named_timestamp_gives_the_timestamps(library, times):
    """As milliseconds or times; a missing one is the time of the save, a missing value no point."""
    frame = library.DataFrame({"timestamp": times, "a": [1.0, None, 3.0], "b": [4.0, 5.0, 6.0]})
    points = [point for made in to_curves(frame, prefix="", now=8, progress=Progress()) for point in made]
    assert points == [("a", 1.0, 0, 7), ("a", 3.0, 2, 9), ("b", 4.0, 0, 7), ("b", 5.0, 1, 8), ("b", 6.0, 2, 9)]


def test_a_frame_whose_index_is_text_is_groups():
    """Each column by the labels of its rows, as ``df.describe()`` gives it; a missing cell is no point."""
    frame = pd.DataFrame({"precision": [0.9, 0.8], "recall": [0.7, None]}, index=["cat", "dog"])
    assert read(frame) == [("precision.cat", 0.9, 0), ("precision.dog", 0.8, 0), ("recall.cat", 0.7, 0)]
    assert read(frame.assign(step=[3, 3]))[0] == ("precision.cat", 0.9, 3)


def test_rows_of_one_label_are_a_curve():
    """A long frame has a row per epoch and label."""
    frame = pd.DataFrame({"loss": [0.9, 0.8, 0.7, 0.6], "step": [0, 0, 5, 5]}, index=["train", "val"] * 2)
    assert read(frame) == [("loss.train", 0.9, 0), ("loss.train", 0.7, 5), ("loss.val", 0.8, 0), ("loss.val", 0.6, 5)]
    assert read(frame.drop(columns="step"))[1] == ("loss.train", 0.7, 1)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": [1], "b": ["x"]}), f"column 'b', row 0: got 'x' (str); accepted: a number{COLUMN}"),
        (pl.DataFrame({"b": ["x"]}), f"column 'b', row 0: got 'x' (str); accepted: a number{COLUMN}"),
        (pl.DataFrame({"b": [[1]]}), f"column 'b', row 0: got an object of type list; accepted: a number{COLUMN}"),
        (pd.DataFrame({"b": [None, "x"]}), f"column 'b', row 1: got 'x' (str); accepted: a number{COLUMN}"),
        (
            pd.DataFrame({"b": pd.to_datetime(["2024-01-01"])}),
            f"column 'b', row 0: got an object of type Timestamp; accepted: a number{COLUMN}",
        ),
        (pd.DataFrame({"b[0]": ["x"]}), f"column 'b(0)', row 0: got 'x' (str); accepted: a number{COLUMN}"),
        (pd.DataFrame({1: [1]}), "the frame: got the column name 1 (int); accepted: text"),
        (
            pd.DataFrame({"a": [1], "step": [1.5]}),
            "column 'step', row 0: the step is 1.5 (float); accepted: an integer",
        ),
        (
            pl.DataFrame({"a": [1, 2], "step": [1, None]}),
            "column 'step', row 1: the step is None; accepted: an integer",
        ),
        (
            pd.DataFrame({"a": [1], "timestamp": ["now"]}),
            "column 'timestamp', row 0: the timestamp is 'now' (str); accepted: int milliseconds since the epoch or a "
            "datetime",
        ),
    ],
    ids=[
        "text",
        "polars",
        "lists",
        "second-row",
        "times",
        "brackets",
        "column-name",
        "float-step",
        "missing-step",
        "text-timestamp",
    ],
)
def test_a_column_without_numbers_is_refused_by_name(frame, message):
    """The message names the column and the row."""
    assert refusal(frame) == message


# --- anything at all

names = st.sampled_from(["a", "b.c", "value", "step", "timestamp", "stpe", "a[0]", "a\nb", ""]) | st.text(max_size=5)
huge = st.just(5000).map(lambda digits: 10**digits)  # more than Python prints
numbers = (
    st.integers()
    | st.floats()
    | st.booleans()
    | st.decimals()
    | st.fractions()
    | huge
    | st.sampled_from([2**63, -(2**63) - 1, 10**400, np.int64(3), np.float32(1), np.bool_(False)])
)
things = st.sampled_from(
    [
        object(),
        Broken(),
        BrokenTensor(),
        Tensor(1.5),
        Tensor([[1]], (1, 1)),
        Tensor([1, "x"], (2,)),
        EagerTensor([1, 2]),
        Item(),
        np.array([1, 2]),
        np.array([1]),
        np.array("x"),
        np.array([0], dtype="M8[s]"),
        np.ma.masked,
        pd.Series([1, 2], index=[3, 4]),
        pl.Series([1, None]),
        pd.DataFrame({"a": [1]}),
        pd.NaT,
        pd.NA,
        int,
        range(2),
        uuid.UUID(int=1),
        datetime(1, 1, 1),  # noqa: DTZ001
    ]
)
leaves = numbers | names | st.none() | st.binary(max_size=3) | st.complex_numbers() | st.datetimes() | things
keys = names | st.integers() | st.none() | st.booleans() | huge | st.sampled_from([2.5, np.int64(3), int])
nests = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(names, inner, max_size=4)
        | st.fixed_dictionaries({"value": inner}, optional={"step": inner, "timestamp": inner})
    ),
    max_leaves=12,
)


@given(st.dictionaries(names, nests, max_size=4) | nests)
def test_anything_gives_points_or_a_refusal_of_one_line(data):
    """Whatever a node returns, nothing but points or ``InvalidMetricsError`` comes of it."""
    try:
        points = read(data)
    except InvalidMetricsError as exc:
        assert len(str(exc).splitlines()) == 1  # noqa: PT017
        assert not set(str(exc)) & set("[]")  # noqa: PT017
    else:
        for key, value, step in points:
            assert (type(key), type(value), type(step)) == (str, float, int)
            assert -(2**63) <= step < 2**63
