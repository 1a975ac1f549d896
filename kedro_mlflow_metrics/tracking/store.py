"""What a store of MLflow must offer, and what its answers mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from kedro_mlflow_metrics.errors import TrackingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kedro_mlflow_metrics.points.curves import Curve, MetricPoint

__all__ = [
    "NEWEST_FIRST",
    "OLDEST_FIRST",
    "Experiment",
    "Found",
    "RunInfo",
    "Store",
    "error_code",
    "quoted",
    "to_run_info",
]

OLDEST_FIRST, NEWEST_FIRST = "attributes.start_time ASC", "attributes.start_time DESC"


class RunInfo(NamedTuple):
    """What MLflow says of a run, under MLflow's own names; times are milliseconds since the epoch."""

    run_id: str
    experiment_id: str = ""
    run_name: str = ""
    status: str = ""
    start_time: int = 0
    artifact_uri: str = ""
    user_id: str = ""
    lifecycle_stage: str = ""
    end_time: int = 0
    tags: Mapping[str, str] = {}


class Experiment(NamedTuple):
    """What MLflow says of an experiment."""

    experiment_id: str
    lifecycle_stage: str
    tags: Mapping[str, str]


Found = list[tuple[RunInfo, list["MetricPoint"]]]
"""Runs, each with the latest point of each of its metrics."""


class Store(Protocol):
    """The requests. Each raises `TrackingError` with one line when refused or unanswered."""

    at_a_time: int  # how many requests that read are best made at once

    def experiment(self, name: str) -> Experiment | None:
        """Return an experiment, also a deleted one; None if there is none."""

    def create_experiment(self, name: str, tags: Mapping[str, str] | None = None) -> str:
        """Create an experiment and return its id."""

    def delete_experiment(self, experiment_id: str) -> None:
        """Mark an experiment as deleted."""

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str], start_time: int) -> RunInfo:
        """Create a run that is RUNNING."""

    def get_run(self, run_id: str) -> tuple[RunInfo, list[MetricPoint]]:
        """Return a run and the latest point of each of its metrics."""

    def described(self, run_id: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return tags and parameters of a run."""

    def search(self, experiment_id: str, where: str, order: str, most: int = 10, *, deleted: bool = False) -> Found:
        """Return the first runs that MLflow's expression ``where`` chooses, deleted ones too if asked."""

    def delete_run(self, run_id: str) -> None:
        """Mark a run as deleted."""

    def end_run(self, run_id: str, status: str, end_time: int) -> None:
        """Set status and end time."""

    def resume_run(self, run_id: str) -> None:
        """Set the status to RUNNING."""

    def set_tag(self, run_id: str, tag: str, text: str) -> None:
        """Set a tag of a run."""

    def log_batch(self, run_id: str, batch: Sequence[Curve]) -> None:
        """Write at most 1,000 points."""

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Write at most 100 parameters; one that has this value already is no error."""

    def history(self, run_id: str, key: str) -> Curve:
        """Return all points of a metric, in no order."""


def quoted(text: str) -> str:
    """Return a text as MLflow's expressions have it; empty if it holds both kinds of quotes, which none can."""
    return next((f"{quote}{text}{quote}" for quote in ("'", '"') if quote not in text), "")


# SQLite; PostgreSQL and SQL Server; MySQL since 8.0.19; MySQL before, which does not name the table.
_SAME_POINT = re.compile(
    r"UNIQUE constraint failed: metrics\."
    r"|\bmetric_pk\b"
    r"|for key 'metrics\.PRIMARY'"
    r"|for key 'PRIMARY'.*INSERT INTO metrics\b",
    re.DOTALL,
)
_UNIQUE = re.compile("unique|duplicate", re.IGNORECASE)


def error_code(code: str, text: str) -> str:
    """Return MLflow's error code, but say more precisely what failed where it only says that its database did.

    MLflow answers BAD_REQUEST for whatever its database raises, an exhausted pool of connections too. That is an
    outage, as is a unique key that another process took first. Two things will not change by trying again: a point
    that is stored already, and a constraint that the points violate.
    """
    if code != "BAD_REQUEST":
        return code
    if _SAME_POINT.search(text):
        return TrackingError.ALREADY_THERE
    return code if "constraint" in text.lower() and not _UNIQUE.search(text) else ""


def to_run_info(data: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> RunInfo:
    """Read a run as MLflow's JSON or entity gives it."""
    return RunInfo(
        run_id=data["run_id"],
        experiment_id=str(data["experiment_id"]),
        run_name=data.get("run_name") or "",
        status=str(data["status"]),
        start_time=int(data.get("start_time") or 0),
        artifact_uri=data.get("artifact_uri") or "",
        user_id=data.get("user_id") or "unknown",
        lifecycle_stage=data.get("lifecycle_stage") or "active",
        end_time=int(data.get("end_time") or 0),
        tags=tags or {},
    )
