"""The one way in: every point that is accepted goes through `write`, in MLflow's largest batches."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.points import Points
from kedro_mlflow_metrics.tracking import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kedro_mlflow_metrics.server import Server

__all__ = ["batches", "write"]

MAX_POINTS = 1000
MAX_BYTES = 900_000
_POINT_BYTES = 100
_PATIENCE_SECONDS = 2.0


def write(server: Server, run_id: str, points: Iterable[Points], *, name: str = "metrics") -> None:
    """Write points to a run; when this returns they are in MLflow.

    Args:
        server: Where the run lives.
        run_id: The run.
        points: Checked and stamped points.
        name: What a progress bar calls them.

    Raises:
        TrackingError: MLflow refused them or did not answer; batches before that one stay.
    """
    grouped = sorted(points, key=lambda some: some.key)
    total = sum(len(some.values) for some in grouped)
    if not total:
        return
    store = open_store(server)
    with ExitStack() as stack:
        begun, done, bar = time.monotonic(), 0, None
        for batch in batches(grouped):
            store.log_batch(run_id, batch)
            done += sum(len(some.values) for some in batch)
            if bar is None and time.monotonic() - begun > _PATIENCE_SECONDS and sys.stderr.isatty():
                bar = _Bar(name, total)
                stack.callback(bar.stop)
            if bar is not None:
                bar.move(done)


def batches(points: Iterable[Points]) -> Iterator[list[Points]]:
    """Cut points into batches that MLflow takes: 1,000 points and less than 1 MB of JSON."""
    batch: list[Points] = []
    room, size = MAX_POINTS, 0
    for some in points:
        key, values, steps, timestamps = some.key, some.values, some.steps, some.timestamps
        weight = len(json.dumps(key)) + _POINT_BYTES
        start = 0
        while start < len(values):
            count = min(room, (MAX_BYTES - size) // weight, len(values) - start)
            if count:
                end = start + count
                batch.append(Points(key, values[start:end], steps[start:end], timestamps[start:end]))
                room, size, start = room - count, size + count * weight, end
            if start < len(values) or not room:
                yield batch
                batch, room, size = [], MAX_POINTS, 0
    if batch:
        yield batch


class _Bar:
    """A progress bar on standard error, for a save that takes its time."""

    def __init__(self, name: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(f"{name} to MLflow", total=total)
        self._progress.start()

    def move(self, done: int) -> None:
        self._progress.update(self._task, completed=done)

    def stop(self) -> None:
        self._progress.stop()
