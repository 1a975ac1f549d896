"""What a process has once: its forks, its end and SIGTERM, seen to in one place and in a stated order."""

from __future__ import annotations

import atexit
import gc
import logging
import multiprocessing
import os
import signal
import threading
import time
from contextlib import contextmanager
from multiprocessing import util
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

__all__ = [
    "LAST_SECONDS",
    "Own",
    "at_end",
    "catch_sigterm",
    "filtered",
    "inherited_lock",
    "last_seconds",
    "now",
    "seconds_left",
    "uncollected",
]

log = logging.getLogger("kedro.mlflow_metrics")
LAST_SECONDS = 10.0  # that the end of a process may take to send what waits
# What happens at the end, in this order: runs are taken off MLflow's stack, or MLflow ends what it finds there; what is
# still open was interrupted; what still waits is sent; folders that were for this process only are deleted.
ACTIVE_RUNS, RUNS, POINTS, FOLDERS = range(4)
T = TypeVar("T")


def now() -> int:
    """Return the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@contextmanager
def filtered(loggers: Collection[logging.Logger], shown: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Let loggers of others show only some of what they say, for the length of a ``with`` block."""
    for logger in loggers:
        logger.addFilter(shown)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(shown)


@contextmanager
def uncollected() -> Iterator[None]:
    """Make many objects, none of them garbage, without Python searching them for garbage: half of the time of a load.

    For work only, not for waiting: meanwhile no thread's garbage is found.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    _uncollected.append(None)
    try:
        yield
    finally:
        _uncollected.pop()
        gc.enable()


class Own(Generic[T]):
    """A value that each process makes for itself; a forked child starts with a new one.

    The value may have three methods. ``hold`` and ``release`` are called around a fork, in the process that forks.
    ``leave`` is called in the child on the value of its parent, to close what was inherited.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self.value = make, make()
        _owned.append(self)

    def tell(self, what: str) -> None:
        """Call a method of the value if it has it."""
        getattr(self.value, what, lambda: None)()

    def renew(self) -> None:
        """Begin anew, in a child."""
        self.tell("leave")
        self.value = self._make()


_owned: list[Own[Any]] = []
_locks: list[threading.Lock] = []
_held: list[threading.Lock] = []
_uncollected: list[None] = []  # an item per thread that has stopped the search for garbage


def inherited_lock() -> threading.Lock:
    """Return a lock for what a forked child inherits: it is free in the child, and what it guards is whole."""
    _locks.append(threading.Lock())
    return _locks[-1]


def _before_fork() -> None:
    for own in _owned:
        own.tell("hold")
    for lock in _locks:
        lock.acquire()
        _held.append(lock)


def _after_fork(*, child: bool) -> None:
    while _held:  # an exception before the fork may have left some out
        _held.pop().release()
    for own in _owned:
        own.renew() if child else own.tell("release")
    if child:
        _end.begin_anew()
        if _uncollected:
            _uncollected.clear()
            gc.enable()


class _End:
    """What is to be done at the end of this process."""

    def __init__(self) -> None:
        self.calls: dict[int, Callable[[], object]] = {}
        self.deadline: float | None = None
        self.catches_sigterm = False

    def begin_anew(self) -> None:
        """Forget, in a forked child, what only its parent has to do: the active runs are on the child's stack too."""
        self.calls = {stage: call for stage, call in self.calls.items() if stage == ACTIVE_RUNS}
        self.deadline, self.catches_sigterm = None, False


_end = _End()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(child=False),
        after_in_child=lambda: _after_fork(child=True),
    )


def at_end(stage: int, call: Callable[[], object]) -> None:
    """Call something at a stage of the end of the process, before all that was registered with `atexit` so far.

    Workers of a pool, which skip `atexit`, do it too.
    """
    if stage not in _end.calls and multiprocessing.parent_process() is not None:
        util.Finalize(None, _finish, exitpriority=100)
    _end.calls[stage] = call
    atexit.unregister(_finish)
    atexit.register(_finish)


def _finish() -> None:
    if _end.deadline is None:
        _end.deadline = time.monotonic() + LAST_SECONDS
    while _end.calls:
        call = _end.calls.pop(min(_end.calls))
        try:
            call()
        except Exception:
            log.exception("At the end of the process")  # the other calls still have their turn


def seconds_left() -> float | None:
    """Return how long the end of the process may still take; None while it goes on."""
    return None if _end.deadline is None else max(0.0, _end.deadline - time.monotonic())


def last_seconds() -> float:
    """Return how long the end of a run may wait for MLflow: no longer than that of the process."""
    left = seconds_left()
    return LAST_SECONDS if left is None else left


def catch_sigterm(*, catch: bool) -> None:
    """Let SIGTERM end the process as Ctrl-C does, if nobody else handles it; or leave it as it was."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is (signal.SIG_DFL if catch else _on_sigterm):
        signal.signal(signal.SIGTERM, _on_sigterm if catch else signal.SIG_DFL)
        _end.catches_sigterm = catch


def _on_sigterm(number: int, _frame: object) -> NoReturn:
    """Tell the workers, as a terminal does for Ctrl-C, and unwind the main thread."""
    for child in multiprocessing.active_children() if _end.catches_sigterm else ():
        if child.pid is not None:
            os.kill(child.pid, signal.SIGINT)
    raise SystemExit(128 + number)
