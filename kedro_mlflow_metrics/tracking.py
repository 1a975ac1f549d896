"""MLflow as a store of runs and points: every request that this package makes stands here."""

from __future__ import annotations

import math
import re
import socket
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

from kedro_mlflow_metrics.environment import lent
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.points import MetricPoint, Points

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["RunInfo", "Server", "Store", "safe_uri"]

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONNECT_SECONDS = 3.0
_PAGE = 25_000


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


@dataclass(frozen=True)
class Server:
    """An address of MLflow, and how to talk to it.

    Attributes:
        uri: A tracking URI, with whatever user name and password it carries.
        timeout: Seconds for one request over http(s).
        variables: MLflow's environment variables for credentials. They do not travel to other processes,
            which inherit the environment or have one of their own.
    """

    uri: str
    timeout: float = 10.0
    variables: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the credentials behind."""
        return {"uri": self.uri, "timeout": self.timeout, "variables": {}}

    def store(self, *, retries: int = 3) -> Store:
        """Return what talks to this address.

        Args:
            retries: How often a request over http(s) is repeated when nobody answers.

        Raises:
            TrackingError: The address can never work, or nobody answers there.
        """
        if self.uri.startswith(("http://", "https://")):
            return _RestStore(self, retries)
        return _ClientStore(self)


class Store(Protocol):
    """The requests. Each raises `TrackingError` with one line when refused or unanswered."""

    def experiment(self, name: str) -> tuple[str, str] | None:
        """Return id and lifecycle stage of an experiment, None if there is none."""

    def create_experiment(self, name: str) -> str:
        """Create an experiment and return its id."""

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str], start_time: int) -> RunInfo:
        """Create a run that is RUNNING."""

    def get_run(self, run_id: str) -> tuple[RunInfo, list[MetricPoint]]:
        """Return a run and the latest point of each of its metrics."""

    def find_runs(self, experiment_id: str, tag: str, value: str) -> list[RunInfo]:
        """Return the runs with a tag, the oldest first."""

    def end_run(self, run_id: str, status: str, end_time: int) -> None:
        """Set status and end time."""

    def log_batch(self, run_id: str, batch: Sequence[Points]) -> None:
        """Write at most 1,000 points."""

    def history(self, run_id: str, key: str) -> list[MetricPoint]:
        """Return all points of a metric."""


def safe_uri(uri: str) -> str:
    """Return an address without user name, password and query."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc and not (parts.netloc and parts.query):
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


