"""The outboxes of this process, and the one thread that sends what waits in them once a second."""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from kedro_mlflow_metrics import process
from kedro_mlflow_metrics.delivery.outbox import PATIENCE_SECONDS, Outbox
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.process import LAST_SECONDS, seconds_left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_mlflow_metrics.delivery.target import Target

__all__ = ["close", "flush", "outbox", "send_in_background", "wait_for_background"]

log = logging.getLogger("kedro.mlflow_metrics")
MOST_IDLE = 100


class _Clock:
    """Starts its thread with the first line of the journal."""

    def __init__(self) -> None:
        self.known: WeakValueDictionary[tuple[str, str], Outbox] = WeakValueDictionary()  # whoever holds one finds it
        self.boxes: dict[Outbox, None] = {}  # what is kept although nobody holds it; in the order of their making
        self.aside = threading.Lock()  # held during a step of what goes on in the background
        self.others: list[threading.Thread] = []  # what goes on in the background besides
        self.stepped = -math.inf  # when that got a step further
        self._changed = threading.Condition()
        self._sleeps = True
        self._held = False
        self._thread: threading.Thread | None = None

    def box(self, target: Target) -> Outbox:
        """Return this process's outbox of a run."""
        if (box := self.known.get(target.key)) is not None:
            return box
        with self._changed:
            if not self.boxes:
                process.at_end(process.POINTS, _close_all)
            for idle in [each for each in list(self.boxes) if each.idle][:-MOST_IDLE]:
                self.boxes.pop(idle, None)
            box = self.known.setdefault(target.key, Outbox(target, self._look))
            self.boxes[box] = None
            return box

    def _look(self, box: Outbox) -> None:
        """Wake the thread if it sleeps for good: something waits in a box."""
        self.boxes[box] = None
        if not self._sleeps:
            return
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="kedro-mlflow-metrics", daemon=True)
                with suppress(RuntimeError):  # the interpreter is ending: what waits is for `sync`
                    thread.start()
                    self._thread = thread
            self._changed.notify_all()

    def next_due(self) -> Outbox | None:
        """Return the outbox that is to be sent next, None if nothing waits."""
        ready = (box for box in list(self.boxes) if box.ready)
        return min(ready, key=lambda box: box.moment, default=None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._sleeps = True  # first, so that a line written from here on wakes us
                box = self.next_due()
                self._sleeps = box is None
                pause = None if box is None else box.moment - time.monotonic()
                if box is None or pause is None or pause > 0:
                    self._changed.wait(pause)
                    continue
            box.tick()

    def _all(self) -> set[Outbox]:
        return {*self.boxes, *(box for found in self.known.valuerefs() if (box := found()) is not None)}

    def hold(self) -> None:
        """Let no request be half way when the process forks: the child would inherit its connection and locks."""
        for box in self._all():
            box.hold()
        self._held = self.aside.acquire(timeout=PATIENCE_SECONDS)

    def release(self) -> None:
        """Go on after a fork."""
        for box in self._all():
            box.release()
        if self._held:
            self._held = False
            self.aside.release()

    def leave(self) -> None:
        """Close, in a forked child, the files of its parent."""
        for box in self._all():
            box.leave()


_clock = process.Own(_Clock)


def outbox(target: Target) -> Outbox:
    """Return this process's outbox of a run."""
    return _clock.value.box(target)


def flush(target: Target, *, force: bool = False) -> None:
    """Send what waits for a run, for as long as MLflow answers; that it does not may be a `TrackingError`.

    With ``force`` it is asked once more if it did not answer the last time.
    """
    box = _clock.value.known.get(target.key)
    if box is not None:
        box.flush(force=force)
        box.complain()


def close(target: Target) -> TrackingError | None:
    """Send what waits for a run a last time and let go of its journal; return why something is left."""
    box = _clock.value.known.get(target.key)
    return _close(box) if box else None


def _close(box: Outbox) -> TrackingError | None:
    box.flush(force=True, within=seconds_left())  # first: a fork waits for the requests of what is known
    _clock.value.known.pop(box.target.key, None)
    _clock.value.boxes.pop(box, None)
    left = box.ready
    box.close()
    late = TrackingError(f"{box.target.server.where} did not answer within {LAST_SECONDS:g} s")
    return (box.trouble or late) if left else None


def _close_all() -> None:
    boxes = _clock.value.boxes
    while boxes:
        _close(next(reversed(boxes)))
    wait_for_background()


def send_in_background(steps: Iterator[object]) -> None:
    """Go through an iterator while nothing is due.

    It has a thread of its own: leftovers for a run that hangs must not hold up what is saved now.
    """
    name = "kedro-mlflow-metrics-leftovers"
    thread = threading.Thread(target=_go_through, args=(steps,), name=name, daemon=True)
    thread.start()
    _clock.value.others.append(thread)


def wait_for_background() -> None:
    """Wait for what goes on in the background as long as it gets on, 10 seconds at most."""
    clock, begun = _clock.value, time.monotonic()
    while (alive := [thread for thread in clock.others if thread.is_alive()]) and time.monotonic() < min(
        begun + LAST_SECONDS, max(begun, clock.stepped) + PATIENCE_SECONDS
    ):
        alive[0].join(0.05)
    clock.others.clear()


def _go_through(steps: Iterator[object]) -> None:
    clock = _clock.value
    while True:
        while (box := clock.next_due()) is not None and box.due <= time.monotonic():
            time.sleep(0.05)
        with clock.aside:
            if next(steps, clock) is clock:
                return
        clock.stepped = time.monotonic()
