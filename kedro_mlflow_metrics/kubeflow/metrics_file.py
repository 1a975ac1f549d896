"""Kubeflow's v1 metrics file beside a run: written when a save ends, and at the end from what the run holds."""

from __future__ import annotations

import errno
import logging
import math
import threading
import time
from typing import TYPE_CHECKING

from kedro_mlflow_metrics import process
from kedro_mlflow_metrics.delivery.read import last_points
from kedro_mlflow_metrics.errors import MetricsError
from kedro_mlflow_metrics.journal.disk import replace_file
from kedro_mlflow_metrics.kubeflow.v1 import Document, Manner, document, warn_left_out
from kedro_mlflow_metrics.points.forms import last_finite, latest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kedro_mlflow_metrics.delivery.stream import Place
    from kedro_mlflow_metrics.delivery.target import Target
    from kedro_mlflow_metrics.points.curves import Curve, MetricPoint

__all__ = ["MetricsFile", "write_file", "write_from_run"]

log = logging.getLogger("kedro.mlflow_metrics")
PERIOD_SECONDS = 1.0
_NOT_BESIDE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY)


def write_file(path: Path, content: bytes) -> None:
    """Replace a file, or write to it where it is all that may be written, as in ``/``. Raises OSError."""
    try:
        replace_file(path, content)
    except OSError as exc:
        if exc.errno not in _NOT_BESIDE or not path.is_file():
            raise
        path.write_bytes(content)


class _Content:
    """What this process knows of one file of one run; entries with the same path share it."""

    def __init__(self) -> None:
        self.points: dict[str, MetricPoint | None] = {}
        self.manners: dict[str, Manner] = {}
        self.lock = threading.Lock()
        self.written = -math.inf
        self._warned = False
        self._named: set[str] = set()

    def write(self, path: Path, *, strict: bool = False) -> Document:
        """Replace the file and return its content.

        That it cannot be written is one warning, or an error if ``strict`` is set.
        """
        made = document(self.points, self.manners.__getitem__)
        self.written = time.monotonic()
        try:
            write_file(path, made.text.encode())
        except OSError as exc:
            text = f"the metrics file {path} for Kubeflow cannot be written: {exc.strerror or exc}"
            warned, self._warned = self._warned, True
            if strict:
                raise MetricsError(text, "MLflow has the metrics") from exc
            if not warned:
                log.warning("%s; the run goes on, MLflow has the metrics", text)
        return made

    def warn(self, made: Document, *, only_too_many: bool = False) -> None:
        """Name each key that Kubeflow will not show, once."""
        new = [sorted(set(keys) - self._named) for keys in (made.without_value, made.left_out)]
        self._named.update(*new)
        warn_left_out(() if only_too_many else new[0], new[1])


_contents: process.Own[dict[tuple[str, Path], _Content]] = process.Own(dict)  # by run and path


def _content(target: Target, path: Path) -> _Content:
    return _contents.value.setdefault((target.record.ident, path), _Content())


class MetricsFile:
    """The file as a destination of what one dataset saves."""

    def __init__(self, path: Path, manner: Manner) -> None:
        self._path, self._manner = path, manner

    def take(self, target: Target, curves: Sequence[Curve], place: Place) -> None:
        """Remember the last finite value of each key; in a stream write the file about once a second."""
        content = _content(target, self._path)
        with content.lock:
            for key, point in latest(curves).items():
                content.points[key] = last_finite((content.points.get(key), point))
                content.manners[key] = self._manner
            if place != "alone" and time.monotonic() - content.written >= PERIOD_SECONDS:
                content.write(self._path)

    def settle(self, target: Target) -> None:
        """Write the file, and say what Kubeflow will not show."""
        content = _content(target, self._path)
        with content.lock:
            content.warn(content.write(self._path, strict=self._manner.options.strict))


def write_from_run(target: Target, path: Path, manners: Sequence[Manner]) -> None:
    """Write the file at the end of a run from what the run holds, also from other processes and earlier sessions.

    While MLflow does not answer, the file stays as the saves have left it.
    """
    content = _contents.value.pop((target.record.ident, path), None) or _Content()
    try:
        found = last_points(target, lambda key: any(manner.owns(key) for manner in manners), patient=True)
    except MetricsError as exc:
        log.debug("The metrics file %s stays as it is: %s", path, exc)
        return
    for key, point in found.items():
        content.points[key] = point
        content.manners[key] = next(manner for manner in manners if manner.owns(key))
    if content.points:
        content.warn(content.write(path), only_too_many=True)
