"""What MLflow measures of the machine while a run goes on: CPU, memory, disk, network, GPU."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from kedro_mlflow_metrics import process

__all__ = ["start", "stop"]

log = logging.getLogger("kedro.mlflow_metrics")
PATIENCE_SECONDS = 5.0
Monitor = Any  # MLflow's


def start(run_id: str, setting: bool | None) -> Monitor | None:  # noqa: FBT001 - the value of a setting
    """Begin to measure if MLflow's environment variable says so, or else the setting; nothing of it raises."""
    from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING as VARIABLE

    try:
        if not (VARIABLE.get() if VARIABLE.defined else setting):
            return None
        if find_spec("psutil") is None:
            log.warning("There are no system metrics: the package psutil is missing; install it, or switch them off")
            return None
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(run_id)
        monitor.start()
    except Exception as exc:  # noqa: BLE001 - whatever it is, the pipeline goes on
        log.warning("There are no system metrics: %s", exc)
        return None
    return monitor


def stop(monitor: Monitor | None) -> None:
    """Send what was measured; a server that does not answer is waited for a few seconds, MLflow would for minutes."""
    if monitor is None:
        return
    left = process.seconds_left()
    thread = threading.Thread(target=monitor.finish, name="kedro-mlflow-metrics-system", daemon=True)
    with suppress(RuntimeError):  # the interpreter is ending, and the monitor with it
        thread.start()
        thread.join(PATIENCE_SECONDS if left is None else min(PATIENCE_SECONDS, left))
