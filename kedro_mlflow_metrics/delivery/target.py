"""The run that points go to: one value that says which, and where."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

from kedro_mlflow_metrics import process
from kedro_mlflow_metrics.errors import JournalError
from kedro_mlflow_metrics.journal.folder import Journal, Record, RunFolder
from kedro_mlflow_metrics.tracking import runs, shared
from kedro_mlflow_metrics.tracking.address import Server
from kedro_mlflow_metrics.tracking.store import RunInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["JOURNAL_TAG", "Target", "create", "memory_target"]

JOURNAL_TAG = "kedro_mlflow_metrics.journal_id"


@dataclass(eq=False)
class Target:
    """A run and its journal; it travels to worker processes inside the pickled datasets.

    A run that began offline keeps its identity, by which its steps, folder and files are found, when MLflow has it.
    """

    server: Server  # where the run lives
    journal: Journal  # where its points wait
    record: Record  # what the journal calls the run
    # what MLflow said of it when it was opened or joined; empty while MLflow does not have it
    run: RunInfo = field(default_factory=lambda: RunInfo(""))
    active: bool = False  # whether nodes find it as MLflow's active run

    @classmethod
    def of(
        cls, server: Server, journal: Journal, run: RunInfo, about: Record | None = None, *, active: bool = False
    ) -> Target:
        """Return the target of a run that MLflow has; ``about`` is the record of one that was opened here."""
        record = replace(
            about or Record(server.portable(journal.base), env=journal.env),
            run_id=run.run_id,
            local_id="",
            name=run.run_name,
            experiment_id=run.experiment_id,
            tags={},
            start_time=run.start_time,
        )
        return cls(server, journal, record, run, active)

    @property
    def offline(self) -> bool:
        """Whether this process knows of no run in MLflow yet."""
        return not self.record.run_id

    @property
    def kept(self) -> bool:
        """Whether its points stay in the journal for good: logging is switched off."""
        return not self.server.uri

    @cached_property
    def folder(self) -> RunFolder:
        """Where its points wait."""
        return self.journal.of(self.record)

    def folders(self) -> Iterator[RunFolder]:
        """Yield all folders of the run: one that joined it by its id has another than one that began it offline."""
        yield self.folder
        for folder, noted in self.journal.runs_at(self.record.uri) if self.record.run_id else ():
            if noted.run_id == self.record.run_id and folder.path != self.folder.path:
                yield folder

    @property
    def key(self) -> tuple[str, str]:
        """What tells runs apart in one process."""
        return self.server.uri, self.record.ident

    def make(self, server: Server) -> None:
        """Make the run in MLflow if it is not there, and note in the journal that it is; or raise `TrackingError`."""
        if self.offline:
            self._take(create(server, self.record, new=False))
            with suppress(JournalError):  # on a full disk; the run is found by its tag again
                self.folder.write(self.record)

    def look(self) -> bool:
        """Tell whether MLflow has the run by now, as its opener has noted in the journal."""
        if self.offline and not self.kept:
            noted = self.folder.read()
            if noted is not None and noted.run_id:
                user, where = noted.tags.get("mlflow.user", "unknown"), noted.artifact_uri
                begun = (noted.name, "RUNNING", noted.start_time)
                self._take(RunInfo(noted.run_id, noted.experiment_id, *begun, where, user, "active"))
        return not self.offline

    def _take(self, run: RunInfo) -> None:
        ident, experiment, artifacts = run.run_id, run.experiment_id, run.artifact_uri
        self.run = run
        self.record = replace(self.record, run_id=ident, experiment_id=experiment, artifact_uri=artifacts)


def create(server: Server, record: Record, *, new: bool) -> RunInfo:
    """Make the run in MLflow that a record describes, once: by a tag of its own, or by its run key.

    It is ``new`` if nobody can have tried to make it before.
    """
    experiment = record.experiment_id or runs.experiment_id(server, record.experiment)
    wanted = RunInfo("", experiment, record.name, start_time=record.start_time)
    tags = {**record.tags, JOURNAL_TAG: record.local_id}
    if record.run_key:
        return shared.find_or_elect(server, wanted, tags, JOURNAL_TAG, record.run_key, new=new)
    return runs.find_or_create(server, wanted, tags, JOURNAL_TAG, new=new)


_folders: process.Own[list[str]] = process.Own(list)


def _remove_folders() -> None:
    for folder in _folders.value:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def memory_target(ident: str) -> Target:
    """Return a run for a pipeline whose logging is switched off: nothing of it leaves this machine.

    Its journal is a folder that goes with this process, so that a node in a worker process can load from it too.
    """
    folder = tempfile.mkdtemp(prefix="kedro_mlflow_metrics_")
    _folders.value.append(folder)
    process.at_end(process.FOLDERS, _remove_folders)
    return Target(Server(""), Journal(folder), Record("", local_id=ident))
