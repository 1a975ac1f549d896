"""The MLflow run of a pipeline: found or opened, made active for nodes, ended."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any

from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.journal.folder import Record, folder_of, portable_uri, write_record
from kedro_mlflow_metrics.tracking.address import RunInfo, Server, safe_uri
from kedro_mlflow_metrics.tracking.connect import open_store
from kedro_mlflow_metrics.tracking.environment import own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = [
    "Target",
    "activate",
    "active_elsewhere",
    "deactivate",
    "end",
    "join",
    "make",
    "newest",
    "open_offline_run",
    "open_run",
    "open_shared_run",
    "while_active",
]


@dataclass(frozen=True)
class Target:
    """The run that points go to; it travels to worker processes inside the pickled datasets.

    Attributes:
        server: Where the run lives.
        run: What MLflow said of it when it was opened or joined.
        active: Whether nodes find it as MLflow's active run.
        offline: What is to be made of it in MLflow, if nobody answered when it began.
    """

    server: Server
    run: RunInfo
    active: bool = True
    offline: Record | None = None

    @cached_property
    def record(self) -> Record:
        """What the journal calls the run."""
        if self.offline is not None:
            return self.offline
        run = self.run
        return Record(portable_uri(self.server), run.run_id, env=self.server.delivery.env, name=run.run_name)


RUN_KEY_TAG = "kedro.run_key"
JOURNAL_TAG = "kedro_mlflow_metrics.journal_id"
_awaited: list[Target] = []
_FLUENT = "mlflow.tracking.fluent"
_stacks: dict[str, list[tuple[list[Any], Any]]] = {}
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def now() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def active_elsewhere() -> tuple[str, str] | None:
    """Return address and id of an MLflow run that is active in this thread and that is not ours."""
    import mlflow

    run = mlflow.active_run()
    if run is None or run.info.run_id in _stacks:
        return None
    return mlflow.get_tracking_uri(), run.info.run_id


def join(server: Server, run_id: str, *, active: bool = True) -> Target:
    """Look at a run that somebody else opened, and leave it as it is.

    Raises:
        TrackingError: There is no such run, or it is deleted.
    """
    try:
        info, _ = open_store(server, retries=0).get_run(run_id)
    except TrackingError as exc:
        if exc.code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
            raise TrackingError(
                f"MLflow at {safe_uri(server.uri)} has no run {run_id!r}; correct the run id, or the address",
                exc.code,
            ) from exc
        raise
    if info.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the run {run_id!r} in MLflow at {safe_uri(server.uri)} is deleted; restore it with "
            f"'mlflow runs restore --run-id {run_id}' or choose another",
            "INVALID_STATE",
        )
    return Target(server, info, active)


def experiment_id(server: Server, name: str, *, given: bool = True) -> str:
    """Return the id of the experiment that new runs belong to; MLflow's environment variables win.

    Args:
        server: Where to look.
        name: The experiment's name; it is created if there is none.
        given: Whether MLflow's environment variables count.

    Raises:
        TrackingError: The experiment is deleted, or the server does not answer.
    """
    ident, name = _asked_for(name) if given else ("", name)
    if ident:
        return ident
    store = open_store(server, retries=0)
    found = store.experiment(name)
    if found is None:
        try:
            return store.create_experiment(name)
        except TrackingError:
            found = store.experiment(name)  # another process was faster
            if found is None:
                raise
    if found[1] == "deleted":
        raise TrackingError(
            f"the experiment {name!r} in MLflow at {safe_uri(server.uri)} is deleted; restore it with "
            f"'mlflow experiments restore --experiment-id {found[0]}' or set another 'experiment' in "
            "kedro_mlflow_metrics.yml",
            "INVALID_STATE",
        )
    return found[0]


def _asked_for(experiment: str) -> tuple[str, str]:
    """Return id and name of an experiment: what MLflow's environment variables say, of them the name first."""
    name = own("MLFLOW_EXPERIMENT_NAME")
    return "" if name else own("MLFLOW_EXPERIMENT_ID") or "", name or experiment


