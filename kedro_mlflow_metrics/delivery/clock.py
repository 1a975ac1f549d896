"""The one way in: points go to MLflow at once, or to the journal and from there to MLflow once a second."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.delivery.outbox import PATIENCE_SECONDS, Outbox
from kedro_mlflow_metrics.errors import MetricsError, TrackingError
from kedro_mlflow_metrics.points.curves import grouped
from kedro_mlflow_metrics.tracking.address import safe_uri

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro_mlflow_metrics.journal.folder import Record
    from kedro_mlflow_metrics.points.curves import Points
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = ["close", "ending", "flush", "hold", "later", "outbox", "prove", "seconds_left", "watch_exit", "write"]

log = logging.getLogger("kedro.mlflow_metrics")

LAST_SECONDS = 10.0


def write(server: Server, record: Record, points: Sequence[Points], *, name: str = "metrics") -> None:
    """Take points for a run; when this returns they are in MLflow or in the journal.

    Args:
        server: Where the run lives.
        record: The run.
        points: Checked and stamped points.
        name: What a progress bar calls them.

    Raises:
        TrackingError: MLflow refused them, or did not answer and ``on_failure`` is ``fail``.
        JournalError: They could be neither sent nor kept.
    """
    if points:
        outbox(server, record).save(grouped(points), name)


def outbox(server: Server, record: Record) -> Outbox:
    """Return this process's outbox of a run."""
    key = (server.uri, record.ident)
    if (box := _clock.boxes.get(key)) is not None:
        return box
    with _clock.changed:
        return _clock.boxes.setdefault(key, Outbox(server, record, _clock.look))


def flush(server: Server, record: Record) -> None:
    """Send what waits for a run, for as long as MLflow answers.

    Raises:
        TrackingError: It does not answer, and ``on_failure`` is ``fail``.
    """
    box = _clock.boxes.get((server.uri, record.ident))
    if box is not None:
        _clock.flush(box)
        box.complain()


def prove(server: Server, record: Record) -> None:
    """Say that MLflow has accepted this process for a run, by opening it."""
    outbox(server, record).proven = True


def close(server: Server, record: Record) -> TrackingError | None:
    """Send what waits for a run a last time and let go of its journal; return why something is left."""
    box = _clock.boxes.get((server.uri, record.ident))
    if box is None:
        return None
    _clock.flush(box, force=True, within=seconds_left())
    left = box.ready
    with _clock.changed:
        _clock.boxes.pop((server.uri, record.ident), None)
    box.close()
    if not left:
        return None
    return box.trouble or TrackingError(f"MLflow at {safe_uri(server.uri)} did not answer within {LAST_SECONDS:g} s")


def hold(server: Server, record: Record) -> None:
    """Begin this process's file of a run, so that nobody takes the run for one whose process is gone.

    Raises:
        JournalError: The folder takes no more.
    """
    outbox(server, record).hold()


def later(task: Iterator[object]) -> None:
    """Go through an iterator in the background while nothing is due; the end of the process does not wait for it.

    It has a thread of its own: leftovers for a run that hangs must not hold up what is saved now.
    """
    threading.Thread(target=_clock.go_through, args=(task,), name="kedro-mlflow-metrics-leftovers", daemon=True).start()


class _Clock:
    """One daemon thread per process; it starts with the first line of the journal."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.boxes: dict[tuple[str, str], Outbox] = {}
        self.aside = threading.Lock()
        self.paused = False
        self._thread: threading.Thread | None = None
        self.idle = True

    def wake(self) -> None:
        """Let the thread look what is due."""
        with self.changed:
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._run, name="kedro-mlflow-metrics", daemon=True)
                with suppress(RuntimeError):  # the interpreter is ending: what waits is for `sync`
                    thread.start()
                    self._thread = thread
                    watch_exit()
            self.changed.notify_all()

    def look(self) -> None:
        """Wake the thread if it sleeps for good."""
        if self.idle:
            self.wake()

    def go_through(self, task: Iterator[object]) -> None:
        """Go through an iterator, a step at a time, while nothing is due."""
        while True:
            with self.changed:
                while any(box.ready and box.due <= time.monotonic() for box in self.boxes.values()):
                    self.changed.wait(1)
            with self.aside:
                if next(task, self) is self:
                    return

    def flush(self, box: Outbox, *, force: bool = False, within: float | None = None) -> None:
        """Wait until a box is empty, or MLflow does not answer.

        Args:
            box: What to send.
            force: Whether to try once more although MLflow did not answer the last time.
            within: Seconds for all of it; None for as long as it moves.
        """
        if not box.waiting or box.offline or (box.trouble is not None and not force):
            return
        begun = box.moved = time.monotonic()
        goal = box.asked = box.tries + 1 + box.busy
        self.wake()
        told = False
        while box.waiting and box.tries < goal:
            moment = time.monotonic()
            if moment - box.moved > LAST_SECONDS or (within is not None and moment - begun > within):
                return
            if moment - begun > PATIENCE_SECONDS and not told:
                told = True
                log.info("Sending what waits for run %s", box.record.name or box.record.ident)
            with self.changed:
                self.changed.wait(0.05)

    def _run(self) -> None:
        while True:
            with self.changed:
                self.idle = True  # first, so that a line written from here on wakes us
                box = min((box for box in self.boxes.values() if box.ready), key=lambda box: box.due, default=None)
                pause = None if box is None else box.due - time.monotonic()
                self.idle = box is None
                if box is None or pause is None or pause > 0:
                    self.changed.wait(pause)
                    continue
            box.send_waiting()
            with self.changed:
                self.changed.notify_all()


_clock = _Clock()
_exit_deadline: float | None = None
_watched = False


def ending() -> None:
    """Say that the process ends: what is still to be sent has 10 seconds altogether."""
    global _exit_deadline  # noqa: PLW0603 - a process ends once
    if _exit_deadline is None:
        _exit_deadline = time.monotonic() + LAST_SECONDS


def seconds_left() -> float | None:
    """Return how long the end of the process may still take; None while it goes on."""
    return None if _exit_deadline is None else max(0.0, _exit_deadline - time.monotonic())


def watch_exit() -> None:
    """See to what waits at the end of the process; workers of a pool know no `atexit`. Twice is once."""
    global _watched  # noqa: PLW0603 - the process has one end
    if _watched:
        return
    _watched = True
    from multiprocessing import parent_process, util

    if parent_process() is None:
        atexit.register(_close_all)
    else:
        util.Finalize(None, _close_all, exitpriority=100)


def _close_all() -> None:
    ending()
    for box in list(_clock.boxes.values()):
        with suppress(MetricsError):
            close(box.server, box.record)


def _before_fork() -> None:
    """Let no request be half way: a child would inherit its connection and whatever it has locked."""
    for box in _clock.boxes.values():
        box.pause()
    _clock.paused = _clock.aside.acquire(timeout=PATIENCE_SECONDS)


def _after_fork_in_parent() -> None:
    for box in _clock.boxes.values():
        box.resume()
    if _clock.paused:
        _clock.aside.release()


def _after_fork_in_child() -> None:
    """Start afresh: the parent's files and its thread are the parent's."""
    global _clock, _exit_deadline, _watched
    for box in _clock.boxes.values():
        box.leave()
    atexit.unregister(_close_all)
    _clock, _exit_deadline, _watched = _Clock(), None, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
