"""Many tasks that stream to one slow server, in simulated time.

The outboxes, their pauses, their batches and their journals are the package's own. Simulated are the clock, what the
tasks yield, and the server, which works through one request after the other, also where nobody waits for the answer any
more. Chance is seeded, so that a result can be repeated.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import threading
from bisect import bisect
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from kedro_mlflow_metrics.delivery import outbox, sender
from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.journal.folder import Journal
from kedro_mlflow_metrics.points.curves import MAX_POINTS, Curve, count
from kedro_mlflow_metrics.tracking.address import Server
from kedro_mlflow_metrics.tracking.store import RunInfo


@dataclass(frozen=True)
class Case:
    """What happens.

    Attributes:
        tasks: How many processes stream, each to a run of its own.
        every: Seconds between two yields of a task.
        points: How many metrics a yield has.
        until: How many seconds they go on.
        down: From when to when the server is away, in seconds.
        fault: What it does then: it refuses connections, hangs, or answers 503 with ``Retry-After``.
        retry_after: That, in seconds.
        per_request: Seconds that the server takes for a request, as measured by benchmarks/scale.py,
        per_point: and for each of its points besides.
        timeout: The setting of that name.
    """

    tasks: int = 1000
    every: float = 3.0
    points: int = 10
    until: float = 900.0
    down: tuple[float, float] = (60.0, 360.0)
    fault: str = "refuse"
    retry_after: float = 0.0
    per_request: float = 0.011
    per_point: float = 0.00011
    timeout: float = 10.0

    @classmethod
    def like_a_thousand(cls, tasks: int, **others: Any) -> Case:
        """Return a case of fewer tasks with a server that is slower by as much: what they meet is the same."""
        usual, fewer = cls(**others), 1000 / tasks
        slower = {"per_request": usual.per_request * fewer, "per_point": usual.per_point * fewer}
        return replace(usual, tasks=tasks, **slower)

    @property
    def least(self) -> float:
        """Seconds in which the server at its best, with full batches, catches up with what waits and what comes."""
        speed = MAX_POINTS / (self.per_request + MAX_POINTS * self.per_point)
        flow = self.tasks * self.points / self.every
        return flow * (self.down[1] - self.down[0]) / (speed - flow)


@dataclass
class Outcome:
    """What became of it.

    Attributes:
        written: How many points were yielded.
        stored: How many of them the server has.
        received: How many it worked through, those that it had already included.
        back: Per task, when it first came after the outage, in seconds,
        heard: when it first had an answer,
        caught_up: when the server had all that was yielded before it came back,
        journal: and the most bytes that its journal had.
    """

    written: int = 0
    stored: int = 0
    received: int = 0
    back: list[float] = field(default_factory=list)
    heard: list[float] = field(default_factory=list)
    caught_up: list[float] = field(default_factory=list)
    journal: list[int] = field(default_factory=list)

    def busiest(self, seconds: float) -> int:
        """Return how many tasks come back within so many seconds at the most."""
        moments = sorted(self.back)
        return max(bisect(moments, moment + seconds) - at for at, moment in enumerate(moments))


class _Simulation:
    """Runs one thread at a time: the one whose moment comes next."""

    def __init__(self, case: Case) -> None:
        self.case, self.now, self.outcome = case, 0.0, Outcome()
        self._moments: list[tuple[float, int, threading.Lock]] = []
        self._order = itertools.count()
        self._over = _held_lock()
        self._free = 0.0  # when the server has done all that it was sent

    def run(self, tasks: list[_Task]) -> None:
        """Let all of them live."""
        threads = [threading.Thread(target=self._live, args=(task,), daemon=True) for task in tasks]
        for task, thread in zip(tasks, threads, strict=True):
            self._plan(task, task.starts)
            thread.start()
        self._go_on()
        self._over.acquire()

    def _live(self, task: _Task) -> None:
        task.wake.acquire()
        try:
            task.live()
        finally:
            self._go_on()

    def sleep(self, task: _Task, until: float) -> None:
        """Let others go on until a moment has come."""
        self._plan(task, max(until, self.now))
        self._go_on()
        task.wake.acquire()

    def _plan(self, task: _Task, moment: float) -> None:
        heapq.heappush(self._moments, (moment, next(self._order), task.wake))

    def _go_on(self) -> None:
        """Wake the thread whose moment comes next."""
        wake = self._over
        if self._moments:
            self.now, _, wake = heapq.heappop(self._moments)
        wake.release()

    def request(self, task: _Task, batch: list[Curve], timeout: float) -> None:
        """Answer, or fail, when the server has come to it."""
        case, begun, points = self.case, self.now, count(batch)
        start, stop = case.down
        if start <= begun < stop:
            self._fail(task, begun + timeout if case.fault == "hang" else begun, case.fault)
        task.back = task.back or (begun if begun >= stop else 0.0)
        done = self._free = max(begun, self._free) + case.per_request + points * case.per_point
        if begun < start < done:  # it goes down meanwhile
            self._fail(task, min(start, begun + timeout), "cut")
        self.outcome.received += points
        self.sleep(task, min(done, begun + timeout))
        task.stored.update(step for curve in batch for step in curve.steps)
        if done > begun + timeout:
            self._fail(task, self.now, "hang")
        if self.now >= stop:
            task.answered(self.now)

    def _fail(self, task: _Task, until: float, fault: str) -> None:
        self.sleep(task, until)
        code = TrackingError.TIMED_OUT if fault == "hang" else ""
        raise TrackingError(fault, code=code, retry_after=self.case.retry_after if fault == "503" else 0.0)


class _Task:
    """One process: what it yields goes to its outbox, which is asked to send when the clock would ask it."""

    def __init__(self, simulation: _Simulation, number: int, folder: Path, starts: float) -> None:
        self.simulation, self.starts, self.wake = simulation, starts, _held_lock()
        server = Server(f"http://task-{number}", simulation.case.timeout)
        target = Target.of(server, Journal(str(folder / str(number))), RunInfo(f"{number:032}"))
        self._box = outbox.Outbox(target, lambda _: None)
        self._box.proven = True
        self._written, self._largest, self._next, self._in_flight = 0, 0, starts, False
        self.back = self.heard = self.caught_up = 0.0
        self.stored: set[int] = set()

    def live(self) -> None:
        """Yield as long as there is something, and send as long as something waits."""
        simulation, box = self.simulation, self._box
        while (goes_on := self._next < simulation.case.until) or box.ready:
            simulation.sleep(self, min(self._next if goes_on else math.inf, box.due if box.ready else math.inf))
            self._yield()
            if box.ready and box.due <= simulation.now:
                self._in_flight = True
                box._send_file()
                self._in_flight = False
        box.close()
        outcome = simulation.outcome
        outcome.written += self._written
        outcome.stored += len(self.stored)
        for name in ("back", "heard", "caught_up"):
            getattr(outcome, name).append(getattr(self, name))
        outcome.journal.append(self._largest)

    def answered(self, moment: float) -> None:
        """Note how far it is."""
        self.heard = self.heard or moment
        case = self.simulation.case
        if len(self.stored) >= case.points * (case.down[1] - self.starts) / case.every:  # all from before the return
            self.caught_up = self.caught_up or moment

    def _yield(self) -> None:
        """Save what has come until now."""
        case = self.simulation.case
        while self._next <= self.simulation.now and self._next < case.until:
            self._next += case.every
            steps = range(self._written, self._written + case.points)
            self._written += case.points
            self._box.save(
                [Curve(f"metrics.{step % 100}", [step / 7], [step], [step]) for step in steps], None, collect=True
            )
            if self._box._file is not None:
                self._largest = max(self._largest, self._box._file._end)

    def log_batch(self, batch: list[Curve], timeout: float) -> None:
        """Send; what is yielded meanwhile goes to the journal, unless the task itself waits for the answer."""
        try:
            self.simulation.request(self, batch, timeout)
        finally:
            if self._in_flight:
                self._yield()


def _held_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def simulate(case: Case, folder: Path, seed: int = 0) -> Outcome:
    """Live through a case; the journals go to a folder."""
    simulation = _Simulation(case)
    chance = random.Random(seed)
    tasks = [_Task(simulation, number, folder, chance.uniform(0, case.every)) for number in range(case.tasks)]

    def open_store(server: Server, **_: object) -> SimpleNamespace:
        task = tasks[int(server.uri.rpartition("-")[2])]
        return SimpleNamespace(log_batch=lambda _, batch: task.log_batch(batch, server.timeout))

    with (
        patch.object(outbox, "time", SimpleNamespace(monotonic=lambda: simulation.now)),
        patch.object(sender, "random", chance),
        patch.object(sender, "open_store", open_store),
    ):
        simulation.run(tasks)
    return simulation.outcome
