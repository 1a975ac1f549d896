"""The points of a run as text for other programs: JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.points.forms import json_value, unclamped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kedro_mlflow_metrics.points.curves import MetricPoint

__all__ = ["as_csv", "as_json", "in_order"]


def in_order(histories: Iterable[tuple[str, Iterable[MetricPoint]]]) -> dict[str, list[MetricPoint]]:
    """Return all points by key, in the order of step and timestamp."""
    return {key: sorted(points, key=lambda point: (point.step, point.timestamp)) for key, points in histories}


def as_json(run_id: str, points: Mapping[str, Sequence[MetricPoint]]) -> str:
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


def as_csv(points: Mapping[str, Sequence[MetricPoint]]) -> str:
    """Return a line per point under the heading ``key,step,timestamp,value``."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("key", "step", "timestamp", "value"))
    for key, history in points.items():
        lines.writerows((key, point.step, point.timestamp, unclamped(point.value)) for point in history)
    return text.getvalue()
