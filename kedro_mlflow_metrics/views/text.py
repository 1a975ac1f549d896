"""The metrics of a run in another form: KFP's two, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_mlflow_metrics.delivery import read as reading
from kedro_mlflow_metrics.errors import InvalidMetricsError
from kedro_mlflow_metrics.kubeflow import v1 as kubeflow
from kedro_mlflow_metrics.kubeflow.metrics_file import write_aside
from kedro_mlflow_metrics.points.forms import json_value, unclamped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kedro_mlflow_metrics.points.curves import MetricPoint
    from kedro_mlflow_metrics.tracking.runs import Target

__all__ = ["Written", "leave_to_executor", "written"]


class Written(NamedTuple):
    """The metrics of a run as text.

    Attributes:
        text: What a file would hold.
        names: Per MLflow key the name that stands there, where the form has names of its own.
    """

    text: str
    names: Mapping[str, str]


def written(target: Target, only: Sequence[str], form: str, options: Mapping[str, Any]) -> Written:
    """Read the metrics of a run and write them in a form.

    Args:
        target: The run.
        only: Globs of the keys that are wanted; none for all.
        form: ``json`` or ``csv`` with all points; ``kubeflow-v1`` or ``kubeflow-v2`` with each one's last finite value.
        options: For ``kubeflow-v1``, see `kubeflow.Options`.

    Raises:
        TrackingError: MLflow refused, or does not answer.
        SettingsError: An option that is not accepted.
    """
    if form == "json":
        return Written(_as_json(target.run.run_id, _histories(target, only)), {})
    if form == "csv":
        return Written(_as_csv(_histories(target, only)), {})
    points = _last_points(target, only)
    if form == "kubeflow-v2":
        return Written(json.dumps(kubeflow.metadata(points), indent=1) + "\n", {})
    made = kubeflow.told_document(points, kubeflow.read_options(options, form))
    return Written(made.text, made.names)


def _histories(target: Target, only: Sequence[str]) -> dict[str, list[MetricPoint]]:
    """Return all points of a run by key, in the order of step and timestamp."""
    found = reading.load(target.server, target.record, lambda key: _wanted(key, only))
    return {key: sorted(points, key=lambda point: (point.step, point.timestamp)) for key, points in found}


def _last_points(target: Target, only: Sequence[str]) -> dict[str, MetricPoint | None]:
    """Return the last finite point of each key, None where there is none.

    MLflow gives the latest points in one request; only where such a one is not finite the history is asked for.
    """
    server, record = target.server, target.record
    found = _finite(reading.load(server, record, lambda key: _wanted(key, only), last=True))
    missing = {key for key, point in found.items() if point is None}
    if missing:
        found |= _finite(reading.load(server, record, missing.__contains__))
    return found


def _wanted(key: str, only: Sequence[str]) -> bool:
    return not only or any(fnmatchcase(key, glob) for glob in only)


def _finite(found: Iterable[tuple[str, Iterable[MetricPoint]]]) -> dict[str, MetricPoint | None]:
    return {key: kubeflow.last_finite(points) for key, points in found}


def _as_json(run_id: str, points: Mapping[str, Sequence[MetricPoint]]) -> str:
    """Return strict JSON: the run's id, and per key a list of ``{"value", "step", "timestamp"}``.

    What JSON has no number for is text, as in MLflow's own: "NaN", "Infinity", "-Infinity".
    """
    metrics = {
        key: [
            {"value": json_value(unclamped(point.value)), "step": point.step, "timestamp": point.timestamp}
            for point in history
        ]
        for key, history in points.items()
    }
    return json.dumps({"run_id": run_id, "metrics": metrics}, allow_nan=False, indent=1) + "\n"


def _as_csv(points: Mapping[str, Sequence[MetricPoint]]) -> str:
    """Return a line per point under the heading ``key,step,timestamp,value``."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("key", "step", "timestamp", "value"))
    for key, history in points.items():
        lines.writerows((key, point.step, point.timestamp, unclamped(point.value)) for point in history)
    return text.getvalue()


def leave_to_executor(target: Target, only: Sequence[str], given: str, output: str | None) -> Path:
    """Merge the metrics of a run into the file that a v2 task leaves to its executor; return its path.

    Args:
        target: The run.
        only: Globs of the keys that are wanted; none for all.
        given: The executor's input, as Kubeflow puts it for ``{{$}}``, or the path of a file with it.
        output: Name of the output artifact; None if the task has only one of type ``system.Metrics``.

    Raises:
        TrackingError: MLflow refused, or does not answer.
        InvalidMetricsError: The input is not what Kubeflow gives, or the file holds something else.
    """
    asked = _object(given if given.lstrip().startswith("{") else Path(given).read_bytes(), "--executor-input")
    outputs = asked.get("outputs")
    path = outputs.get("outputFile") if isinstance(outputs, dict) else None
    if not isinstance(path, str):
        raise InvalidMetricsError("--executor-input names no outputs.outputFile; pass what Kubeflow puts for {{$}}")
    file = Path(path)
    known = _object(file.read_bytes(), str(file)) if file.exists() and file.stat().st_size else {}
    merged = kubeflow.executor_output(known, asked, output, kubeflow.metadata(_last_points(target, only)))
    try:
        text = json.dumps(merged, allow_nan=False)
    except ValueError as exc:
        raise InvalidMetricsError(f"{file} is no JSON that Kubeflow takes: {exc}") from None
    write_aside(file, text)
    return file


def _object(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as exc:
        raise InvalidMetricsError(f"{where} is no JSON: {exc}") from None
    if not isinstance(data, dict):
        raise InvalidMetricsError(f"{where} is no JSON object")
    return data
