"""The run that points go to: one value that says which, and where."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from functools import cache, cached_property

from kedro_mlflow_metrics import process
from kedro_mlflow_metrics.journal.folder import Journal, Record, RunFolder
from kedro_mlflow_metrics.tracking.address import Server
from kedro_mlflow_metrics.tracking.store import RunInfo

__all__ = ["Target", "memory_target"]


@dataclass(frozen=True)
class Target:
    """A run and its journal; it travels to worker processes inside the pickled datasets."""

    server: Server  # where the run lives
    journal: Journal  # where its points wait
    record: Record  # what the journal calls the run
    run: RunInfo  # what MLflow said of it when it was opened or joined; only its id where MLflow was not asked
    active: bool = False  # whether nodes find it as MLflow's active run

    @classmethod
    def of(cls, server: Server, journal: Journal, run: RunInfo, *, active: bool = False, run_key: str = "") -> Target:
        """Return the target of a run that MLflow has."""
        record = Record(
            server.portable(journal.root),
            run.run_id,
            env=journal.env,
            name=run.run_name,
            experiment_id=run.experiment_id,
            run_key=run_key,
        )
        return cls(server, journal, record, run, active)

    @property
    def offline(self) -> bool:
        """Whether MLflow does not have the run yet."""
        return bool(self.record.local_id)

    @cached_property
    def folder(self) -> RunFolder:
        """Where its points wait."""
        return self.journal.of(self.record)

    @property
    def key(self) -> tuple[str, str]:
        """What tells runs apart in one process."""
        return self.server.uri, self.record.ident


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
    return Target(Server(""), Journal(folder), Record("", local_id=ident), RunInfo(ident))
