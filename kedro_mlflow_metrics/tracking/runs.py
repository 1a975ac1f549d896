"""Runs and experiments looked at, found or made, and ended, without touching MLflow's active run.

Each function raises `TrackingError` with one line where MLflow refuses, or does not answer.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.process import now
from kedro_mlflow_metrics.tracking.address import same_store
from kedro_mlflow_metrics.tracking.connect import open_store
from kedro_mlflow_metrics.tracking.environment import own, own_uri
from kedro_mlflow_metrics.tracking.store import NEWEST_FIRST, OLDEST_FIRST, RunInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_mlflow_metrics.points.curves import MetricPoint
    from kedro_mlflow_metrics.tracking.address import Server
    from kedro_mlflow_metrics.tracking.store import Found, Store

__all__ = [
    "asked_for",
    "create",
    "delete_twins",
    "end_lost",
    "experiment_id",
    "find_or_create",
    "found",
    "known_experiment",
    "look_at",
    "search",
    "throw_away",
    "with_context",
]


def look_at(server: Server, run_id: str) -> RunInfo:
    """Return a run that somebody else opened, and leave it as it is; a deleted one is refused."""
    return found(server, run_id)[0]


def found(server: Server, run_id: str) -> tuple[RunInfo, list[MetricPoint]]:
    """Return such a run and the latest point of each of its metrics."""
    try:
        info, latest = open_store(server).get_run(run_id)
    except TrackingError as exc:
        if exc.code == TrackingError.NO_STORE:  # then waiting for it is no use
            raise TrackingError(exc.reason, exc.advice, code="RESOURCE_DOES_NOT_EXIST") from exc
        if exc.code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
            raise
        missing = f"{server.where} has no run {run_id!r}"
        raise TrackingError(missing, "correct the run id, or the address", code=exc.code) from exc
    if info.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the run {run_id!r} in {server.where} is deleted",
            f"restore it with 'mlflow runs restore --run-id {run_id}' or choose another",
            code="INVALID_STATE",
        )
    return info, latest


def asked_for(server: Server, experiment: str) -> tuple[str, str]:
    """Return id and name of an experiment: what MLflow's environment variables say, of them the name first.

    `mlflow.set_experiment` sets the id, and that means nothing in another store than MLflow's own.
    """
    name, ident = own("MLFLOW_EXPERIMENT_NAME"), own("MLFLOW_EXPERIMENT_ID") or ""
    set_by_mlflow = ident == getattr(sys.modules.get("mlflow.tracking.fluent"), "_active_experiment_id", None)
    if name or (set_by_mlflow and not same_store(own_uri(), server.uri)):
        ident = ""
    return ident, name or experiment


def experiment_id(server: Server, name: str) -> str:
    """Return the id of an experiment, which is created if there is none of that name; a deleted one is refused."""
    store = open_store(server, create=True)
    found = store.experiment(name)
    if found is None:
        try:
            return store.create_experiment(name)
        except TrackingError:
            found = store.experiment(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the experiment {name!r} in {server.where} is deleted",
            f"restore it with 'mlflow experiments restore --experiment-id {found.experiment_id}' or set another "
            "'experiment' in kedro_mlflow_metrics.yml",
            code="INVALID_STATE",
        )
    return found.experiment_id


def search(  # noqa: PLR0913 - what MLflow is asked
    server: Server, ident: str, name: str, most: int, *, where: str = "", order: str = NEWEST_FIRST
) -> Found:
    """Return runs of an experiment and their latest points, without more those that were started last.

    Nothing is created.

    Args:
        server: Where.
        ident: The id of the experiment, and
        name: its name, as `asked_for` returns them.
        most: How many runs.
        where: MLflow's expression for those that are wanted.
        order: And for their order.
    """
    store = open_store(server)
    ident = ident or known_experiment(server, name)
    return store.search(ident, where, order, most) if ident else []


def known_experiment(server: Server, name: str) -> str:
    """Return the id of an experiment of that name, empty if there is none."""
    found = open_store(server).experiment(name)
    return "" if found is None else found.experiment_id


def with_context(tags: Mapping[str, str], name: str) -> dict[str, str]:
    """Add what MLflow itself tags a run with: user, source and the like."""
    from mlflow.tracking.context import registry

    resolved = registry.resolve_tags({**tags, **({"mlflow.runName": name} if name else {})})
    return {key: str(value) for key, value in resolved.items() if value is not None}


def create(server: Server, experiment: str, name: str, tags: Mapping[str, str], start_time: int) -> RunInfo:
    """Create a run in an experiment, or in the one that MLflow's environment variables say."""
    ident, experiment = asked_for(server, experiment)
    store = open_store(server, create=True)
    ident = ident or experiment_id(server, experiment)
    return store.create_run(ident, name, with_context(tags, name), start_time)


def find_or_create(server: Server, wanted: RunInfo, tags: Mapping[str, str], by: str, *, new: bool) -> RunInfo:
    """Return the one run of an experiment that carries a tag, also a deleted one; create it if there is none.

    Of several the oldest is the one. The others are empty, made by requests that were answered to nobody: they are
    deleted.

    Args:
        server: Where.
        wanted: Its experiment, name and start.
        tags: Its tags.
        by: The tag that says which run it is, and that no other process knows.
        new: Whether none was created with it before.
    """
    store = open_store(server, create=True)
    experiment, about = wanted.experiment_id, (wanted.run_name, tags, wanted.start_time)
    if new:
        return store.create_run(experiment, *about)
    where = f"tags.`{by}` = '{tags[by]}'"
    found = store.search(experiment, where, OLDEST_FIRST, deleted=True)
    if not found:
        store.create_run(experiment, *about)
        found = store.search(experiment, where, OLDEST_FIRST, deleted=True)
    oldest, *others = sorted((run for run, _ in found), key=lambda run: (run.start_time, run.run_id))
    for other in others:
        if other.lifecycle_stage == "active":
            throw_away(store, other.run_id)
    return oldest


def delete_twins(server: Server, experiment: str, run_id: str, by: str, value: str) -> None:
    """Delete other runs than a session's, in its experiment, that carry its tag and are empty.

    MLflow made them when the session had given up waiting for an answer, or was answered in vain.
    """
    store = open_store(server)
    for other, latest in store.search(experiment, f"tags.`{by}` = '{value}'", OLDEST_FIRST):
        if other.run_id != run_id and not latest:
            throw_away(store, other.run_id)


def throw_away(store: Store, run_id: str) -> None:
    """Delete an empty run, or end it as KILLED where this user may write but not delete."""
    try:
        store.delete_run(run_id)
    except TrackingError as exc:
        if not exc.credentials:
            raise
        store.end_run(run_id, "KILLED", now())


def end_lost(server: Server, run_id: str, last_sign: int, status: str = "KILLED") -> bool:
    """Set the status of a run that is RUNNING though its process is gone, at the time of its last sign of life.

    Returns whether it was RUNNING.

    Args:
        server: Where.
        run_id: The run; one that is not there or deleted is left alone.
        last_sign: A sign of life that others know of, in milliseconds since the epoch; its latest points are others.
        status: KILLED, FAILED or FINISHED.
    """
    store = open_store(server)
    try:
        info, latest = store.get_run(run_id)
    except TrackingError as exc:
        if exc.code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    if info.status != "RUNNING" or info.lifecycle_stage == "deleted":
        return False
    signs = (info.start_time, last_sign, *(point.timestamp for point in latest))
    store.end_run(run_id, status, max((sign for sign in signs if sign <= now()), default=now()))
    return True
