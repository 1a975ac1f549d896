"""Databases and folders in this process, Databricks and plugins: by MLflow's own client."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import weakref
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kedro_mlflow_metrics import process
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.points.curves import Curve, MetricPoint, joined
from kedro_mlflow_metrics.tracking.environment import lent
from kedro_mlflow_metrics.tracking.store import Experiment, error_code, to_run_info

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kedro_mlflow_metrics.tracking.address import Server
    from kedro_mlflow_metrics.tracking.store import Found, RunInfo

__all__ = ["ClientStore"]

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_CONNECT_SECONDS = 3.0
_PAGE = 50_000  # points; the database sorts the whole history for each page
_HOPELESS = ("authentication failed", "Access denied", "Unknown database", "does not exist", "is not supported in")
_NO_LOGIN = "Databricks credential configuration failed"


class _Engines(weakref.WeakSet[Any]):
    """The connections to databases; a forked child makes its own: two processes on one garble it."""

    def leave(self) -> None:
        """Let go of the connections of the parent without closing them."""
        for engine in self:
            engine.dispose(close=False)


_engines = process.Own(_Engines)


class ClientStore:
    """Each request of `Store` by ``MlflowClient``; a store that is not there is made only to ``create`` a run in it."""

    at_a_time = 1  # in one process, threads cost

    def __init__(self, server: Server, *, create: bool) -> None:
        self.server, self.failed = server, False
        _probe(server, create=create)
        with self._refusals(look=False), _without_word():
            from mlflow import MlflowClient

            self._client = MlflowClient(server.uri)
            # No public way to what the client asks. `MlflowClient.log_batch` would link each point to the active model
            self._store = self._client._tracking_client.store  # noqa: SLF001 - as said above
            engine = getattr(self._store, "engine", None)
        if engine is not None:
            _engines.value.add(engine)

    def experiment(self, name: str) -> Experiment | None:
        with self._refusals():
            found = self._client.get_experiment_by_name(name)
        return None if found is None else Experiment(found.experiment_id, found.lifecycle_stage, dict(found.tags))

    def create_experiment(self, name: str, tags: Mapping[str, str] | None = None) -> str:
        with self._refusals():
            where = self._artifacts()
            return str(self._client.create_experiment(name, where, dict(tags) if tags else None))

    def delete_experiment(self, experiment_id: str) -> None:
        with self._refusals():
            self._client.delete_experiment(experiment_id)

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str], start_time: int) -> RunInfo:
        with self._refusals():
            run = self._client.create_run(experiment_id, start_time=start_time, tags=dict(tags), run_name=name)
        return _run(run)[0]

    def get_run(self, run_id: str) -> tuple[RunInfo, list[MetricPoint]]:
        with self._refusals(), process.uncollected():
            return _run(self._client.get_run(run_id))

    def described(self, run_id: str) -> tuple[dict[str, str], dict[str, str]]:
        with self._refusals():
            data = self._client.get_run(run_id).data
        return dict(data.tags), dict(data.params)

    def search(self, experiment_id: str, where: str, order: str, most: int = 10, *, deleted: bool = False) -> Found:
        from mlflow.entities import ViewType

        kind = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
        with self._refusals(), process.uncollected():
            return list(map(_run, self._client.search_runs([experiment_id], where, kind, most, [order])))

    def delete_run(self, run_id: str) -> None:
        with self._refusals():
            self._client.delete_run(run_id)

    def end_run(self, run_id: str, status: str, end_time: int) -> None:
        with self._refusals():
            self._client.set_terminated(run_id, status, end_time)

    def resume_run(self, run_id: str) -> None:
        with self._refusals():
            self._client.update_run(run_id, "RUNNING")

    def set_tag(self, run_id: str, tag: str, text: str) -> None:
        with self._refusals():
            self._client.set_tag(run_id, tag, text)

    def log_batch(self, run_id: str, batch: Sequence[Curve]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(curve.key, value, timestamp, step)
            for curve in batch
            for value, step, timestamp in zip(curve.values, curve.steps, curve.timestamps, strict=True)
        ]
        with self._refusals():
            self._store.log_batch(run_id, metrics, params=[], tags=[])

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        with self._refusals():
            self._store.log_batch(run_id, metrics=[], params=[Param(*each) for each in params.items()], tags=[])

    def history(self, run_id: str, key: str) -> Curve:
        pages: list[Curve] = []
        token = None
        with self._refusals():
            while True:  # MLflow's client would hold an object per point of all pages
                with process.uncollected():
                    page = self._store.get_metric_history(run_id, key, max_results=_PAGE, page_token=token)
                    pages.append(Curve.of(key, map(_point, page)))
                token = page.token
                if token is None:
                    return joined(key, pages)

    def _artifacts(self) -> str | None:
        """Keep the artifacts of a local store beside it, not in whatever folder is current."""
        path = self.server.database
        return None if path is None else (path.parent / "mlruns").as_uri()

    @contextmanager
    def _refusals(self, *, look: bool = True) -> Iterator[None]:
        """Turn whatever MLflow or the database raises into one line."""
        if look:
            _look(self.server)  # it may have been deleted meanwhile
        with lent(self.server.variables):
            try:
                yield
            except Exception as exc:
                told = _told(exc, self.server)
                self.failed = told.outage  # then the address is looked at again first
                raise told from exc


def _without_word() -> AbstractContextManager[None]:
    """Keep MLflow from telling of the tables that it makes."""
    loggers = [logging.getLogger(name) for name in ("mlflow.store.db.utils", "alembic.runtime.migration")]
    return process.filtered(loggers, lambda record: record.levelno >= logging.WARNING)  # alembic sets levels itself


def _run(run: Any) -> tuple[RunInfo, list[MetricPoint]]:  # noqa: ANN401 - mlflow.entities.Run
    latest = run.data._metric_objs  # noqa: SLF001 - the public dict has no steps
    return to_run_info(dict(run.info), dict(run.data.tags)), list(map(_point, latest))


def _point(metric: Any) -> MetricPoint:  # noqa: ANN401 - mlflow.entities.Metric
    """Read an entity; as a dict it would cost eight times as much."""
    return MetricPoint(metric.key, float(metric.value), int(metric.step or 0), int(metric.timestamp))


def _told(error: Exception, server: Server) -> TrackingError:
    """Say in one line what MLflow or the database raised, and whether it may pass."""
    if server.uri.startswith("databricks") and (isinstance(error, ImportError) or _NO_LOGIN in str(error)):
        reason, advice = "no login was found", "set DATABRICKS_HOST and DATABRICKS_TOKEN or run 'databricks auth login'"
        if isinstance(error, ImportError):
            reason, advice = str(error), "pip install databricks-sdk"
        unusable = TrackingError.UNUSABLE_ADDRESS
        return TrackingError(f"{server.where} cannot be used: {reason}", advice, code=unusable)
    text = server.one_line(str(error) or type(error).__name__)
    code = error_code(str(getattr(error, "error_code", "")), str(error))
    if isinstance(error, ImportError) or any(mark in str(error) for mark in _HOPELESS):
        code = TrackingError.UNUSABLE_ADDRESS
    told = TrackingError(f"{server.where} refused: {text}", code=code)
    return TrackingError(f"{server.where} cannot be used at the moment: {text}", code=code) if told.outage else told


def _look(server: Server) -> None:
    """Look whether a database file or folder is there, which MLflow would make for any request."""
    if server.local is not None and not server.local.exists():
        raise TrackingError(
            f"there is no store at {server.safe}",
            "correct the address, or run a pipeline that logs to it",
            code=TrackingError.NO_STORE,
        )


def _probe(server: Server, *, create: bool) -> None:
    """Look for a few seconds at most whether an address can work, where MLflow itself would try for minutes."""
    if not create:
        _look(server)
    parts = urlsplit(server.uri)
    dialect = parts.scheme.partition("+")[0]
    path = server.database
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with sqlite3.connect(path, timeout=_CONNECT_SECONDS) as database:
                database.execute("BEGIN IMMEDIATE" if os.access(path, os.W_OK) else "PRAGMA schema_version")
            database.close()
        except (OSError, sqlite3.Error) as exc:
            code = "" if "locked" in str(exc) else TrackingError.UNUSABLE_ADDRESS
            raise TrackingError(f"{server.where} cannot be used: {server.one_line(str(exc))}", code=code) from exc
    elif dialect in _PORTS and parts.hostname:
        try:
            address = (parts.hostname, parts.port or _PORTS[dialect])
            socket.create_connection(address, _CONNECT_SECONDS).close()
        except (OSError, ValueError) as exc:
            reason = f"{server.where} cannot be reached: {exc}"
            raise TrackingError(reason, "start the database or correct tracking_uri") from exc
        _log_in(server)


def _log_in(server: Server) -> None:
    """Connect once: MLflow itself would repeat a refused password for minutes."""
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(server.uri, poolclass=sqlalchemy.pool.NullPool)
        engine.connect().close()
    except Exception as exc:
        raise _told(exc, server) from exc