def newest(server: Server, experiment: str) -> Target:
    """Return the run of an experiment that was started last; nothing is created.

    Raises:
        TrackingError: There is none, or the server does not answer.
    """
    store = open_store(server)
    ident, name = _asked_for(experiment)
    if not ident and (found := store.experiment(name)) is not None:
        ident = found[0]
    run = store.newest_run(ident) if ident else None
    if run is None:
        where = f"experiment {name!r} in MLflow at {safe_uri(server.uri)}"
        raise TrackingError(
            f"there is no run in {where}; log one, or name another by its id", "RESOURCE_DOES_NOT_EXIST"
        )
    return Target(server, run, active=False)


def open_run(server: Server, experiment: str, name: str, tags: Mapping[str, str], *, active: bool = True) -> Target:
    """Create a run that is RUNNING.

    Raises:
        TrackingError: MLflow refused, or does not answer.
    """
    ident = experiment_id(server, experiment)
    run = open_store(server, retries=0).create_run(ident, name, _with_context(tags, name), now())
    return Target(server, run, active)


def _with_context(tags: Mapping[str, str], name: str) -> dict[str, str]:
    """Add what MLflow itself tags a run with: user, source and the like."""
    from mlflow.tracking.context import registry

    resolved = registry.resolve_tags({**tags, "mlflow.runName": name})
    return {key: str(value) for key, value in resolved.items() if value is not None}


def open_offline_run(  # noqa: PLR0913, PLR0917 - what `make` needs later
    server: Server, local_id: str, experiment: str, name: str, tags: Mapping[str, str], key: str | None
) -> Target:
    """Begin a run in the journal, for a server that does not answer; nodes find no active run.

    Raises:
        JournalError: The journal's folder takes no more.
    """
    ident, named = _asked_for(experiment)
    record = Record(
        portable_uri(server),
        local_id=local_id,
        env=server.delivery.env,
        name=name,
        experiment=named,
        experiment_id=ident,
        run_key=key or "",
        tags={tag: safe_uri(text) for tag, text in _with_context(tags, name).items()},
        start_time=now(),
        shared=bool(key),
    )
    write_record(server.delivery, folder_of(server.delivery, record), record)
    info = RunInfo(record.local_id, "", name, "RUNNING", record.start_time, "", "", "active")
    return Target(server, info, active=False, offline=record)


def make(server: Server, record: Record) -> Record:
    """Make a run in MLflow of one that began in the journal, once: by a tag that is looked for before and after.

    The caller holds the lock of the run's folder.

    Raises:
        TrackingError: MLflow refused, or does not answer.
    """
    store = open_store(server, retries=0)
    ident = record.experiment_id or experiment_id(server, record.experiment, given=False)
    tag, value = (RUN_KEY_TAG, record.run_key) if record.run_key else (JOURNAL_TAG, record.local_id)
    tags = {**record.tags, JOURNAL_TAG: record.local_id, **({RUN_KEY_TAG: value} if record.run_key else {})}
    if not (found := store.find_runs(ident, tag, value, deleted=not record.run_key)):
        store.create_run(ident, record.name, tags, record.start_time)
        found = store.find_runs(ident, tag, value, deleted=not record.run_key)
    oldest, *orphans = sorted(found, key=lambda run: (run.start_time, run.run_id))
    for orphan in orphans if not record.run_key else ():
        if orphan.lifecycle_stage == "active":
            store.delete_run(orphan.run_id)  # its answer was lost; it is empty
    return replace(record, run_id=oldest.run_id, experiment_id=ident)


def open_shared_run(  # noqa: PLR0913 - those of `open_run`, and the key
    server: Server, experiment: str, name: str, tags: Mapping[str, str], key: str, *, active: bool = True
) -> Target:
    """Find the run that carries a run key, or create it; of two that were created at once the older is it."""
    ident = experiment_id(server, experiment)
    store = open_store(server, retries=0)
    found = store.find_runs(ident, RUN_KEY_TAG, key)
    created = None
    if not found:
        created = open_run(server, experiment, name, {**tags, RUN_KEY_TAG: key}, active=active).run.run_id
        found = store.find_runs(ident, RUN_KEY_TAG, key)
    oldest = min(found, key=lambda run: (run.start_time, run.run_id))
    if created not in (None, oldest.run_id):
        store.end_run(str(created), "KILLED", now())  # another session was faster; this run stays empty
    return Target(server, oldest, active)


