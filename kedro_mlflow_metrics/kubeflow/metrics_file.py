"""The v1 metrics file of Kubeflow Pipelines: one per path and run, shared by all entries and processes."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from io import FileIO
from typing import TYPE_CHECKING
from uuid import uuid4

from kedro_mlflow_metrics.delivery.clock import outbox, watch_exit
from kedro_mlflow_metrics.delivery.outbox import PERIOD_SECONDS
from kedro_mlflow_metrics.errors import MetricsError
from kedro_mlflow_metrics.journal.disk import try_lock
from kedro_mlflow_metrics.journal.folder import make_folder
from kedro_mlflow_metrics.kubeflow.v1 import Entry, Options, document, entries, latest, warn_left_out

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from kedro_mlflow_metrics.delivery.outbox import Outbox
    from kedro_mlflow_metrics.journal.folder import Record
    from kedro_mlflow_metrics.points.curves import Points
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = ["MetricsFile", "open_file", "write_aside"]

log = logging.getLogger("kedro.mlflow_metrics")

_PATIENCE_SECONDS = 5.0


class MetricsFile:
    """What one run says in one file, from this process and, by a note in the journal's folder, from all others.

    Args:
        path: The file; one of another run is begun anew.
        box: What is on its way to the run; whenever that is sent, the file is brought up to date.
    """

    def __init__(self, path: Path, box: Outbox) -> None:
        self._path, self._box = path, box
        self._run, self._delivery = box.record.ident, box.server.delivery
        tell = blake2b(f"{platform.node()}\n{path.absolute()}".encode(), digest_size=8).hexdigest()
        self._note = self._delivery.folder / "kubeflow" / f"{tell}.json"
        self._metrics: dict[str, Entry] = {}
        self._without_value: set[str] = set()
        self._left_out: tuple[Collection[str], Collection[str]] = (), ()
        self._named: set[str] = set()
        self._changed = False
        self._written = -math.inf
        self._warned = False
        self._mutex = threading.Lock()
        box.followers.append(self._follow)
        watch_exit()

    def take(self, points: Sequence[Points], options: Options, prefix: str) -> None:
        """Remember the last finite value of each key; nothing is written."""
        found = latest(points)
        with self._mutex:
            self._without_value |= {key for key, point in found.items() if point is None}
            _merge(self._metrics, entries(found, options, prefix))
            self._changed = True

    def refresh(self, *, strict: bool = False) -> None:
        """Bring the file up to date at once; or, with points that come faster than once a second, as they are sent.

        Raises:
            MetricsError: It failed, and ``strict`` is set.
        """
        if not self._box.waiting or time.monotonic() - self._written >= PERIOD_SECONDS:
            self.complete(strict=strict)

    def _follow(self, closing: bool) -> None:  # noqa: FBT001 - called by the outbox
        """Bring the file up to date when points were sent; at the end of the run let go of it."""
        self.complete()
        if closing:
            self.warn()
            _files.pop((os.getpid(), self._run, self._path), None)

    def complete(self, *, strict: bool = False) -> None:
        """Bring the file up to date.

        Args:
            strict: Whether it is an error if that fails; else it is one warning.

        Raises:
            MetricsError: It failed.
        """
        with self._mutex:
            if not self._changed:
                return
            self._written = time.monotonic()
            try:
                with self._noted() as everybodys:
                    _merge(everybodys, self._metrics)
                    made = document(everybodys)
                    write_aside(self._path, made.text)
            except OSError as exc:
                text = f"the metrics file {self._path} for Kubeflow cannot be written: {exc.strerror or exc}"
                if not (strict or self._warned):
                    log.warning("%s; the run goes on, MLflow has the metrics", text)
                self._warned = True
                if strict:
                    raise MetricsError(f"{text}; MLflow has the metrics") from exc
            else:
                self._changed = False
                self._left_out = self._without_value.difference(everybodys), made.left_out

    def warn(self) -> None:
        """Name each key that Kubeflow will not show, once; a value may still come while a stream goes on."""
        new = [sorted(set(keys) - self._named) for keys in self._left_out]
        self._named.update(*new)
        warn_left_out(*new)

    @contextmanager
    def _noted(self) -> Iterator[dict[str, Entry]]:
        """Lend what all processes of the run on this machine have said, and note what is added; one at a time."""
        with ExitStack() as stack:
            try:
                make_folder(self._delivery, self._note.parent)
                _lock(stack.enter_context(FileIO(self._note.with_suffix(".lock"), "a+b")))
                metrics = self._read()
            except OSError as exc:
                log.debug("Kubeflow's file of this process alone: %s", exc)
                yield dict(self._metrics)
                return
            yield metrics
            with suppress(OSError):
                rows = {key: tuple(entry) for key, entry in metrics.items()}
                write_aside(self._note, json.dumps({"run": self._run, "metrics": rows}))

    def _read(self) -> dict[str, Entry]:
        try:
            noted = json.loads(self._note.read_bytes())
            return {key: Entry(*row) for key, row in noted["metrics"].items()} if noted["run"] == self._run else {}
        except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):  # whatever stands there
            return {}


def _merge(into: dict[str, Entry], more: dict[str, Entry]) -> None:
    for key, entry in more.items():
        if key not in into or entry.when >= into[key].when:
            into[key] = entry


def _lock(file: FileIO) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not try_lock(file):
        if time.monotonic() > deadline:
            raise OSError("another process keeps its lock")
        time.sleep(0.01)


def write_aside(path: Path, text: str) -> None:
    """Replace a file in one step; what is no ordinary file is written to. Raises OSError."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_text(text, encoding="utf-8")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{uuid4().hex[:8]}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


_files: dict[tuple[int, str, Path], MetricsFile] = {}


def open_file(path: Path, server: Server, record: Record) -> MetricsFile:
    """Return the file of a run."""
    key = (os.getpid(), record.ident, path)
    if (file := _files.get(key)) is None:
        file = _files.setdefault(key, MetricsFile(path, outbox(server, record)))  # a thread may have been faster
    return file
