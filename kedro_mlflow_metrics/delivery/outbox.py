"""What is on its way to one run: to MLflow at once, or to the journal and from there to MLflow later."""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.delivery.sender import Sender
from kedro_mlflow_metrics.errors import JournalError, TrackingError
from kedro_mlflow_metrics.journal.folder import folder_of, remove
from kedro_mlflow_metrics.journal.points_file import JournalFile
from kedro_mlflow_metrics.points.batches import MAX_POINTS, after, count
from kedro_mlflow_metrics.views.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.progress import Progress

    from kedro_mlflow_metrics.journal.folder import Record
    from kedro_mlflow_metrics.points.curves import Points
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = ["Outbox", "send_file"]

log = logging.getLogger("kedro.mlflow_metrics")
PERIOD_SECONDS = 1.0
PATIENCE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0


class Outbox:
    """What is on its way to one run from this process.

    Attributes:
        proven: Whether MLflow has once accepted something for the run; from then on no answer raises.
        trouble: Why the last sending failed, None if it did not.
        tries: How often the clock has tried.
        asked: How many tries somebody waits for.
        busy: Whether the clock is trying.
        moved: When MLflow last answered for something, in seconds of the monotonic clock.
        followers: Called when the clock has sent what waited, and with True when the outbox closes.
    """

    def __init__(self, server: Server, record: Record, written: Callable[[], object]) -> None:
        """Open nothing yet.

        Args:
            server: Where the run lives.
            record: The run.
            written: Called when a line stands in the journal.
        """
        self.server, self.record = server, record
        self._written = written
        self._sender = Sender(server, record.run_id)
        self._sending, self._opening = threading.Lock(), threading.Lock()
        self._journal: JournalFile | None = None
        self._last_sent = -PERIOD_SECONDS
        self._due, self._failures = 0.0, 0
        self._warned: set[str] = set()
        self._closed = self._paused = False
        self.proven = self.busy = False
        self.trouble: TrackingError | None = None
        self.tries = self.asked = 0
        self.moved = 0.0
        self.followers: list[Callable[[bool], object]] = []

    @property
    def waiting(self) -> bool:
        """Whether points are in the journal that MLflow has not answered for."""
        return self._journal is not None and self._journal.waiting

    @property
    def offline(self) -> bool:
        """Whether the run does not exist in MLflow yet."""
        return bool(self.record.local_id)

    @property
    def ready(self) -> bool:
        """Whether there is something for the clock to send."""
        return self.waiting and not self.offline

    @property
    def due(self) -> float:
        """When the clock sends next, in seconds of the monotonic clock."""
        return 0.0 if self.tries < self.asked else self._due

    def save(self, points: Sequence[Points], name: str) -> None:
        """Take points that are grouped by key; see `write`."""
        self.complain()
        if self._may_send(points):
            try:
                points = self._send(points, name)
            finally:
                self._sending.release()
        if points:
            self._keep(points)

    def complain(self) -> None:
        """Raise what the clock met in the background, where it must not be passed over."""
        trouble = self.trouble
        if trouble is not None and (self.server.delivery.fail or not (trouble.outage or self.proven)):
            raise trouble

    def _may_send(self, points: Sequence[Points]) -> bool:
        """Tell whether these points go at once, and then hold the right to send."""
        if self.offline or self.trouble is not None:
            return False
        if count(points) > MAX_POINTS or not self.proven:  # who was never accepted is not put off
            self._sending.acquire()
            if self.trouble is None:
                return True
            self._sending.release()  # met while this one waited
            return False
        due = time.monotonic() - self._last_sent >= PERIOD_SECONDS
        return due and not self.waiting and self._sending.acquire(blocking=False)

    def _send(self, points: Sequence[Points], name: str) -> Sequence[Points]:
        """Send at once; return what is left where MLflow does not answer."""
        done, total, begun = 0, count(points), time.monotonic()
        strict = self.server.delivery.fail or not self.proven
        with ExitStack() as stack:
            bar: Progress | None = None
            try:
                for number in self._sender.send(points, strict=strict):
                    done += number
                    self.proven = True
                    if refused := self._sender.take_refused():
                        self._opened().set_aside(refused)
                    if bar is None and time.monotonic() - begun > PATIENCE_SECONDS and sys.stderr.isatty():
                        bar = stack.enter_context(progress_bar())
                        bar.add_task(f"{name} to MLflow", total=total)
                    if bar is not None:
                        bar.update(bar.task_ids[0], completed=done)
            except TrackingError as exc:
                if self.server.delivery.fail or not (exc.outage or self.proven):
                    raise
                self._sender.take_refused()  # their batch is sent again
                self._stumble(exc)
                return after(points, done)
            finally:
                self._last_sent = time.monotonic()
                if self.trouble is None:
                    self._due = self._last_sent + PERIOD_SECONDS
        return ()

    def _keep(self, points: Sequence[Points]) -> None:
        """Put points into the journal; send them after all if it takes no more."""
        try:
            self._opened().append(points)
        except JournalError as exc:
            if self.offline:
                raise
            self._warn("journal", "%s; each save is sent at once", exc)
            with self._sending:
                left = self._send(points, "metrics")
            if left:
                raise JournalError(f"{exc}; and {self.trouble}") from exc
            self.trouble = None
            return
        if not self.offline:
            self._written()

    def _opened(self) -> JournalFile:
        with self._opening:
            if self._journal is None:
                delivery = self.server.delivery
                self._journal = JournalFile.create(delivery, folder_of(delivery, self.record), self.record)
            return self._journal

    def send_waiting(self) -> None:
        """Send what waits in the journal, and say so; called by the clock."""
        self._send_waiting()
        if self.trouble is None:
            self._tell(closing=False)

    def _tell(self, *, closing: bool) -> None:
        for follow in self.followers:
            follow(closing)

    def _send_waiting(self) -> None:
        with self._sending:
            if self._closed:
                return
            self.busy = True
            try:
                for _ in send_file(self._opened(), self._sender, repeatable=self.server.repeatable):
                    self.proven, self.moved = True, time.monotonic()
                if self.trouble is not None:
                    log.info("MLflow answers again; what waited is sent")
                    self._warned.discard("trouble")
                self.trouble, self._failures = None, 0
            except TrackingError as exc:
                self._stumble(exc)
            except Exception as exc:
                if self._closed:
                    return
                log.exception("The points of run %s wait in the journal", self.record.ident)
                self._stumble(TrackingError(f"sending failed: {exc}"))
            finally:
                self.tries, self.busy = self.tries + 1, False
                self._last_sent = time.monotonic()
                if self.trouble is None:
                    self._due = self._last_sent + PERIOD_SECONDS

    def _stumble(self, trouble: TrackingError) -> None:
        """Take an outage or a refusal: one warning, then tries with growing pauses."""
        self.trouble = trouble
        self._failures += 1
        pause = min(LONGEST_PAUSE_SECONDS, 2.0 ** min(self._failures - 1, 6)) * random.uniform(0.5, 1.0)  # noqa: S311
        self._due = time.monotonic() + max(pause, trouble.retry_after)
        if not self.server.delivery.fail:
            self._warn(
                "trouble",
                "%s. The pipeline goes on; its points wait in %s until MLflow answers; '%s' sends what is left",
                trouble.reason,
                folder_of(self.server.delivery, self.record),
                self.server.delivery.sync,
            )

    def _warn(self, kind: str, text: str, *arguments: object) -> None:
        """Warn once of each kind."""
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning(text, *arguments)

    def hold(self) -> None:
        """Begin the journal's file."""
        self._opened()

    def close(self) -> None:
        """Let go of the journal, so that another process may send what is left."""
        self._closed = True
        if self._journal is not None:
            self._journal.close()
            remove(self._journal.path.parent)
            self._journal = None
        self._tell(closing=True)

    def pause(self) -> None:
        """Hold the right to send while the process forks; a server that hangs is not waited for."""
        self._paused = self._sending.acquire(timeout=PATIENCE_SECONDS)

    def resume(self) -> None:
        """Give it back."""
        if self._paused:
            self._paused = False
            self._sending.release()

    def leave(self) -> None:
        """Close what a fork inherited."""
        if self._journal is not None:
            self._journal.leave()


def send_file(journal: JournalFile, sender: Sender, *, repeatable: bool) -> Iterator[int]:
    """Send what waits in a file of the journal, yielding numbers of points as MLflow answers for them.

    Live sending and ``kedro metrics sync`` are this one function.

    Args:
        journal: The file.
        sender: Sends to its run.
        repeatable: Whether sending twice does no harm; if it does, a batch counts as sent before it is.

    Raises:
        TrackingError: MLflow refused the run or the user, or gave no answer; what is left stays in the file.
    """
    while journal.waiting:
        most = sender.window
        window = journal.read(most)
        if not repeatable:
            journal.acknowledge(window.end)
        sender.take_refused()  # what a try that failed refused comes again
        yield from sender.send(window.points)
        if refused := sender.take_refused():
            journal.set_aside(refused)
        if repeatable:
            journal.acknowledge(window.end)
        if window.damaged:
            journal.set_damaged_aside(window.damaged)
            log.warning("%d damaged lines of %s are set aside", len(window.damaged), journal.path)
        if count(window.points) < most:
            break  # the end of the file: what came meanwhile is for the next second
    journal.compact()
