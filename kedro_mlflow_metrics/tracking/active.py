"""MLflow's stack of active runs: a run that was opened without it is put on it, and taken off."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_mlflow_metrics import process
from kedro_mlflow_metrics.tracking.address import Server, absolute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from kedro_mlflow_metrics.tracking.store import RunInfo

__all__ = ["activate", "active_elsewhere", "deactivate", "while_active"]

_FLUENT = "mlflow.tracking.fluent"
_lock = process.inherited_lock()
_pushed: list[tuple[list[Any], Any]] = []  # each a stack of MLflow's and our run on it, of whichever thread
_awaited: list[RunInfo] = []  # what becomes active when MLflow is imported


def active_elsewhere() -> tuple[str, str] | None:
    """Return the address, made absolute, and the id of an MLflow run that is active in this thread and not ours."""
    import mlflow

    run = mlflow.active_run()
    if run is None or any(ours.info.run_id == run.info.run_id for _, ours in _pushed):
        return None
    return Server(absolute(mlflow.get_tracking_uri(), Path.cwd())).uri, run.info.run_id


def activate(info: RunInfo) -> None:
    """Make the run MLflow's active one in this thread until `deactivate`; twice is once.

    Where MLflow is not imported yet, a worker process say, it is not imported for this: it finds the run
    active when somebody imports it.
    """
    if _FLUENT not in sys.modules:
        if not _awaited:
            sys.meta_path.insert(0, _OnImport())
        _awaited[:] = [info]
        return
    stack = _stack()
    if not (stack and stack[-1].info.run_id == info.run_id):
        _push(info, stack)


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

            spec.loader.exec_module = exec_module  # type: ignore[method-assign] # of this one import
        return spec


def _stack() -> list[Any]:
    """Return this thread's stack of active runs; MLflow has no public way to adopt a run."""
    from mlflow.tracking import fluent

    return fluent._active_run_stack.get()  # type: ignore[no-any-return] # MLflow's  # noqa: SLF001 - no public way


def _push(info: RunInfo, stack: list[Any]) -> Any:  # noqa: ANN401 - mlflow.ActiveRun
    run = _fluent_run(info)
    stack.append(run)
    process.at_end(process.ACTIVE_RUNS, _take_off)
    with _lock:
        _pushed.append((stack, run))
    return run


def deactivate(info: RunInfo) -> None:
    """Take the run off every stack on which it was put, whichever thread that was."""
    _awaited[:] = [other for other in _awaited if other.run_id != info.run_id]
    _take_off(lambda ours: ours.info.run_id == info.run_id)


@contextmanager
def while_active(info: RunInfo) -> Iterator[None]:
    """Make the run active for a ``with`` block, in a thread where no node was started."""
    run = _push(info, _stack())
    try:
        yield
    finally:
        _take_off(lambda ours: ours is run)


def _take_off(wanted: Callable[[Any], bool] = lambda _: True) -> None:
    with _lock:
        chosen = [each for each in _pushed if wanted(each[1])]
        _pushed[:] = [each for each in _pushed if not wanted(each[1])]
    for stack, run in chosen:
        stack[:] = [other for other in stack if other is not run]


def _fluent_run(info: RunInfo) -> Any:  # noqa: ANN401 - mlflow.ActiveRun
    """Build MLflow's own object without asking the server again."""
    from mlflow.entities import Run, RunData
    from mlflow.entities import RunInfo as FluentInfo
    from mlflow.tracking.fluent import ActiveRun

    # MLflow 2 still wants the run's id under its first name as well.
    legacy = {"run_uuid": info.run_id} if "run_uuid" in signature(FluentInfo).parameters else {}
    about = {**info._asdict(), "end_time": None}
    del about["tags"]  # MLflow has them apart
    return ActiveRun(Run(FluentInfo(**about, **legacy), RunData()))
