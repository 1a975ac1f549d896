"""Which name a metrics dataset has in which catalog, and which project that catalog belongs to.

A catalog does not tell its datasets their names. Catalogs are remembered weakly as they come by, and a
dataset is looked up in them by identity: nothing is patched, replaced or built before its time.
"""

from __future__ import annotations

import copy
import sys
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from kedro_mlflow_metrics.dataset import MlflowMetricsDataset
    from kedro_mlflow_metrics.project.context import Project

__all__ = ["Place", "find", "metrics_datasets", "place_of", "remember", "short"]


class Place(NamedTuple):
    """A catalog, its project if a context made it, and its entries as configured."""

    catalog: weakref.ref[Any]
    project: Project | None
    config: Mapping[str, Any]


_places: list[Place] = []


def remember(catalog: Any, project: Project | None = None, config: Mapping[str, Any] | None = None) -> None:  # noqa: ANN401 - any CatalogProtocol
    """Keep a weak eye on a catalog, for as long as it lives."""
    _places[:] = [place for place in _places if place.catalog() is not None]
    if place_of(catalog) is None:
        _places.append(Place(weakref.ref(catalog), project, config or {}))


def place_of(catalog: Any) -> Place | None:  # noqa: ANN401 - any CatalogProtocol
    """Return what is known of a catalog."""
    return next((place for place in reversed(_places) if place.catalog() is catalog), None)


def metrics_datasets(catalog: Any) -> Iterator[tuple[str, MlflowMetricsDataset, bool]]:  # noqa: ANN401 - any CatalogProtocol
    """Yield name, dataset and whether a CachedDataset stands around it, for those that are built.

    A catalog that built none imports nothing: the class is then not even loaded.
    """
    module = sys.modules.get("kedro_mlflow_metrics.dataset")
    if module is None:
        return
    for name, dataset in list(getattr(catalog, "_datasets", {}).items()):
        inner = getattr(dataset, "_dataset", None)
        if isinstance(dataset, module.MlflowMetricsDataset):
            yield name, dataset, False
        elif isinstance(inner, module.MlflowMetricsDataset):
            yield name, inner, True


def find(dataset: MlflowMetricsDataset) -> tuple[str, Place] | None:
    """Return the name of a dataset and where it stands, from the newest catalog that holds it."""
    for place in reversed(_places):
        catalog = place.catalog()
        if catalog is None:
            continue
        for name, other, _ in metrics_datasets(catalog):
            if other is dataset:
                return short(name), place
    return None


def short(name: str) -> str:
    """Cut what transcoding adds: ``m@mlflow`` is ``m``."""
    return name.partition("@")[0]


def materialise(catalog: Any, names: Iterable[str]) -> None:  # noqa: ANN401 - any CatalogProtocol
    """Build the named entries as the runner would a moment later; one that fails is left for it to report.

    One object under two names is given a copy for the second, so that each has its own prefix.
    """
    for name in sorted(names):
        try:
            if hasattr(catalog, "get"):
                catalog.get(name)
            elif name in catalog:
                catalog._get_dataset(name, suggest=False)  # noqa: SLF001 - Kedro 0.19's DataCatalog
        except Exception:  # noqa: BLE001, S112 - whatever it is, the runner reports it
            continue
    seen: dict[int, str] = {}
    for name, dataset, cached in list(metrics_datasets(catalog)):
        if seen.setdefault(id(dataset), short(name)) != short(name) and not cached:
            catalog._datasets[name] = copy.copy(dataset)  # noqa: SLF001 - part of CatalogProtocol


def sibling_prefixes(catalog: Any) -> set[str]:  # noqa: ANN401 - any CatalogProtocol
    """Return the prefixes of all metrics datasets of a catalog, unbuilt entries of our own type included."""
    prefixes = {
        dataset.explicit_prefix if dataset.explicit_prefix is not None else short(name)
        for name, dataset, _ in metrics_datasets(catalog)
    }
    place = place_of(catalog)
    for name, entry in place.config.items() if place else ():
        kind = entry.get("type", "") if isinstance(entry, Mapping) else ""
        if "{" not in name and isinstance(kind, str) and kind.startswith("kedro_mlflow_metrics."):
            prefix = entry.get("prefix")
            prefixes.add(short(name) if prefix is None else str(prefix))
    return prefixes
