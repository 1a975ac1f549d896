"""The MLflow run of one pipeline run, from before its first node to its end, however it ends."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from kedro_mlflow_metrics.delivery import clock as logger
from kedro_mlflow_metrics.delivery import leftovers
from kedro_mlflow_metrics.tracking import environment, runs
from kedro_mlflow_metrics.tracking.address import safe_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_mlflow_metrics.delivery.leftovers import Ending
    from kedro_mlflow_metrics.tracking.runs import Target

__all__ = ["OpenRun", "begin", "finish", "opened"]

log = logging.getLogger("kedro.mlflow_metrics")


@dataclass
class OpenRun:
    """A run that a pipeline writes to at the moment.

    Attributes:
        catalog: The catalog of the pipeline; no two pipeline runs share one.
        target: Where the points go.
        owner: Whether this process opened the run, and so ends it.
        shared: Whether the run belongs to a run key.
        proven: Whether MLflow has answered for the run.
        loan: What was set in the environment.
    """

    catalog: Any
    target: Target
    owner: bool
    shared: bool = False
    proven: bool = True
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
        logger.watch_exit()  # first, so that at the end it comes after ours
        atexit.register(_finish_all)
        _catch_sigterm()
    _open.append(run)
    target = run.target
    runs.activate(target)
    if run.proven and target.offline is None:
        logger.prove(target.server, target.record)
        if leftovers.folders(target.server.delivery):
            logger.later(leftovers.deliver_all(target.server))


def finish(run: OpenRun, status: str) -> None:
    """Send what waits, set the status of an own run, say where its metrics are, and leave nothing behind."""
    if run not in _open:
        return
    _open.remove(run)
    target = run.target
    runs.deactivate(target)
    try:
        ending = leftovers.finish(target.server, target.record, status, owner=run.owner, shared=run.shared)
    finally:
        environment.take_back(run.loan)
        if not _open:
            atexit.unregister(_finish_all)
            _release_sigterm()
    _tell(run, ending, status)
    if ending.trouble is not None and target.server.delivery.fail and status == "FINISHED":
        raise ending.trouble


def _tell(run: OpenRun, ending: Ending, status: str) -> None:
    """Say in one line where the metrics are."""
    target, info, uri = run.target, run.target.run, safe_uri(run.target.server.uri)
    run_id = ending.record.run_id
    if ending.trouble is not None:
        log.error(
            "%d points%s of run %r wait in %s: %s; send them with: %s",
            ending.points,
            " and the end" if run.owner else "",
            info.run_name or info.run_id,
            ending.folder,
            ending.trouble.reason,
            target.server.delivery.sync,
        )
    elif uri.startswith("http"):
        experiment = ending.record.experiment_id or info.experiment_id
        log.info("Metrics are in MLflow: %s/#/experiments/%s/runs/%s", uri, experiment, run_id)
    else:
        log.info("Metrics are in MLflow: %s, run %r, id %s", uri, info.run_name, run_id)
    if status == "FAILED" and run_id:
        log.warning("To go on in the same MLflow run, add to the command: --params mlflow_run_id=%s", run_id)


def finish_interrupted() -> None:
    """End what an interrupt left open in this thread: Ctrl-C in a notebook reaches no hook of Kedro's."""
    for run in [run for run in _open if run.thread == threading.get_ident() and run.pid == os.getpid()]:
        finish(run, "KILLED")


def _finish_all() -> None:
    """At the end of the process: Kedro ends a run by a hook, so what is open was interrupted."""
    logger.ending()
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
