"""The one way in: what one dataset object saves is checked, stamped, and handed to each of its destinations."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from kedro_mlflow_metrics.delivery.clock import flush, outbox
from kedro_mlflow_metrics.errors import InvalidMetricsError
from kedro_mlflow_metrics.points.curves import grouped
from kedro_mlflow_metrics.points.stamp import Progress, Remarks, is_list, to_curves
from kedro_mlflow_metrics.process import now

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_mlflow_metrics.delivery.outbox import Reporting
    from kedro_mlflow_metrics.delivery.target import Target
    from kedro_mlflow_metrics.points.curves import Curve

__all__ = ["MlflowSink", "Place", "Sink", "Stream"]

Place = Literal["alone", "first", "later"]
MOST_RUNS = 100


class Sink(Protocol):
    """A destination of points. Each of the two may raise `MetricsError`."""

    def take(self, target: Target, curves: Sequence[Curve], place: Place) -> None:
        """Take the points of one save."""

    def settle(self, target: Target) -> None:
        """Finish what was collected: the save, the iterator or the generator node has ended."""


class MlflowSink:
    """MLflow, or the journal while it does not answer."""

    def __init__(self, reporting: Reporting) -> None:
        self._reporting = reporting

    def take(self, target: Target, curves: Sequence[Curve], place: Place) -> None:
        """Send the points; those of a stream once a second."""
        outbox(target).save(curves, self._reporting, collect=place == "later")

    def settle(self, target: Target) -> None:
        """Send what waits for the run."""
        flush(target)


class Stream:
    """The saves of one dataset object, one at a time.

    Attributes:
        last: The run that was saved to last.
    """

    def __init__(self, last: Target | None = None) -> None:
        self.last = last
        self._remarks = Remarks()
        self._progress: dict[str, Progress] = {}  # by run, the one that was saved to last at the end
        self._saving, self._pid = threading.Lock(), os.getpid()
        self._taken: dict[tuple[str, str], Target] = {}  # the runs that were saved to and are to be settled
        self._flowing = 0
        self._first = False

    def __reduce__(self) -> tuple[type[Stream], tuple[()]]:
        """Begin anew in another process, as a task that is tried again does."""
        return Stream, ()

    def begin(self) -> None:
        """Say that saves will follow one another: an iterator, or a generator node."""
        self._flowing += 1
        self._first = True

    def end(self, sinks: Sequence[Sink]) -> None:
        """Say that no more will follow, and finish what was collected."""
        self._flowing = max(0, self._flowing - 1)
        self._settle(sinks)

    def save(  # noqa: PLR0913 - a save's ingredients
        self,
        data: object,
        *,
        prefix: str,
        warn: Callable[[str], None],
        lenient: bool,
        exact: bool,
        find: Callable[[], Target | None],
        open_new: Callable[[], Target],
        sinks: Sequence[Sink],
    ) -> None:
        """Check a whole save, then hand it on, then remember how far it came.

        Args:
            data: A mapping, several in a list, or a frame.
            prefix: What stands before each metric's name, separator included.
            warn: Told what was left out, or logged otherwise than given.
            lenient: Whether a mapping that is not accepted is left out instead of refused.
            exact: Whether a name that MLflow does not take is refused.
            find: Returns the run to write to, None if one is still to be opened.
            open_new: Opens one.
            sinks: Where the points go.
        """
        if self._pid != os.getpid():  # forked, perhaps in the middle of a stream or of another thread's save
            self._saving, self._pid, self._flowing = threading.Lock(), os.getpid(), 0
        with self._saving:  # two threads do not get the same steps
            try:
                target = find()
                before = self._progress.get(target.record.ident if target else "", {})
                moved: Progress = {}
                read = partial(to_curves, prefix=prefix, now=now(), before=before, exact=exact)
                curves, remarks = _checked(data, read, moved, self._remarks.copy(), warn if lenient else None)
                for remark in remarks.since(self._remarks):
                    warn(remark)
                self._remarks = remarks
                if curves:
                    target = target or open_new()
                    place: Place = "alone" if not self._flowing else "first" if self._first else "later"
                    self._first, self.last, self._taken[target.key] = False, target, target
                    for sink in sinks:
                        sink.take(target, curves, place)
                    self._remember(target.record.ident, moved)
            except BaseException:
                self._flowing = 0  # nobody goes on with what was yielded
                raise
        if not self._flowing:
            self._settle(sinks)

    def _remember(self, run: str, moved: Progress) -> None:
        """Remember how far a run has come, and forget those that were not saved to for long."""
        self._progress[run] = self._progress.pop(run, {})
        self._progress[run].update(moved)
        for other in list(self._progress)[:-MOST_RUNS]:
            del self._progress[other]

    def _settle(self, sinks: Sequence[Sink]) -> None:
        taken, self._taken = self._taken, {}
        for target in taken.values():
            for sink in sinks:
                sink.settle(target)


def _checked(
    data: Any,  # noqa: ANN401 - what `save` takes
    read: Callable[..., list[Curve]],
    moved: Progress,
    remarks: Remarks,
    leave_out: Callable[[str], None] | None,
) -> tuple[list[Curve], Remarks]:
    """Turn a save into points, one curve per key, and what is to be said of them; ``moved`` gets how far keys came."""
    several = is_list(data)
    curves: list[Curve] = []
    for position, item in enumerate(data if several else (data,)):
        attempt, said = (moved, remarks) if leave_out is None else (dict(moved), remarks.copy())
        try:
            where = f"dict {position}, " if several else ""
            curves += read(item, progress=attempt, remarks=said, where=where)
        except InvalidMetricsError as exc:
            if leave_out is None:
                raise
            leave_out(f"{exc}; nothing of this dict is logged")
        else:
            moved.update(attempt)
            remarks = said
    return grouped(curves), remarks
