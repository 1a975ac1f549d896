"""What a dataset has to know of the world around it, complete for one call of its methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.journal.folder import Journal

if TYPE_CHECKING:
    from kedro_mlflow_metrics.delivery.target import Target
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = ["Binding"]


@dataclass(frozen=True)
class Binding:
    """A dataset in its catalog and its pipeline run; it travels to worker processes inside the dataset.

    Attributes:
        name: The dataset's name in the catalog, empty outside one.
        given: The ``prefix`` of its entry, None if the name is the prefix.
        separator: What stands between prefix and metric name.
        siblings: The prefixes of all metrics datasets of the catalog.
        cached: Whether a CachedDataset stands around the dataset.
        target: The run of the pipeline, None if there is none. Switched off, a run that stays in a journal of
            its own, from which a later node loads.
        server: The project's MLflow; None without a project.
        journal: Where points wait.
        experiment: The experiment of new runs.
        enabled: Whether anything is logged.
    """

    name: str = ""
    given: str | None = None
    separator: str = "."
    siblings: frozenset[str] = frozenset()
    cached: bool = False
    target: Target | None = None
    server: Server | None = None
    journal: Journal = field(default_factory=Journal)
    experiment: str = ""
    enabled: bool = True

    @cached_property
    def prefix(self) -> str:
        """What stands before each metric's name, separator included."""
        return self._with_separator(self.name if self.given is None else self.given)

    @property
    def label(self) -> str:
        """How a message names the dataset."""
        return f"dataset {self.name!r}, " if self.name else ""

    def owns(self, key: str) -> bool:
        """Tell whether a key of the run is this dataset's and not of one with a longer prefix."""
        return key.startswith(self.prefix) and not any(map(key.startswith, self._longer))

    def strip(self, key: str) -> str:
        """Return the name of a metric of this dataset without the prefix."""
        return key[len(self.prefix) :]

    @cached_property
    def _longer(self) -> list[str]:
        others = map(self._with_separator, self.siblings)
        return [other for other in others if len(other) > len(self.prefix) and other.startswith(self.prefix)]

    def _with_separator(self, prefix: str) -> str:
        return f"{prefix}{self.separator}" if prefix else ""
