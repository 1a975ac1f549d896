"""Sends batches to one run, and knows what an answer means: done, try again later, or never."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from kedro_mlflow_metrics.errors import TrackingError, counted
from kedro_mlflow_metrics.points.curves import MAX_POINTS, apart, batches, count
from kedro_mlflow_metrics.tracking.connect import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kedro_mlflow_metrics.delivery.target import Target
    from kedro_mlflow_metrics.journal.points_file import PointsFile
    from kedro_mlflow_metrics.points.curves import Curve, MetricPoint
    from kedro_mlflow_metrics.tracking.address import Server
    from kedro_mlflow_metrics.tracking.store import Store

__all__ = ["Sender", "Sent", "pause_after", "send_file"]

log = logging.getLogger("kedro.mlflow_metrics")
_LEAST_POINTS = 50
_MOST_BATCHES = 16
_LONGEST_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 60.0
_Refused = list[tuple["MetricPoint", str]]


class Sent(NamedTuple):
    """How many points MLflow has answered for, and which of them it refused for their content, with the reason."""

    points: int
    refused: _Refused


class Sender:
    """Sends to one run, in batches as large and requests as long as the server turns out to need."""

    def __init__(self, target: Target, *, careful: bool = False) -> None:
        """Ask nobody yet; a ``careful`` one begins with small windows, as after a failure."""
        self._target, self._server = target, target.server
        self._retries = 3 if target.journal.fail else 0
        self._limit, self._timeout, self._batches = MAX_POINTS, target.server.timeout, 1 if careful else _MOST_BATCHES
        self._store: Store | None = None

    @property
    def window(self) -> int:
        """How many points to read at a time.

        Batches that are grouped by key over many points touch few rows each. But what a try has sent is remembered
        window by window, so they are small after a failure.
        """
        return self._batches * self._limit

    @property
    def server(self) -> Server:
        """The address, with the time that a request may take at the moment."""
        return replace(self._server, timeout=self._timeout)

    def hurry(self, seconds: float) -> None:
        """Make no request longer than this from now on."""
        self._timeout, self._store = min(self._timeout, max(0.1, seconds)), None

    def send(self, curves: Sequence[Curve], *, strict: bool = False) -> Iterator[Sent]:
        """Send points that are grouped by key, yielding after each batch what became of it.

        Args:
            curves: What to send.
            strict: Whether a refusal of the content raises, instead of setting aside what is refused.
        """
        known, self._batches = self._batches, 1
        for batch in batches(curves, self._limit):
            yield Sent(count(batch), self._send(batch, strict=strict))
        self._batches = min(2 * known, _MOST_BATCHES)

    def _send(self, batch: list[Curve], *, strict: bool) -> _Refused:
        """Send a batch and return what is refused of it."""
        try:
            self._opened().log_batch(self._target.record.run_id, batch)
        except TrackingError as exc:
            self._store = None
            alone = count(batch) == 1
            if not self._server.repeatable and not strict:
                return [(point, str(exc)) for curve in batch for point in curve]
            if exc.code == TrackingError.ALREADY_THERE:
                return [] if alone else self._send_all(_pieces(batch), strict=strict)
            if exc.outage:
                return self._send_smaller(exc, batch, strict=strict)
            if strict or exc.credentials or not self._has_run():
                raise
            return [(*batch[0], str(exc))] if alone else self._send_all(_halves(batch), strict=strict)
        self._limit = min(MAX_POINTS, self._limit + _LEAST_POINTS)
        return []

    def _send_smaller(self, trouble: TrackingError, batch: list[Curve], *, strict: bool) -> _Refused:
        """Make batches smaller, and requests longer where that may help.

        After any failure: a server that comes back meets all who waited for it. They find what it can take as TCP does,
        by halving after a failure and growing slowly; with full batches at once most would wait in vain.
        """
        self._limit = max(_LEAST_POINTS, self._limit // 2)
        if trouble.code == TrackingError.TIMED_OUT:
            self._timeout = max(self._timeout, min(_LONGEST_SECONDS, 2 * self._timeout))
        if trouble.code != TrackingError.TOO_LARGE or count(batch) <= _LEAST_POINTS:
            raise trouble
        return self._send_all(_halves(batch), strict=strict)

    def _send_all(self, parts: Iterable[list[Curve]], *, strict: bool) -> _Refused:
        return [refused for part in parts for refused in self._send(part, strict=strict)]

    def _has_run(self) -> bool:
        """Tell a refused content from a run that is gone."""
        info, _ = self._opened().get_run(self._target.record.run_id)
        return info.lifecycle_stage == "active"

    def _opened(self) -> Store:
        if self._store is None:
            self._store = open_store(self.server, retries=self._retries)
        return self._store


def send_file(file: PointsFile, sender: Sender, *, repeatable: bool) -> Iterator[int]:
    """Send what waits in a file of the journal, yielding numbers of points as MLflow answers for them.

    Live sending and ``kedro metrics sync`` are this one function. After a `TrackingError` the rest stays in the file.

    Args:
        file: The file.
        sender: Sends to its run.
        repeatable: Whether sending twice does no harm; if it does, a batch counts as sent before it is.
    """
    while file.waiting:
        most = sender.window
        window = file.read(most)
        if not repeatable:
            file.acknowledge(window.end)
        refused = []
        for sent in sender.send(window.points):
            refused += sent.refused
            yield sent.points
        if refused:
            file.set_aside(refused)
        if repeatable:
            file.acknowledge(window.end)
        if window.damaged:
            file.set_damaged_aside(window.damaged)
            log.warning("Set aside: %s of %s", counted(len(window.damaged), "damaged line"), file.path)
        if count(window.points) < most:
            break  # the end of the file: what came meanwhile is for the next second
    file.compact()


def _halves(batch: list[Curve]) -> Iterator[list[Curve]]:
    return batches(batch, (count(batch) + 1) // 2)


def _pieces(batch: list[Curve]) -> Iterable[list[Curve]]:
    """Cut a batch that MLflow refused because it holds some of it already: an answer was lost."""
    pieces = list(apart(batch))
    return pieces if len(pieces) > 1 else _halves(batch)


def pause_after(failures: int, retry_after: float) -> float:
    """Return how long to wait for the next try; many processes that failed at the same instant do not come back at one.

    Args:
        failures: How many tries have failed in a row.
        retry_after: Seconds that the server asked to wait; no try comes before.
    """
    pause = min(_LONGEST_PAUSE_SECONDS, 2.0 ** min(failures - 1, 6)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    return max(pause, retry_after * random.uniform(1.0, 1.5))  # noqa: S311 - no secret
