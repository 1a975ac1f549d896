"""What is shown, as text for other programs: JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.points.forms import json_value, unclamped
from kedro_mlflow_metrics.views.tables import Best

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kedro_mlflow_metrics.delivery.read import Snapshot
    from kedro_mlflow_metrics.points.curves import MetricPoint
    from kedro_mlflow_metrics.points.series import Summary
    from kedro_mlflow_metrics.views.comparison import Comparison
    from kedro_mlflow_metrics.views.drawing import Drawing
    from kedro_mlflow_metrics.views.tables import Table

__all__ = ["as_csv", "as_json", "compared", "drawn", "fenced", "in_order", "listed", "markdown", "strict", "summed_up"]

_SUMMARY = ("first", "last", "last_step", "min", "min_step", "max", "max_step", "count")


def in_order(histories: Iterable[tuple[str, Iterable[MetricPoint]]]) -> dict[str, list[MetricPoint]]:
    """Return all points by key, in the order of step and timestamp."""
    return {key: sorted(points, key=lambda point: (point.step, point.timestamp)) for key, points in histories}


def as_json(
    run: Snapshot, ident: str, labels: Sequence[Mapping[str, str]], points: Mapping[str, Sequence[MetricPoint]]
) -> str:
    """Return strict JSON of a whole run, from which `points.archive.exported` reads the same.

    What JSON has no number for is text, as in MLflow's own: "NaN", "Infinity", "-Infinity".

    Args:
        run: The run.
        ident: The id by which an import knows it again.
        labels: Its tags and its parameters.
        points: All points by key.
    """
    tags, params = (dict(sorted(label.items())) for label in labels)
    metrics = {
        key: [
            {"value": json_value(unclamped(point.value)), "step": point.step, "timestamp": point.timestamp}
            for point in history
        ]
        for key, history in points.items()
    }
    times = {"start_time": run.start_time, "end_time": run.end_time or None}
    about = {"run_id": ident, "name": run.name, "status": run.status, **times, "tags": tags, "params": params}
    return strict({**about, "metrics": metrics})


def strict(data: object) -> str:
    """Return JSON as its standard has it."""
    return json.dumps(data, allow_nan=False, indent=1) + "\n"


def listed(runs: Iterable[Snapshot]) -> list[object]:
    """Return runs as `strict` writes them, each with the latest value of its metrics; times in milliseconds."""
    return [
        {
            "run_id": run.run_id,
            "name": run.name,
            "status": run.status,
            "start_time": run.start_time,
            "end_time": run.end_time or None,
            "metrics": {key: json_value(value) for key, value in run.metrics.items()},
        }
        for run in runs
    ]


def summed_up(run: Snapshot, metrics: Mapping[str, Summary]) -> dict[str, object]:
    """Return a run and what there is to say of its metrics."""
    found = {key: {name: _json(getattr(each, name)) for name in _SUMMARY} for key, each in metrics.items()}
    return {"run_id": run.run_id, "name": run.name, "status": run.status, "metrics": found}


def compared(comparison: Comparison) -> dict[str, object]:
    """Return runs beside each other, null where a run does not have a metric."""
    metrics = {key: list(map(_json, values)) for key, values in comparison.metrics.items()}
    return {"runs": [run.run_id for run in comparison.runs], "metrics": metrics}


def drawn(runs: Iterable[Snapshot], drawings: Iterable[Drawing]) -> dict[str, object]:
    """Return what is drawn: by key, per run that has it, its steps and values."""
    metrics = {
        drawing.key: [
            {"run": label, "steps": list(line.steps), "values": list(line.values), "count": line.count}
            for label, line in drawing.lines
        ]
        for drawing in drawings
    }
    return {"runs": [run.run_id for run in runs], "metrics": metrics}


def fenced(rows: Iterable[object]) -> str:
    """Return rows of characters as Markdown shows them."""
    return "".join(f"{row}\n" for row in ("```text", *rows, "```"))


def _json(value: float | None) -> float | str | None:
    return None if value is None else json_value(value)


def markdown(table: Table) -> str:
    """Return a table for a pull request; the best of a row is bold."""
    rows = [table.heads, ["---" if at < table.left else "---:" for at in range(len(table.heads))]]
    rows += [[f"**{_safe(cell)}**" if isinstance(cell, Best) else _safe(cell) for cell in row] for row in table.rows]
    title = f"**{_safe(table.title)}**\n\n" if table.title else ""
    return title + "".join(f"| {' | '.join(map(_safe, row) if row is table.heads else row)} |\n" for row in rows)


def _safe(cell: str) -> str:
    """Keep a cell from being read as Markdown."""
    return re.sub(r"([\\|*_<`\[])", r"\\\1", cell)


def as_csv(points: Mapping[str, Sequence[MetricPoint]]) -> str:
    """Return a line per point under the heading ``key,step,timestamp,value``."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("key", "step", "timestamp", "value"))
    for key, history in points.items():
        lines.writerows((key, point.step, point.timestamp, unclamped(point.value)) for point in history)
    return text.getvalue()
