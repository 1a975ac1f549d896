"""An address of MLflow, what a store there must offer, and the words that all stores share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.points.curves import MetricPoint, Points

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "NEWEST_FIRST",
    "OLDEST_FIRST",
    "Delivery",
    "RunInfo",
    "Server",
    "Store",
    "error_code",
    "one_line",
    "safe_uri",
    "tag_filter",
    "to_point",
    "to_run_info",
]


class RunInfo(NamedTuple):
    """What MLflow says of a run, under MLflow's own names; times are milliseconds since the epoch."""

    run_id: str
    experiment_id: str
    run_name: str
    status: str
    start_time: int
    artifact_uri: str
    user_id: str
    lifecycle_stage: str


OLDEST_FIRST, NEWEST_FIRST = "attributes.start_time ASC", "attributes.start_time DESC"


@dataclass(frozen=True)
class Delivery:
    """What happens to points that MLflow does not take at once.

    Attributes:
        root: The project's root; without a project the current folder.
        path: The journal's folder, taken from the root.
        max_bytes: How much all files of the journal may hold.
        fail: Whether a failed sending raises instead.
        env: The Kedro environment.
    """

    root: str = ""
    path: str = ".kedro_mlflow_metrics"
    max_bytes: int = 2**30
    fail: bool = False
    env: str = ""

    @property
    def folder(self) -> Path:
        """The journal's folder."""
        return Path(self.root or Path.cwd(), self.path)

    @property
    def sync(self) -> str:
        """The command that sends what is left in it."""
        return f"kedro metrics sync --env {self.env}" if self.env not in ("", "local") else "kedro metrics sync"


@dataclass(frozen=True)
class Server:
    """An address of MLflow, and how to talk to it.

    Attributes:
        uri: A tracking URI, with whatever user name and password it carries.
        timeout: Seconds for one request over http(s).
        variables: MLflow's environment variables for credentials. They do not travel to other processes,
            which inherit the environment or have one of their own.
        delivery: What happens to points that it does not take at once.
    """

    uri: str
    timeout: float = 10.0
    variables: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    delivery: Delivery = field(default=Delivery(), compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the credentials behind."""
        return {**self.__dict__, "variables": {}}

    @property
    def repeatable(self) -> bool:
        """Whether the same points sent twice are there once; MLflow's folder store doubles them."""
        folder = "://" not in self.uri and not self.uri.startswith(("databricks", "uc"))
        return not folder and not self.uri.startswith("file:")


class Store(Protocol):
    """The requests. Each raises `TrackingError` with one line when refused or unanswered.

    Attributes:
        at_a_time: How many requests that read are best made at once.
    """

    at_a_time: int

    def experiment(self, name: str) -> tuple[str, str] | None:
        """Return id and lifecycle stage of an experiment, None if there is none."""

    def create_experiment(self, name: str) -> str:
        """Create an experiment and return its id."""

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str], start_time: int) -> RunInfo:
        """Create a run that is RUNNING."""

    def get_run(self, run_id: str) -> tuple[RunInfo, list[MetricPoint]]:
        """Return a run and the latest point of each of its metrics."""

    def find_runs(self, experiment_id: str, tag: str, value: str, *, deleted: bool = False) -> list[RunInfo]:
        """Return the runs with a tag, the oldest first; deleted ones too if asked."""

    def newest_run(self, experiment_id: str) -> RunInfo | None:
        """Return the run that was started last, None if there is none."""

    def delete_run(self, run_id: str) -> None:
        """Mark a run as deleted."""

    def end_run(self, run_id: str, status: str, end_time: int) -> None:
        """Set status and end time."""

    def log_batch(self, run_id: str, batch: Sequence[Points]) -> None:
        """Write at most 1,000 points."""

    def history(self, run_id: str, key: str) -> list[MetricPoint]:
        """Return all points of a metric."""


def safe_uri(uri: str) -> str:
    """Return an address without user name, password, query and fragment."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "an address that cannot be read"
    if parts.scheme and "://" in uri and not parts.netloc and not parts.scheme.startswith(("sqlite", "file")):
        return uri.partition("?")[0]  # a database on a socket, or with its host in the query
    if not parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def one_line(text: str, server: Server) -> str:
    """Shorten a foreign message to one line without passwords."""
    text = text.replace(server.uri, safe_uri(server.uri))
    secrets = [urlsplit(server.uri).password, *server.variables.values()]
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else text)[:300].replace("[", "(").replace("]", ")").rstrip(".")


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


def tag_filter(tag: str, value: str) -> str:
    """Return MLflow's search expression for a tag."""
    return f"tags.`{tag}` = '{value}'"


def to_point(data: Mapping[str, Any]) -> MetricPoint:
    """Read a point as MLflow's JSON or entity gives it."""
    return MetricPoint(data["key"], float(data["value"]), int(data.get("step") or 0), int(data["timestamp"]))


def to_run_info(data: Mapping[str, Any]) -> RunInfo:
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
    )
