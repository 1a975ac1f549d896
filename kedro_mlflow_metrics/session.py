"""The MLflow run of one pipeline run, from before its first node to its end, however it ends."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from kedro_mlflow_metrics import environment, runs
from kedro_mlflow_metrics.errors import TrackingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_mlflow_metrics.runs import Target

__all__ = ["OpenRun", "begin", "finish", "opened"]


@dataclass
class OpenRun:
    """A run that a pipeline writes to at the moment.

    Attributes:
        catalog: The catalog of the pipeline; no two pipeline runs share one.
        target: Where the points go.
        owner: Whether this process opened the run, and so ends it.
        shared: Whether the run belongs to a run key.
        loan: What was set in the environment.
    """

    catalog: Any
    target: Target
    owner: bool
    shared: bool = False
    loan: Mapping[str, str] = field(default_factory=dict)
    pid: int = field(default_factory=os.getpid)
    thread: int = field(default_factory=threading.get_ident)


_open: list[OpenRun] = []


def opened(catalog: Any) -> OpenRun | None:  # noqa: ANN401 - any CatalogProtocol
    """Return the open run of a catalog, in the process that opened it."""
    return next((run for run in _open if run.catalog is catalog and run.pid == os.getpid()), None)


def begin(run: OpenRun) -> None:
    """Keep a run in mind until `finish`, the end of the process or a signal."""
    for old in [old for old in _open if old.pid != os.getpid()]:
        _open.remove(old)  # inherited by a fork, and its opener's business
    if not _open:
        atexit.register(_finish_all)
        _catch_sigterm()
    _open.append(run)
    runs.activate(run.target)


def finish(run: OpenRun, status: str) -> TrackingError | None:
    """Set the status of an own run and leave nothing behind; return what MLflow said against it."""
    if run not in _open:
        return None
    _open.remove(run)
    runs.deactivate(run.target)
    trouble = None
    try:
        if run.owner:
            runs.end(run.target, status, shared=run.shared)
    except TrackingError as exc:
        trouble = exc
    environment.take_back(run.loan)
    if not _open:
        atexit.unregister(_finish_all)
        _release_sigterm()
    return trouble


def finish_interrupted() -> None:
    """End what an interrupt left open in this thread: Ctrl-C in a notebook reaches no hook of Kedro's."""
    for run in [run for run in _open if run.thread == threading.get_ident() and run.pid == os.getpid()]:
        finish(run, "KILLED")


def _finish_all() -> None:
    """At the end of the process: Kedro ends a run by a hook, so what is open was interrupted."""
    for run in [run for run in _open if run.pid == os.getpid()]:
        finish(run, "KILLED")


def _catch_sigterm() -> None:
    """Let SIGTERM end the process as Ctrl-C does, if nobody else handles it."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)


def _release_sigterm() -> None:
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _on_sigterm(number: int, _frame: object) -> NoReturn:
    """Tell the workers, as a terminal does for Ctrl-C, and unwind the main thread."""
    if any(run.pid == os.getpid() for run in _open):
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, signal.SIGINT)
    raise SystemExit(128 + number)