def end(server: Server, run_id: str, status: str, end_time: int, *, shared: bool = False) -> None:
    """Set the status of a run.

    Args:
        server: Where the run lives.
        run_id: The run.
        status: FINISHED, FAILED or KILLED.
        end_time: Milliseconds since the epoch.
        shared: Whether other sessions write into it: then FINISHED does not hide their FAILED or KILLED.

    Raises:
        TrackingError: MLflow refused, or does not answer.
    """
    store = open_store(server, retries=0)
    if shared and status == "FINISHED" and store.get_run(run_id)[0].status not in ("RUNNING", "FINISHED"):
        return
    store.end_run(run_id, status, end_time)


def activate(target: Target) -> None:
    """Make the run MLflow's active one in this thread until `deactivate`; twice is once.

    Where MLflow is not imported yet, a worker process say, it is not imported for this: it finds the run
    active when somebody imports it.
    """
    if not target.active:
        return
    if _FLUENT not in sys.modules:
        if not _awaited:
            sys.meta_path.insert(0, _OnImport())
        _awaited[:] = [target]
        return
    stack = _stack()
    if not (stack and stack[-1].info.run_id == target.run.run_id):
        _push(target, stack)


class _OnImport(MetaPathFinder):
    """Activates the awaited run as soon as MLflow's fluent module is there."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ANN401, ARG002 - as importlib calls it
        """Let the others find the module, and act when it is executed."""
        if fullname != _FLUENT or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                for awaited in _awaited:
                    _push(awaited, _stack())
                _awaited.clear()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _stack() -> list[Any]:
    """Return this thread's stack of active runs; MLflow has no public way to adopt a run."""
    from mlflow.tracking import fluent

    return fluent._active_run_stack.get()  # type: ignore[no-any-return]  # noqa: SLF001


def _push(target: Target, stack: list[Any]) -> Any:  # noqa: ANN401 - mlflow.ActiveRun
    run = _fluent_run(target.run)
    stack.append(run)
    atexit.unregister(_deactivate_all)
    atexit.register(_deactivate_all)  # after MLflow's own, which would end the run: the last comes first
    with _lock:
        _stacks.setdefault(target.run.run_id, []).append((stack, run))
    return run


def deactivate(target: Target) -> None:
    """Take the run off every stack on which it was put, whichever thread that was."""
    _awaited[:] = [other for other in _awaited if other != target]
    with _lock:
        pushed = _stacks.pop(target.run.run_id, [])
    for stack, run in pushed:
        stack[:] = [other for other in stack if other is not run]


def _deactivate_all() -> None:
    """Leave MLflow nothing to end at the end of the process, a worker of a pool say."""
    with _lock:
        pushed = [entry for entries in _stacks.values() for entry in entries]
        _stacks.clear()
    for stack, run in pushed:
        stack[:] = [other for other in stack if other is not run]


@contextmanager
def while_active(target: Target) -> Iterator[None]:
    """Make the run active for a ``with`` block, in a thread where no node was started."""
    if not target.active:
        yield
        return
    stack = _stack()
    run = _push(target, stack)
    try:
        yield
    finally:
        stack[:] = [other for other in stack if other is not run]
        with _lock:
            pushed = _stacks.get(target.run.run_id, [])
            pushed[:] = [entry for entry in pushed if entry[1] is not run]


def _fluent_run(info: RunInfo) -> Any:  # noqa: ANN401 - mlflow.ActiveRun
    """Build MLflow's own object without asking the server again."""
    from mlflow.entities import Run, RunData
    from mlflow.entities import RunInfo as FluentInfo
    from mlflow.tracking.fluent import ActiveRun

    # MLflow 2 still wants the run's id under its first name as well.
    legacy = {"run_uuid": info.run_id} if "run_uuid" in signature(FluentInfo).parameters else {}
    return ActiveRun(
        Run(
            FluentInfo(
                run_id=info.run_id,
                experiment_id=info.experiment_id,
                user_id=info.user_id,
                status=info.status,
                start_time=info.start_time,
                end_time=None,
                lifecycle_stage=info.lifecycle_stage,
                artifact_uri=info.artifact_uri,
                run_name=info.run_name,
                **legacy,
            ),
            RunData(),
        )
    )
