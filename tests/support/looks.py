"""Runs as they look after MLflow was asked, made up: nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping

from kedro_mlflow_metrics.delivery.read import Snapshot
from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.journal.folder import Journal, Record
from kedro_mlflow_metrics.points.curves import MetricPoint
from kedro_mlflow_metrics.tracking.address import Server

NOW = 1_800_000_000_000
NOWHERE = Target(Server("sqlite:///nowhere.db"), Journal(), Record("sqlite:///nowhere.db"))
MINUTE = 60_000


def run(number: int, metrics: Mapping[str, float], name: str | None = None, status: str = "FINISHED") -> Snapshot:
    """Return the run that began so many minutes ago, and took 61 seconds."""
    start = NOW - number * MINUTE
    latest = {key: MetricPoint(key, value, 0, start) for key, value in metrics.items()}
    title = f"train 2027-01-15 07:{number % 60:02}:00" if name is None else name
    end = 0 if status == "RUNNING" else start + 61_000
    return Snapshot(NOWHERE, f"{number:08x}{'0' * 24}", title, status, start, end, latest)
