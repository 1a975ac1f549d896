"""What a metrics dataset has to know: its name in its catalog, its project, its run.

A catalog does not tell its datasets their names. Catalogs are remembered weakly as they come by, and a
dataset is looked up in them by identity: nothing is patched, replaced or built before its time.
"""

from __future__ import annotations

import copy
import gc
import re
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from inspect import signature
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_mlflow_metrics import process
from kedro_mlflow_metrics.errors import MetricsError, did_you_mean

if TYPE_CHECKING:
    from kedro_mlflow_metrics.project.binding import Binding
    from kedro_mlflow_metrics.project.context import Catalog, MetricsDataset, Pipeline, Project
    from kedro_mlflow_metrics.project.settings import Settings
    from kedro_mlflow_metrics.views.tables import Display

__all__ = [
    "Entry",
    "Place",
    "binding_of",
    "built",
    "display_of",
    "entries_of",
    "looking",
    "materialise",
    "place_of",
    "remember",
    "satisfies",
    "seen",
    "short",
    "sibling_prefixes",
]


class Place(NamedTuple):
    """A catalog, its project if a context made it, and its entries as configured."""

    catalog: weakref.ref[Any]
    project: Project | None
    config: Mapping[str, Any]


class Entry(NamedTuple):
    """A metrics dataset as it stands in a catalog."""

    name: str
    dataset: MetricsDataset
    cached: bool

    @property
    def prefix(self) -> str:
        """The prefix of its metrics, without separator."""
        given = self.dataset.explicit_prefix
        return short(self.name) if given is None else given

    def bound(self, base: Binding) -> Binding:
        """Return what the dataset has to know, from what all of its project share."""
        given, single = self.dataset.explicit_prefix, self.dataset.single
        return replace(base, name=short(self.name), given=given, single=single, cached=self.cached)

    def in_catalog(self, place: Place) -> Binding:
        """Return what its catalog alone says of it."""
        from kedro_mlflow_metrics.project.binding import Binding

        return self.bound(Binding(siblings=sibling_prefixes(place.catalog())))


_DATASET = "kedro_mlflow_metrics.dataset"
_places: list[Place] = []
_lock = process.inherited_lock()  # another session may come by at any time


def remember(catalog: Catalog, project: Project | None = None, config: Mapping[str, Any] | None = None) -> None:
    """Remember a catalog weakly, for as long as it lives."""
    with _lock:
        _places[:] = [place for place in _places if place.catalog() is not None]
        if not any(place.catalog() is catalog for place in _places):
            _places.append(Place(weakref.ref(catalog), project, config or {}))


def _newest_first() -> list[Place]:
    with _lock:
        return _places[::-1]


def place_of(catalog: Catalog) -> Place | None:
    """Return what is known of a catalog."""
    return next((place for place in _newest_first() if place.catalog() is catalog), None)


def built(catalog: Catalog) -> Iterator[Entry]:
    """Yield the metrics datasets of a catalog that exist so far.

    A catalog that built none imports nothing: the class is then not even loaded.
    """
    module = sys.modules.get(_DATASET)
    if module is None:
        return
    for name, dataset in list(getattr(catalog, "_datasets", {}).items()):  # part of Kedro's CatalogProtocol
        inner = getattr(dataset, "_dataset", None)  # of a CachedDataset, which has no public way
        if isinstance(dataset, module.MlflowMetricsDataSet):
            yield Entry(name, dataset, cached=False)
        elif isinstance(inner, module.MlflowMetricsDataSet):
            yield Entry(name, inner, cached=True)


def short(name: str) -> str:
    """Cut what transcoding adds: ``m@mlflow`` is ``m``."""
    return name.partition("@")[0]


def materialise(catalog: Catalog, names: Iterable[str]) -> None:
    """Build the named entries as the runner would a moment later. Raises `MetricsError` for one of ours that fails.

    Any other that fails is left for the runner to report.
    One object under two names is given a copy for the second, so that each has its own prefix.
    """
    for name in sorted(names):
        try:
            if hasattr(catalog, "get"):
                catalog.get(name)
            elif name in catalog:
                catalog._get_dataset(name, suggest=False)  # noqa: SLF001 - Kedro 0.19's DataCatalog
        except Exception as exc:  # noqa: BLE001 - whatever it is, the runner reports it
            if "'kedro_mlflow_metrics" in str(exc) and exc.__cause__ is not None:
                raise MetricsError(f"dataset {name!r}: {_reason(str(exc.__cause__))}") from None
    seen: dict[int, str] = {}
    for name, dataset, cached in list(built(catalog)):
        if seen.setdefault(id(dataset), short(name)) != short(name) and not cached:
            catalog._datasets[name] = copy.copy(dataset)  # noqa: SLF001 - part of CatalogProtocol


def _reason(text: str) -> str:
    """Return why an entry of ours cannot be built, with the argument that was meant where there is none of a name."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'", text)
    if unknown is None:
        return text.partition("\n")[0]
    known = [name for name in signature(sys.modules[_DATASET].MlflowMetricsDataSet).parameters if name != "version"]
    hint = did_you_mean(unknown[1], known) or f"accepted: {', '.join(known)}"
    return f"there is no argument {unknown[1]!r}; {hint}"


def satisfies(catalog: Catalog, pipeline: Pipeline) -> bool:
    """Tell whether a catalog has all inputs of a pipeline, as the runner asks before the first node."""
    return all(name in catalog for name in pipeline.inputs())


def entries_of(catalog: Catalog) -> Mapping[str, Any]:
    """Return the entries of a catalog as they are configured."""
    place = place_of(catalog)
    return place.config if place else {}


def configured(catalog: Catalog) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield name and configuration of the entries of our own type, built or not; patterns aside."""
    yield from ((name, entry) for name, entry in _ours(entries_of(catalog)) if "{" not in name)


