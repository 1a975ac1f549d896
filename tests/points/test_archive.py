"""Runs that files hold: what is read of them, and what is refused in one line."""

from __future__ import annotations

import json
import math

import pytest
from support.exports import EXPORT, POINT

from kedro_mlflow_metrics.errors import InvalidMetricsError
from kedro_mlflow_metrics.points.archive import exported, tracked

VERSION = "2026-11-24T22.03.15.123Z"
TIME = 1_795_557_795_123


def metric(points):
    return {**EXPORT, "metrics": {"a": points}}


NOT_BY_US = "the file: 'kedro metrics export --format json' "
BAD = {
    "not JSON": ("key,step\n", "the file: it is no JSON, or only a part: line 1, column 1: Expecting value"),
    "empty": ("", "the file: it is no JSON, or only a part: line 1, column 1: Expecting value"),
    "no UTF-8": (b'{"\xff": 1}', "the file: it is no JSON: 'utf-8' codec"),
    "half a file": (json.dumps(EXPORT)[:-20], "the file: it is no JSON, or only a part: line 1, column "),
    "a list": ([EXPORT], "the file: it holds an object of type list; accepted: an object"),
    "metrics alone": ({"a": 1.0}, f"{NOT_BY_US}writes no field 'a'"),
    "a field too many": ({**EXPORT, "tag": {}}, f"{NOT_BY_US}writes no field 'tag'; did you mean 'tags'?"),
    "a field too few": ({"run_id": "a"}, f"{NOT_BY_US}did not write it: there is no field 'name'"),
    "no run id": ({**EXPORT, "run_id": "a' OR"}, "'run_id': got \"a' OR\" (str); accepted: the id of a run"),
    "running": ({**EXPORT, "status": "RUNNING"}, "'status': it is RUNNING and not one of FINISHED, FAILED, KILLED: "),
    "a time as text": ({**EXPORT, "end_time": "12"}, "'end_time': the timestamp is '12' (str); accepted: "),
    "a tag that is no text": ({**EXPORT, "tags": {"t": 1}}, "'t': got 1 (int); accepted: text"),
    "params in a list": ({**EXPORT, "params": []}, "'params': got an object of type list; accepted: an object"),
    "a number alone": (metric(1.0), "metric 'a': got 1.0 (float); accepted: a list of points"),
    "a number in a list": (metric([1.0]), "metric 'a', position 0: a point has a value, a step and a timestamp, and"),
    "no step": (metric([{"value": 1, "timestamp": 1}]), "metric 'a', position 0: a point has a value, a step and a"),
    "text": (metric([{**POINT, "value": "0.5"}]), "metric 'a', position 0: got '0.5' (str); accepted: a number, "),
    "a bool": (
        metric([POINT, {**POINT, "value": True}]),
        "metric 'a', position 1: got True (bool); accepted: a number",
    ),
    "null": (metric([{**POINT, "value": None}]), "metric 'a', position 0: got None; accepted: a number"),
    "half a step": (metric([{**POINT, "step": 0.5}]), "metric 'a', position 0: the step is 0.5 (float); accepted: "),
    "before 1970": (metric([{**POINT, "timestamp": -1}]), "metric 'a', position 0: the timestamp -1 lies before 1970"),
    "a name": ({**EXPORT, "metrics": {"hits@10": [POINT]}}, "metric 'hits@10': MLflow does not take this name; "),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_no_export_writes(kind):
    """It is refused, with the key and the position where there is one."""
    content, message = BAD[kind]
    with pytest.raises(InvalidMetricsError) as error:
        exported(content if isinstance(content, str | bytes) else json.dumps(content))
    assert str(error.value).startswith(message)
    assert len(str(error.value).splitlines()) == 1


def test_an_export():
    """All of it comes back; the points of a metric are in MLflow's order, and a metric without any is none."""
    points = [
        {"value": "-Infinity", "step": 2, "timestamp": 5},
        {"value": "NaN", "step": -1, "timestamp": 2**40},
        {"value": 3, "step": 2, "timestamp": 4},
    ]
    run = exported(json.dumps({**EXPORT, "params": {"p": "1"}, "metrics": {"a": points, "none": []}}))
    (curve,) = run.curves
    assert (run.ident, run.name, run.status, run.params) == (EXPORT["run_id"], "a run", "FINISHED", {"p": "1"})
    assert [(repr(point.value), *point[2:]) for point in curve] == [("nan", -1, 2**40), ("3.0", 2, 4), ("-inf", 2, 5)]


def test_a_version():
    """Numbers, NaN and infinities too, alone, in a list or in a group, at the time of the version."""
    text = '{"r2": 0.5, "bad": NaN, "far": -Infinity, "loss": [2, 1], "test": {"rows": 20}, "hits@10": 1.0, "no": []}'
    found = tracked(text, VERSION, "m.")
    assert {name: curve.key for name, curve in found.items()} == {
        **{name: f"m.{name}" for name in ("r2", "bad", "far", "loss", "test.rows")},
        "hits@10": "m.hits_10",
    }
    assert list(found["loss"]) == [("m.loss", 2.0, 0, TIME), ("m.loss", 1.0, 1, TIME)]
    assert math.isnan(found["bad"].values[0])
    assert found["far"].values[0] == -math.inf


@pytest.mark.parametrize("value", ['"a"', "true", "null", "[1, null]", "[[1]]", '{"b": "c"}'])
def test_what_is_no_number(value):
    """It is refused by name, or left out if that is asked for."""
    text = f'{{"r2": 0.5, "odd": {value}}}'
    with pytest.raises(InvalidMetricsError, match=r"^metric 'odd.*: got .*; accepted: a number; --numbers leaves out"):
        tracked(text, VERSION, "m.")
    assert list(tracked(text, VERSION, "m.", numbers=True)) == ["r2"]


@pytest.mark.parametrize(
    ("text", "version", "message"),
    [
        ('{"a@b": 1, "a_b": 2}', VERSION, "metric 'a_b': MLflow does not tell it from 'a@b', both are 'm.a_b'"),
        ('{"a.b": 1, "a": {"b": 2}}', VERSION, "metric 'a.b': MLflow does not tell it from 'a.b', both are 'm.a.b'"),
        ('{"": 1}', VERSION, "a metric has the empty name ''"),
        ("{}", "2026-13-24T22.03.15.123Z", "version '2026-13-24T22.03.15.123Z': it is no time"),
        ('{"a": 1' + 400 * "0" + "}", VERSION, "metric 'a', position 0: the number is too large for a 64-bit float"),
        (5000 * '{"a":' + "1" + 5000 * "}", VERSION, "the file: "),
    ],
)
def test_a_version_that_is_refused(text, version, message):
    """One line says why."""
    with pytest.raises(InvalidMetricsError) as error:
        tracked(text, version, "m.")
    assert str(error.value).startswith(message)