class _RestStore:
    """MLflow's REST API, with MLflow's own credentials but bounded time, which its client does not offer."""

    def __init__(self, server: Server, retries: int) -> None:
        self._server, self._retries = server, retries

    def experiment(self, name: str) -> tuple[str, str] | None:
        try:
            found = self._ask("GET", "experiments/get-by-name", params={"experiment_name": name})["experiment"]
        except TrackingError as exc:
            if exc.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return found["experiment_id"], found["lifecycle_stage"]

    def create_experiment(self, name: str) -> str:
        return str(self._ask("POST", "experiments/create", json={"name": name})["experiment_id"])

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str], start_time: int) -> RunInfo:
        body = {
            "experiment_id": experiment_id,
            "run_name": name,
            "start_time": start_time,
            "user_id": tags.get("mlflow.user", "unknown"),
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        return _info(self._ask("POST", "runs/create", json=body)["run"]["info"])

    def get_run(self, run_id: str) -> tuple[RunInfo, list[MetricPoint]]:
        run = self._ask("GET", "runs/get", params={"run_id": run_id})["run"]
        return _info(run["info"]), [_metric(m) for m in run.get("data", {}).get("metrics", ())]

    def find_runs(self, experiment_id: str, tag: str, value: str) -> list[RunInfo]:
        body = {
            "experiment_ids": [experiment_id],
            "filter": _tag_filter(tag, value),
            "order_by": ["attributes.start_time ASC"],
            "max_results": 10,
        }
        return [_info(run["info"]) for run in self._ask("POST", "runs/search", json=body).get("runs", ())]

    def end_run(self, run_id: str, status: str, end_time: int) -> None:
        self._ask("POST", "runs/update", json={"run_id": run_id, "status": status, "end_time": end_time})

    def log_batch(self, run_id: str, batch: Sequence[Points]) -> None:
        metrics = [
            {"key": key, "value": _json_number(value), "timestamp": timestamp, "step": step}
            for points in batch
            for key, value, step, timestamp in points
        ]
        self._ask("POST", "runs/log-batch", json={"run_id": run_id, "metrics": metrics})

    def history(self, run_id: str, key: str) -> list[MetricPoint]:
        points: list[MetricPoint] = []
        query = {"run_id": run_id, "metric_key": key, "max_results": str(_PAGE)}
        while True:
            page = self._ask("GET", "metrics/get-history", params=query)
            points += map(_metric, page.get("metrics", ()))
            if not page.get("next_page_token"):
                return points
            query["page_token"] = page["next_page_token"]

    def _ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Make one request and return the JSON object of its answer."""
        from mlflow.exceptions import MlflowException
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        with lent(self._server.variables):
            try:
                answer = http_request(
                    get_default_host_creds(self._server.uri),
                    f"/api/2.0/mlflow/{path}",
                    method,
                    max_retries=self._retries,
                    backoff_factor=0.5,
                    raise_on_status=False,
                    timeout=self._server.timeout,
                    **body,
                )
            except MlflowException as exc:
                raise self._unreachable(exc) from exc
        return self._read(answer)

    def _read(self, answer: Any) -> dict[str, Any]:  # noqa: ANN401 - requests.Response
        """Tell a success from a refusal and from an answer that is not MLflow's."""
        where = f"MLflow at {safe_uri(self._server.uri)}"
        try:
            data = answer.json()
        except ValueError:
            data = None
        if answer.status_code == 200 and isinstance(data, dict):  # noqa: PLR2004 - HTTP
            return data
        if answer.status_code in (401, 403):
            raise TrackingError(
                f"{where} refused the credentials (HTTP {answer.status_code}); set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN, or 'credentials' in kedro_mlflow_metrics.yml",
                "PERMISSION_DENIED",
            )
        if isinstance(data, dict) and "error_code" in data:
            text = _one_line(str(data.get("message", "")), self._server)
            raise TrackingError(f"{where} refused: {text}", str(data["error_code"]))
        raise TrackingError(
            f"{where} gave no answer of MLflow's (HTTP {answer.status_code}); is it the address of a tracking server?"
        )

    def _unreachable(self, error: Exception) -> TrackingError:
        text = str(error)
        found = re.search(r"\[Errno -?\d+\] ([\w ,]+)", text)
        if "timed out" in text.lower() or "timeout" in text.lower():
            reason = f"no answer within {self._server.timeout:g} s"
        elif found:
            reason = found.group(1).strip()
        else:
            reason = _one_line(text, self._server)
        return TrackingError(
            f"MLflow at {safe_uri(self._server.uri)} cannot be reached: {reason}; start the server or correct "
            "tracking_uri in kedro_mlflow_metrics.yml or MLFLOW_TRACKING_URI"
        )


class _ClientStore:
    """Any other address, by MLflow's own client: databases and folders in this process, Databricks, plugins."""

    def __init__(self, server: Server) -> None:
        self._server = server
        _probe(server)
        with self._refusals():
            from mlflow import MlflowClient

            self._client = MlflowClient(server.uri)

    def experiment(self, name: str) -> tuple[str, str] | None:
        with self._refusals():
            found = self._client.get_experiment_by_name(name)
        return None if found is None else (found.experiment_id, found.lifecycle_stage)

    def create_experiment(self, name: str) -> str:
        with self._refusals():
            return str(self._client.create_experiment(name, artifact_location=self._artifacts()))

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str], start_time: int) -> RunInfo:
        with self._refusals():
            run = self._client.create_run(experiment_id, start_time=start_time, tags=dict(tags), run_name=name)
        return _info(dict(run.info))

    def get_run(self, run_id: str) -> tuple[RunInfo, list[MetricPoint]]:
        with self._refusals():
            run = self._client.get_run(run_id)
        return _info(dict(run.info)), [_metric(dict(metric)) for metric in run.data._metric_objs]  # noqa: SLF001

    def find_runs(self, experiment_id: str, tag: str, value: str) -> list[RunInfo]:
        with self._refusals():
            runs = self._client.search_runs(
                [experiment_id],
                _tag_filter(tag, value),
                order_by=["attributes.start_time ASC"],
                max_results=10,
            )
        return [_info(dict(run.info)) for run in runs]

    def end_run(self, run_id: str, status: str, end_time: int) -> None:
        with self._refusals():
            self._client.set_terminated(run_id, status, end_time)

    def log_batch(self, run_id: str, batch: Sequence[Points]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(p.key, p.value, p.timestamp, p.step) for points in batch for p in points]
        with self._refusals():
            self._client.log_batch(run_id, metrics)

    def history(self, run_id: str, key: str) -> list[MetricPoint]:
        with self._refusals():
            return [_metric(dict(metric)) for metric in self._client.get_metric_history(run_id, key)]

    def _artifacts(self) -> str | None:
        """Keep the artifacts of a local store beside it, not in whatever folder is current."""
        path = _sqlite_path(self._server.uri)
        return None if path is None else (path.parent / "mlruns").as_uri()

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Turn whatever MLflow or the database raises into one line."""
        with lent(self._server.variables):
            try:
                yield
            except Exception as exc:
                code = str(getattr(exc, "error_code", ""))
                text = _one_line(str(exc) or type(exc).__name__, self._server)
                raise TrackingError(f"MLflow at {safe_uri(self._server.uri)} refused: {text}", code) from exc


def _probe(server: Server) -> None:
    """Look for half a second whether an address can work, where MLflow itself would try for minutes."""
    where = f"MLflow at {safe_uri(server.uri)}"
    parts = urlsplit(server.uri)
    dialect = parts.scheme.partition("+")[0]
    path = _sqlite_path(server.uri)
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with sqlite3.connect(path, timeout=_CONNECT_SECONDS) as database:
                database.execute("PRAGMA schema_version")
            database.close()
        except (OSError, sqlite3.Error) as exc:
            raise TrackingError(f"{where} cannot be used: {_one_line(str(exc), server)}") from exc
    elif dialect in _PORTS and parts.hostname:
        try:
            address = (parts.hostname, parts.port or _PORTS[dialect])
            socket.create_connection(address, _CONNECT_SECONDS).close()
        except (OSError, ValueError) as exc:
            raise TrackingError(
                f"{where} cannot be reached: {exc}; start the database or correct tracking_uri"
            ) from exc


def _sqlite_path(uri: str) -> Path | None:
    """Return the file of a SQLite address; None for any other, and for one in memory."""
    scheme, _, rest = uri.partition(":///")
    path = rest.partition("?")[0]
    if scheme.partition("+")[0] != "sqlite" or not path or path.startswith((":memory:", "file:")):
        return None
    return Path(path).absolute()


def _one_line(text: str, server: Server) -> str:
    """Shorten a foreign message to one line without passwords."""
    text = text.replace(server.uri, safe_uri(server.uri))
    secrets = [urlsplit(server.uri).password, *server.variables.values()]
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else text)[:300].replace("[", "(").replace("]", ")").rstrip(".")


def _tag_filter(tag: str, value: str) -> str:
    return f"tags.`{tag}` = '{value}'"


def _json_number(value: float) -> float | str:
    """Spell what JSON has no number for as protobuf does."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _metric(data: Mapping[str, Any]) -> MetricPoint:
    return MetricPoint(data["key"], float(data["value"]), int(data.get("step") or 0), int(data["timestamp"]))


def _info(data: Mapping[str, Any]) -> RunInfo:
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