def _ours(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the entries of our own type, patterns too."""
    for name, entry in config.items():
        kind = entry.get("type", "") if isinstance(entry, Mapping) else ""
        if isinstance(kind, str) and kind.startswith("kedro_mlflow_metrics."):
            yield name, entry


def _prefix(name: str, entry: Mapping[str, Any]) -> str:
    """Return the prefix of an entry as it is configured."""
    prefix = entry.get("key") or entry.get("prefix")
    return short(name) if prefix is None else str(prefix)


def display_of(settings: Settings, config: Mapping[str, Any]) -> Display:
    """Return how metrics are shown: what the settings say, and what the catalog's entries mark as percentages."""
    from kedro_mlflow_metrics.views.tables import Display

    return Display(_shares(config, settings.separator), settings.better.higher, settings.better.lower)


def _shares(config: Mapping[str, Any], separator: str) -> Callable[[str], bool]:
    """Return what tells whether an entry of a catalog marks a metric as a percentage; nothing is built or checked.

    A pattern of entries stands for all of them.
    """
    marks: list[tuple[re.Pattern[str], Sequence[str]]] = []
    for name, entry in _ours(config):
        prefix = _prefix(name, entry)
        arguments = entry.get("save_args")
        kubeflow = arguments.get("kubeflow") if isinstance(arguments, Mapping) else None
        globs = kubeflow.get("percentage") or () if isinstance(kubeflow, Mapping) else ()
        texts = (".+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{.*?\})", prefix))
        end = "$" if entry.get("key") else re.escape(separator)
        own = re.compile(f"{''.join(texts)}{end}" if prefix else "")
        marks.append((own, (globs,) if isinstance(globs, str) else globs))

    def share(key: str) -> bool:
        found = ((own.match(key), globs) for own, globs in marks)
        prefix, globs = max(((own.end(), globs) for own, globs in found if own), default=(0, ()), key=itemgetter(0))
        return any(fnmatchcase(text, glob) for text in (key, key[prefix:]) for glob in globs)

    return share


def sibling_prefixes(catalog: Catalog) -> frozenset[str]:
    """Return the prefixes of all metrics datasets of a catalog, unbuilt entries of our own type included."""
    prefixes = {entry.prefix for entry in built(catalog)}
    prefixes |= {_prefix(name, entry) for name, entry in configured(catalog)}
    return frozenset(prefixes)


def binding_of(dataset: MetricsDataset, *, complete: bool = True) -> Binding:
    """Return what is known of a dataset outside a pipeline run, from the newest catalog that holds it.

    It is not ``complete`` without the settings, for which files are read.
    """
    from kedro_mlflow_metrics.journal.folder import Journal
    from kedro_mlflow_metrics.project.binding import Binding

    place, entry = _holder(dataset)
    if place is None or entry is None:
        return Binding(given=dataset.explicit_prefix, single=dataset.single)
    found = entry.in_catalog(place)
    if place.project is None:
        return found
    if not complete:
        return replace(found, journal=Journal(str(place.project.root)))
    return place.project.bind(found, place.project.settings())


def _holder(dataset: MetricsDataset) -> tuple[Place, Entry] | tuple[None, None]:
    """Return the newest catalog that holds a dataset, and what it is called there."""
    for place in _newest_first():
        for entry in built(place.catalog()):
            if entry.dataset is dataset:
                return place, entry
    return None, None


def looking() -> tuple[Binding, Display]:
    """Return where somebody looks who is in no dataset: the newest project of this process, or MLflow's own address."""
    from kedro_mlflow_metrics.project.binding import Binding
    from kedro_mlflow_metrics.project.context import Project
    from kedro_mlflow_metrics.views.tables import Display

    project = next((place.project for place in _newest_first() if place.project), None) or Project.of_folder()
    if project is None:
        return Binding(), Display()
    settings = project.settings()
    return project.here(settings), display_of(settings, project.config("catalog"))


def seen(dataset: MetricsDataset) -> tuple[Binding, Display]:
    """Return what is known of a dataset that somebody looks at, and how its metrics are shown.

    Kedro-Viz makes its catalog without hooks, so that none came by here: it is looked for among all objects.
    """
    from kedro_mlflow_metrics.project.context import Project
    from kedro_mlflow_metrics.views.tables import Display

    place, entry = _holder(dataset)
    if place is None and (project := Project.of_folder()):
        from kedro.io import DataCatalog

        for each in gc.get_objects():
            if issubclass(type(each), DataCatalog) and any(entry.dataset is dataset for entry in built(each)):
                remember(each, project, project.config("catalog"))
        place, entry = _holder(dataset)
    if place is None or entry is None or place.project is None:
        return dataset.binding or binding_of(dataset), Display()
    settings = place.project.settings()
    binding = dataset.binding or place.project.bind(entry.in_catalog(place), settings)
    return binding, display_of(settings, place.config)
