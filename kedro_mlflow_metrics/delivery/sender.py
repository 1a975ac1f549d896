"""Sends batches to one run, and knows what an answer means: done, try again later, or never."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.points.batches import MAX_POINTS, apart, batches, count
from kedro_mlflow_metrics.tracking.connect import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro_mlflow_metrics.points.curves import MetricPoint, Points
    from kedro_mlflow_metrics.tracking.address import Server, Store

__all__ = ["Sender"]

_LEAST_POINTS = 50
_LONGEST_SECONDS = 60.0


class Sender:
    """Sends to one run, in batches as large and requests as long as the server turns out to need.

    Args:
        server: Where the run lives.
        run_id: The run.
    """

    def __init__(self, server: Server, run_id: str) -> None:
        self._server, self._run_id = server, run_id
        self._refused: list[tuple[MetricPoint, str]] = []
        self._limit, self._timeout = MAX_POINTS, server.timeout
        self._store: Store | None = None

    @property
    def window(self) -> int:
        """How many points to read at a time: batches grouped by key over it touch few rows each."""
        return 20 * self._limit

    def take_refused(self) -> list[tuple[MetricPoint, str]]:
        """Return the points whose content MLflow has refused since the last call, and why."""
        refused, self._refused = self._refused, []
        return refused

    def send(self, points: Sequence[Points], *, strict: bool = False) -> Iterator[int]:
        """Send points that are grouped by key, yielding how many MLflow has answered for after each batch.

        Args:
            points: What to send.
            strict: Whether a refusal of the content raises, instead of setting aside what is refused.

        Raises:
            TrackingError: MLflow refused the run or the user, or gave no answer; the batch is to be sent again.
        """
        for batch in batches(points, self._limit):
            self._send(batch, strict=strict)
            yield count(batch)

    def _send(self, batch: list[Points], *, strict: bool) -> None:
        try:
            self._opened().log_batch(self._run_id, batch)
        except TrackingError as exc:
            self._store = None
            if not self._server.repeatable and not strict:
                self._refused += [(point, str(exc)) for some in batch for point in some]
            elif exc.code == TrackingError.ALREADY_THERE:
                self._send_again(batch, strict=strict)
            elif exc.outage:
                self._shrink(exc, batch, strict=strict)
            elif strict or exc.credentials or not self._has_run():
                raise
            elif count(batch) == 1:
                self._refused += [(point, str(exc)) for some in batch for point in some]
            else:
                self._send_halves(batch, strict=strict)
        else:
            self._limit = min(MAX_POINTS, 2 * self._limit)

    def _shrink(self, trouble: TrackingError, batch: list[Points], *, strict: bool) -> None:
        """Make batches smaller and requests longer where that may help."""
        if trouble.code in (TrackingError.TIMED_OUT, TrackingError.TOO_LARGE):
            self._limit = max(_LEAST_POINTS, self._limit // 2)
        if trouble.code == TrackingError.TIMED_OUT:
            self._timeout = min(_LONGEST_SECONDS, 2 * self._timeout)
        if trouble.code != TrackingError.TOO_LARGE or count(batch) <= _LEAST_POINTS:
            raise trouble
        self._send_halves(batch, strict=strict)

    def _send_again(self, batch: list[Points], *, strict: bool) -> None:
        """Send a batch of which some is stored, after an answer that was lost; a point that is refused alone is there.

        MLflow before 3.17 refuses such a batch as a whole if it holds a NaN, and before 3.10 one of more than 100 keys.
        """
        if count(batch) == 1:
            return
        pieces = list(apart(batch))
        if len(pieces) == 1:
            self._send_halves(batch, strict=strict)
        else:
            for piece in pieces:
                self._send(piece, strict=strict)

    def _send_halves(self, batch: list[Points], *, strict: bool) -> None:
        for half in batches(batch, (count(batch) + 1) // 2):
            self._send(half, strict=strict)

    def _has_run(self) -> bool:
        """Tell a refused content from a run that is gone."""
        info, _ = self._opened().get_run(self._run_id)
        return info.lifecycle_stage == "active"

    def _opened(self) -> Store:
        if self._store is None:
            retries = 3 if self._server.delivery.fail else 0
            self._store = open_store(replace(self._server, timeout=self._timeout), retries=retries)
        return self._store
