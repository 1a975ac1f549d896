"""What a dataset keeps while logging is switched off: in memory, and for worker processes in a file that they share."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kedro_mlflow_metrics.points.curves import MetricPoint, Points

__all__ = ["Memory"]


class Memory:
    """The points of one dataset in one pipeline run, by key."""

    def __init__(self) -> None:
        self._points: dict[str, list[MetricPoint]] = {}

    def read(self, spool: Path | None) -> dict[str, list[MetricPoint]]:
        """Return what was kept, by other processes too if there is a file."""
        if spool is not None and spool.exists():
            self._points = pickle.loads(spool.read_bytes())  # noqa: S301 - our own file, in a private folder
        return self._points

    def add(self, points: Iterable[Points], spool: Path | None) -> None:
        """Keep more."""
        kept = self.read(spool)
        for some in points:
            kept.setdefault(some.key, []).extend(some)
        if spool is not None:
            spool.write_bytes(pickle.dumps(kept))
