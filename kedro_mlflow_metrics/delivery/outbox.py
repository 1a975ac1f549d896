"""What is on its way to one run from this process: to MLflow at once, or to the journal and from there to MLflow."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.delivery.sender import Sender, pause_after, send_file
from kedro_mlflow_metrics.errors import JournalError, TrackingError
from kedro_mlflow_metrics.journal.points_file import PointsFile
from kedro_mlflow_metrics.points.curves import MAX_POINTS, after, count
from kedro_mlflow_metrics.process import LAST_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_mlflow_metrics.delivery.target import Target
    from kedro_mlflow_metrics.points.curves import Curve

__all__ = ["Outbox", "Reporting"]

log = logging.getLogger("kedro.mlflow_metrics")
PERIOD_SECONDS = 1.0
PATIENCE_SECONDS = 2.0
# Lends a function that is told how many points of how many MLflow has answered for.
Reporting = Callable[[], AbstractContextManager[Callable[[int, int], object]]]


class Outbox:
    """What is on its way to one run; ``written`` is called with it when there is something for the clock to do.

    Attributes:
        proven: Whether MLflow has once accepted something for the run; from then on no answer raises.
        trouble: Why the last sending failed, None if it did not.
        due: When the clock sends next, in seconds of the monotonic clock.
        opens: Whether the run began offline and it is for this process to make it.
    """

    def __init__(self, target: Target, written: Callable[[Outbox], object]) -> None:
        self.target, self._written = target, written
        self._sender = Sender(target)
        self._sending, self._opening = threading.Lock(), threading.RLock()
        self._file: PointsFile | None = None
        self._last_sent = self._last_forced = self._looked = -PERIOD_SECONDS
        self._failures = 0
        self._warned: set[str] = set()
        self._closed = self._held = False
        self.proven = self.opens = False
        self.sent = False  # whether MLflow has answered for any point
        self.trouble: TrackingError | None = None
        self.due, self._force_at = 0.0, math.inf

    @property
    def waiting(self) -> bool:
        """Whether points are in the journal that MLflow has not answered for."""
        file = self._file  # another thread may close it at any time
        return file is not None and file.waiting

    @property
    def ready(self) -> bool:
        """Whether there is something for the clock to do."""
        return not self.target.kept and (self.waiting or (self.opens and self.target.offline))

    @property
    def idle(self) -> bool:
        """Whether it can be made anew when it is needed again."""
        return self._file is None and self.trouble is None and not self.opens

    @property
    def moment(self) -> float:
        """When the clock is to come, in seconds of the monotonic clock."""
        return min(self.due, self._force_at)

    def expect(self, trouble: TrackingError, *, opens: bool) -> None:
        """Begin while MLflow does not answer: points wait, and the clock tries; the user was told."""
        self.trouble, self.opens = trouble, opens
        self.proven = opens  # the pipeline was let go on: no later answer stops it
        self._warned.add("outage")
        self.due = time.monotonic() + PERIOD_SECONDS
        if opens:
            self._written(self)

    def save(self, curves: Sequence[Curve], reporting: Reporting, *, collect: bool = False) -> None:
        """Take points; when this returns they are in MLflow, or in the journal.

        Args:
            curves: Checked and stamped points, grouped by key.
            reporting: Called for a save of several batches.
            collect: Whether they may be sent a second later, together with others.
        """
        self.complain()
        self._look()
        if self._sends_at_once(curves, collect=collect):
            with self._sending:
                if self.trouble is None:  # or somebody else has met it while this one waited
                    curves = self._send(curves, reporting)
        if curves:
            self._keep(curves, reporting)

    def complain(self) -> None:
        """Raise what was met in the background, where it must not be passed over."""
        if self.trouble is not None and self._must_raise(self.trouble):
            raise self.trouble

    def _must_raise(self, trouble: TrackingError) -> bool:
        return self.target.journal.fail or not (trouble.outage or self.proven)

    def _sends_at_once(self, curves: Sequence[Curve], *, collect: bool) -> bool:
        if self.target.offline or self.trouble is not None:
            return False
        if not collect or not self.proven or count(curves) > MAX_POINTS:
            return True
        return not self.waiting and time.monotonic() - self._last_sent >= PERIOD_SECONDS

    def _send(self, curves: Sequence[Curve], reporting: Reporting) -> Sequence[Curve]:
        """Send at once; return what is left where MLflow does not answer. The caller holds the right to send."""
        done, total = 0, count(curves)
        strict = self.target.journal.fail or not self.proven
        try:
            with reporting() if total > MAX_POINTS else nullcontext(lambda *_: None) as report:
                for sent in self._sender.send(curves, strict=strict):
                    self.proven = self.sent = True
                    if sent.refused:
                        self.begin_file().set_aside(sent.refused)
                    done += sent.points
                    report(done, total)
        except TrackingError as exc:
            if self._must_raise(exc):
                raise
            self._stumble(exc)
            return after(curves, done)
        finally:
            self._rest()
        return ()

    def _keep(self, curves: Sequence[Curve], reporting: Reporting) -> None:
        """Put points into the journal; send them after all if it takes no more."""
        try:
            with self._opening:  # nobody closes the file meanwhile
                self.begin_file().append(curves)
                self._force_at = min(self._force_at, time.monotonic() + PERIOD_SECONDS)
        except JournalError as exc:
            if self.target.offline:
                raise exc.after(self.trouble) from exc.__cause__
            self._warn("journal", "%s; each save is sent at once", exc)
            with self._sending:
                left = self._send(curves, reporting)
            if left:
                raise exc.after(self.trouble) from exc.__cause__
            self.trouble = None
            return
        if not self.target.kept:
            self._written(self)

    def begin_file(self) -> PointsFile:
        """Return this process's file of the run."""
        with self._opening:
            if self._file is None:
                self._file = PointsFile.create(self.target.folder, self.target.record)
                self._closed = False  # a thread saves that got this outbox before it was closed
            return self._file

    def _look(self) -> None:
        """Look, once a second at most, whether the opener has made the run by now."""
        if self.target.offline and not self.opens and time.monotonic() - self._looked >= PERIOD_SECONDS:
            self._looked = time.monotonic()
            self._arrive()

    def flush(self, *, force: bool = False, within: float | None = None) -> None:
        """Send what waits, for as long as MLflow answers.

        Args:
            force: Whether to try once more although MLflow did not answer the last time.
            within: Seconds for all of it; None for as long as MLflow goes on taking points.
        """
        just_tried = time.monotonic() - self._last_forced < PERIOD_SECONDS
        if (self._file is None and not self.ready) or (self.trouble is not None and (just_tried or not force)):
            return
        longest = LAST_SECONDS if within is None else within
        if self._sending.acquire(timeout=longest):  # first: what another thread is sending may not count as waiting
            try:
                if self.ready:
                    if force:
                        self._sender.hurry(longest)
                    self._send_file(None if within is None else time.monotonic() + within)
                    if force:
                        self._last_forced = time.monotonic()
                self._let_go()
            finally:
                self._sending.release()

    def _let_go(self) -> None:
        """Close a file of which nothing waits: who streams into hundreds of runs has not hundreds of them open."""
        with self._opening:
            if self._file is not None and (self._closed or not self._file.waiting):
                self._file.close()
                self._file = None
                self.target.folder.remove()

    def tick(self) -> None:
        """Have the disk write down what waits, and send it if it is time; called by the clock."""
        file, self._force_at = self._file, math.inf
        if file is not None:
            file.force()
        if time.monotonic() < self.due:
            return
        with self._sending:
            if not self._closed:
                self._send_file()

    def _send_file(self, deadline: float | None = None) -> None:
        begun, told = time.monotonic(), False
        try:
            if not self._arrive():
                return
            file = self._file
            for _ in send_file(file, self._sender, repeatable=self.target.server.repeatable) if file else ():
                self.proven = self.sent = True
                moment = time.monotonic()
                if deadline is not None and moment > deadline:
                    return
                if not told and moment - begun > PATIENCE_SECONDS:
                    told = True
                    log.info("Sending what waits for run %s", self.target.record.name or self.target.record.shown)
            if self.trouble is not None:
                log.info("MLflow answers again; what waited is sent")
                self._warned -= {"outage", "refusal"}
                self._let_go()
            self.trouble, self._failures = None, 0
        except TrackingError as exc:
            self._stumble(exc)
        except Exception as exc:
            log.exception("The points of run %s wait in the journal", self.target.record.shown)
            self._stumble(TrackingError(f"sending failed: {exc}"))
        finally:
            self._rest()

    def _arrive(self) -> bool:
        """Make a run that began offline, or learn that its opener has; return whether MLflow has it."""
        target = self.target
        if target.offline:
            if self.opens:
                target.make(self._sender.server)
            self.proven = target.look()
        return not target.offline

    def _rest(self) -> None:
        """Let a second pass until the clock sends again."""
        self._last_sent = time.monotonic()
        if self.trouble is None:
            self.due = self._last_sent + PERIOD_SECONDS

    def _stumble(self, trouble: TrackingError) -> None:
        """Take an outage or a refusal: one warning, then tries with growing pauses."""
        self.trouble = trouble
        self._failures += 1
        self.due = time.monotonic() + pause_after(self._failures, trouble.retry_after)
        if not self.target.journal.fail:
            self._warn(
                "outage" if trouble.outage else "refusal",
                "%s. The pipeline goes on; its points wait in %s until MLflow answers; '%s' sends what is left, with "
                "--to URI elsewhere",
                trouble,
                self.target.folder.path,
                self.target.journal.command("sync"),
            )

    def _warn(self, kind: str, text: str, *arguments: object) -> None:
        """Warn once of each kind."""
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning(text, *arguments)

    def close(self) -> None:
        """Let go of the journal, so that another process may send what is left."""
        self._closed = True
        self._let_go()

    def hold(self) -> None:
        """Hold the right to send while the process forks; a server that hangs is not waited for."""
        self._held = self._sending.acquire(timeout=PATIENCE_SECONDS)

    def release(self) -> None:
        """Give the right back."""
        if self._held:
            self._held = False
            self._sending.release()

    def leave(self) -> None:
        """Close what a fork inherited."""
        if self._file is not None:
            self._file.leave()
