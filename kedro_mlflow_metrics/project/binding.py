"""What a metrics dataset has to know of the world around it, complete for one call of its methods."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.journal.folder import Journal
from kedro_mlflow_metrics.tracking.address import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from kedro_mlflow_metrics.delivery.target import Target

__all__ = ["Binding"]


@dataclass(frozen=True)
class Binding:
    """A dataset in its catalog and its pipeline run; it travels to worker processes inside the dataset."""

    name: str = ""  # the dataset's name in the catalog, empty outside one
    given: str | None = None  # the ``prefix`` of its entry, None if the name is the prefix
    single: bool = False  # whether the dataset is one metric, whose whole name ``given`` is
    separator: str = "."  # what stands between prefix and metric name
    siblings: frozenset[str] = frozenset()  # the prefixes of all metrics datasets of the catalog
    cached: bool = False  # whether a CachedDataset stands around the dataset
    # the run of the pipeline, None if there is none. Switched off, a run that stays in a journal of its own, from
    # which a later node loads
    target: Target | None = None
    server: Server = field(default_factory=lambda: Server(""))  # the project's MLflow; an empty address is MLflow's own
    journal: Journal = field(default_factory=Journal)  # where points wait
    experiment: str = ""  # the experiment of new runs
    enabled: bool = True  # whether anything is logged
    summed_up: bool = False  # whether the run ends with a table, for which the shape of its curves is kept

    @property
    def plain_prefix(self) -> str:
        """What stands before each metric's name and the separator."""
        return self.name if self.given is None else self.given

    @cached_property
    def prefix(self) -> str:
        """What stands before each metric's name, separator included."""
        return "" if self.single else self._with_separator(self.plain_prefix)

    @property
    def label(self) -> str:
        """How a message names the dataset."""
        return f"dataset {self.name!r}, " if self.name else ""

    def owns(self, key: str) -> bool:
        """Tell whether a key of the run is this dataset's: not of one with a longer prefix, nor measured by MLflow."""
        if self.single:
            return key == self.given
        return key.startswith(self.prefix) and not any(map(key.startswith, self._longer))

    @property
    def readings(self) -> tuple[Binding, ...]:
        """How its keys may be read: as it is, or with the other separator, that the setting may have had before."""
        other = "/" if self.separator == "." else "."
        return (self, replace(self, separator=other)) if self.prefix else (self,)

    @property
    def reads(self) -> Callable[[str], bool]:
        """What tells whether a key is this dataset's in one of its readings."""
        readings = self.readings
        return lambda key: any(each.owns(key) for each in readings)

    def strip(self, key: str) -> str:
        """Return the name of a metric of this dataset without the prefix."""
        return key[len(self.prefix) :]

    @cached_property
    def _longer(self) -> list[str]:
        others = [*map(self._with_separator, self.siblings), "system/"]
        return [other for other in others if len(other) > len(self.prefix) and other.startswith(self.prefix)]

    def _with_separator(self, prefix: str) -> str:
        return f"{prefix}{self.separator}" if prefix else ""
