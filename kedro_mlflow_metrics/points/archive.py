"""A run as files hold it: what ``export --format json`` has written, or what Kedro's tracking datasets have left."""

from __future__ import annotations

import json
import re
from array import array
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_mlflow_metrics.errors import did_you_mean
from kedro_mlflow_metrics.points.curves import Curve
from kedro_mlflow_metrics.points.forms import in_order
from kedro_mlflow_metrics.points.names import logged_as
from kedro_mlflow_metrics.points.values import fail, integer_of, number_of, numbers_of, shown, timestamp_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Archived", "exported", "is_version", "of_version", "tracked"]

_ENDED = ("FINISHED", "FAILED", "KILLED")
_FIELDS = ("run_id", "name", "status", "start_time", "end_time", "tags", "params", "metrics")
_SPELT = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_TOO_DEEP = "its groups stand too deep in each other"
_VERSION = re.compile(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{1,6}Z")


class Archived(NamedTuple):
    """A run to be made in MLflow."""

    ident: str  # the run that was exported, or Kedro's version
    name: str
    status: str
    start_time: int  # milliseconds since the epoch
    end_time: int  # the same
    tags: Mapping[str, str]
    params: Mapping[str, str]
    curves: Sequence[Curve]  # one per key, the latest point last


def exported(text: str | bytes) -> Archived:
    """Read a file of ``export --format json``. Raises `InvalidMetricsError` for whatever ``export`` does not write."""
    data = _object(text)
    for field in data:
        if field not in _FIELDS:
            hint = did_you_mean(field, _FIELDS)
            fail("the file", f"'kedro metrics export --format json' writes no field {field!r}{hint and '; '}{hint}")
    for field in _FIELDS:
        if field not in data:
            fail("the file", f"'kedro metrics export --format json' did not write it: there is no field {field!r}")
    run_id, name, status = (_text(field, data[field]) for field in _FIELDS[:3])
    if not re.fullmatch(r"[\w.-]+", run_id):
        fail("'run_id'", f"got {shown(run_id)}; accepted: the id of a run")
    if status not in _ENDED:
        known = ", ".join(_ENDED)
        fail("'status'", f"it is {status} and not one of {known}: export the run again when it has ended")
    start_time = timestamp_of("'start_time'", data["start_time"])
    end_time = timestamp_of("'end_time'", data["end_time"])
    tags, params = ({key: _text(key, value) for key, value in _group(kind, data[kind])} for kind in ("tags", "params"))
    curves = [_curve(key, points) for key, points in _group("metrics", data["metrics"])]
    return Archived(run_id, name, status, start_time, end_time, tags, params, list(filter(len, curves)))


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as exc:
        fail("the file", f"it is no JSON, or only a part: line {exc.lineno}, column {exc.colno}: {exc.msg}", exc)
    except ValueError as exc:  # not UTF-8
        fail("the file", f"it is no JSON: {exc}", exc)
    except RecursionError:
        fail("the file", _TOO_DEEP)
    if not isinstance(data, dict):
        fail("the file", f"it holds {shown(data)}; accepted: an object")
    return data


def _text(where: str, value: object) -> str:
    if not isinstance(value, str):
        fail(f"{where!r}", f"got {shown(value)}; accepted: text")
    return value


def _group(field: str, value: object) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        fail(f"{field!r}", f"got {shown(value)}; accepted: an object")
    yield from value.items()


def _curve(key: str, points: object) -> Curve:
    """Read the points of a metric."""
    where = f"metric {key!r}"
    logged_as(key, exact=True)
    if not isinstance(points, list):
        fail(where, f"got {shown(points)}; accepted: a list of points")
    values, steps, timestamps = array("d"), array("q"), array("q")
    for position, point in enumerate(points):
        here = f"{where}, position {position}"
        if not isinstance(point, dict) or point.keys() != {"value", "step", "timestamp"}:
            fail(here, "a point has a value, a step and a timestamp, and nothing else")
        value = point["value"]
        number = _SPELT.get(value, value) if isinstance(value, str) else value
        if type(number) not in (int, float):
            fail(here, f'got {shown(value)}; accepted: a number, "NaN", "Infinity" or "-Infinity"')
        values.append(number_of(here, number))
        steps.append(integer_of("step", here, point["step"]))
        timestamps.append(timestamp_of(here, point["timestamp"]))
    return in_order(Curve(key, values, steps, timestamps))


def is_version(name: str) -> bool:
    """Tell whether a folder is called as Kedro calls the versions of a dataset: by their time."""
    return _VERSION.fullmatch(name) is not None


def of_version(version: str, curves: Sequence[Curve]) -> Archived:
    """Return what the datasets of one version are as a run."""
    time = _time_of(version)
    return Archived(version, version, "FINISHED", time, time, {"kedro.run_id": version}, {}, curves)


def _time_of(version: str) -> int:
    """Return the time of a version, in milliseconds since the epoch."""
    try:
        moment = datetime.strptime(version, "%Y-%m-%dT%H.%M.%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        fail(f"version {version!r}", "it is no time")
    return timestamp_of(f"version {version!r}", moment)


def tracked(text: str | bytes, version: str, prefix: str, *, numbers: bool = False) -> dict[str, Curve]:
    """Read a file of ``tracking.MetricsDataset``, or what is numbers in one of ``tracking.JSONDataset``.

    Args:
        text: Its content.
        version: Its version, whose time all its points get.
        prefix: What stands before each name, separator included.
        numbers: Whether what is no number is left out instead of refused.

    Returns:
        By the name in the file, the curve under the key that MLflow takes for it.
    """
    time = _time_of(version)
    found: dict[str, Curve] = {}
    names: dict[str, str] = {}
    try:
        leaves = list(_leaves(_object(text), "", numbers=numbers))
    except RecursionError:
        fail("the file", _TOO_DEEP)
    for name, values in leaves:
        key = prefix + logged_as(name, prefix)
        if names.setdefault(key, name) != name or name in found:
            fail(f"metric {name!r}", f"MLflow does not tell it from {names[key]!r}, both are {key!r}")
        found[name] = Curve(key, values, range(len(values)), [time] * len(values))
    return found


def _leaves(data: Mapping[str, Any], outer: str, *, numbers: bool) -> Iterator[tuple[str, Sequence[float]]]:
    """Yield the metrics, groups flattened with ``.``."""
    for inner, value in data.items():
        name = outer + inner
        if isinstance(value, dict):
            yield from _leaves(value, f"{name}.", numbers=numbers)
            continue
        items = value if isinstance(value, list) else [value]
        strange = [item for item in items if type(item) not in (int, float)]
        if not strange and items:
            yield name, numbers_of(f"metric {name!r}", items)
        elif strange and not numbers:
            fail(f"metric {name!r}", f"got {shown(strange[0])}; accepted: a number; --numbers leaves out what is none")
