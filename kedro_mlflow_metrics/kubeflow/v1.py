"""Metrics in the two forms of Kubeflow Pipelines: the v1 metrics file, and the metadata of a v2 artifact."""

from __future__ import annotations

import json
import logging
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import sha1
from itertools import count
from typing import Any, Literal, NamedTuple

from kedro_mlflow_metrics.errors import InvalidMetricsError, SettingsError
from kedro_mlflow_metrics.points.curves import MetricPoint, Points, Progress, to_points
from kedro_mlflow_metrics.points.forms import unclamped
from kedro_mlflow_metrics.schema import Model, checked, settable, validator

__all__ = [
    "Document",
    "Entry",
    "Options",
    "document",
    "entries",
    "executor_output",
    "last_finite",
    "latest",
    "log_metrics",
    "metadata",
    "names_of",
    "read_options",
    "to_json",
    "told_document",
    "warn_left_out",
]

log = logging.getLogger("kedro.mlflow_metrics")

MOST = 50  # metrics of a run that Kubeflow keeps
LONGEST = 64  # characters of a name
RESERVED = frozenset(("display_name", "store_session_info", "_kfp_workspace"))
_OTHER = {"modern": re.compile(r"[^-_A-Za-z0-9]+"), "legacy": re.compile(r"[^-a-z0-9]+")}
Names = Literal["modern", "legacy"]


class Options(Model):
    """How metrics stand in a v1 file.

    Attributes:
        percentage: Globs of the metrics that Kubeflow shows as a percentage: it multiplies them by 100.
        raw: Globs of the metrics whose format is said to be RAW.
        order: Globs of the metrics that come first, in this order; the others follow by name. 50 are kept.
        names: ``modern`` for Kubeflow Pipelines 1.0 and later, ``legacy`` for the lower-case names before it.
        strict: Whether a file that cannot be written is an error.
    """

    percentage: tuple[str, ...] = ()
    raw: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    names: Names = "modern"
    strict: bool = False

    @validator("percentage", "raw", "order", before=True)
    @classmethod
    def _one_is_enough(cls, globs: object) -> object:
        return (globs,) if isinstance(globs, str) else globs


class Entry(NamedTuple):
    """One metric of a v1 file.

    Attributes:
        value: The last finite value.
        step: Its step.
        timestamp: Its timestamp.
        rank: Its place in the declared order; what no glob names comes after all that is named.
        format: ``PERCENTAGE`` or ``RAW`` if the user said so.
        names: By which pattern it is named.
    """

    value: float
    step: int
    timestamp: int
    rank: int = 0
    format: str | None = None
    names: Names = "modern"

    @property
    def when(self) -> tuple[int, int, float]:
        """What decides which of two points is the later one."""
        return self.step, self.timestamp, self.value


class Document(NamedTuple):
    """A v1 file, and what was done to make it one.

    Attributes:
        text: Its content.
        names: Per MLflow key, in the order of the file, the name that stands there.
        left_out: The keys that are over the limit of 50.
    """

    text: str
    names: dict[str, str]
    left_out: list[str]


def read_options(given: object, where: str) -> Options:
    """Check options as a catalog entry or a call gives them.

    Raises:
        SettingsError: One line that says what is accepted.
    """
    if not isinstance(given, Mapping):
        raise SettingsError(f"{where}: got {given!r}; accepted: a dict with {', '.join(settable(Options))}")
    return checked(Options, given, where)


def latest(points: Iterable[Points]) -> dict[str, MetricPoint | None]:
    """Return the last finite point of each key, None where there is none."""
    found: dict[str, MetricPoint | None] = {}
    for some in points:
        last, known = _last_of(some), found.setdefault(some.key, None)
        if last is not None and (known is None or _when(last) >= _when(known)):
            found[some.key] = last
    return found


def _last_of(some: Points) -> MetricPoint | None:
    if not isinstance(some.steps, range):
        return last_finite(some)
    backwards = (some[at : at + 1] for at in reversed(range(len(some.steps))))  # in order, and of one time
    return next((last for one in backwards if (last := last_finite(one))), None)


def last_finite(points: Iterable[MetricPoint]) -> MetricPoint | None:
    """Return the last finite point by step, then timestamp, then value.

    The largest float counts as infinite: MLflow's SQL stores keep infinities as that.
    """
    return max((point for point in points if math.isfinite(unclamped(point.value))), key=_when, default=None)


def _when(point: MetricPoint) -> tuple[int, int, float]:
    return point.step, point.timestamp, point.value


def entries(points: Mapping[str, MetricPoint | None], options: Options, prefix: str = "") -> dict[str, Entry]:
    """Return what a v1 file says of each key that has a finite value.

    Args:
        points: Per key its last finite point.
        options: What the user asks for.
        prefix: What a glob may leave out at the start of a key.
    """
    found = {}
    for key, point in points.items():
        if point is None:
            continue
        names = (key, key.removeprefix(prefix))
        rank = next((rank for rank, glob in enumerate(options.order) if _matches(names, (glob,))), len(options.order))
        kind = "PERCENTAGE" if _matches(names, options.percentage) else "RAW" if _matches(names, options.raw) else None
        found[key] = Entry(point.value, point.step, point.timestamp, rank, kind, options.names)
    return found


def _matches(names: Sequence[str], globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for name in names for glob in globs)


def document(metrics: Mapping[str, Entry]) -> Document:
    """Write a v1 file that no version of Kubeflow Pipelines drops: at most 50 metrics, strict JSON, no other field."""
    order = sorted(metrics, key=lambda key: (metrics[key].rank, key))
    names = names_of({key: metrics[key].names for key in order})
    kept, left_out = order[:MOST], order[MOST:]
    rows = [_row(names[key], metrics[key]) for key in kept]
    text = json.dumps({"metrics": rows}, allow_nan=False, indent=1)
    return Document(text + "\n", {key: names[key] for key in kept}, left_out)


def told_document(points: Mapping[str, MetricPoint | None], options: Options, prefix: str = "") -> Document:
    """Write a v1 file of last points, see `entries`, and warn of what it leaves out."""
    made = document(entries(points, options, prefix))
    warn_left_out(_without_value(points), made.left_out)
    return made


def _without_value(points: Mapping[str, MetricPoint | None]) -> list[str]:
    return [key for key, point in points.items() if point is None]


def _row(name: str, entry: Entry) -> dict[str, object]:
    return {"name": name, "numberValue": entry.value, **({"format": entry.format} if entry.format else {})}


def names_of(keys: Mapping[str, Names]) -> dict[str, str]:
    """Give each key the name under which Kubeflow takes it; the same keys always get the same names.

    A name that Kubeflow takes is left alone, even where another would come to the same; that one, and what is too
    long, ends in a hash of its key. Names that differ in case only count as the same: some databases take them so.

    Args:
        keys: Per MLflow key the pattern of its name.
    """
    plain = {key: _plain(key, names) for key, names in sorted(keys.items())}
    shared = Counter(name.lower() for name in plain.values())
    found: dict[str, str] = {}
    taken: set[str] = set()
    hashed = []
    for key, name in plain.items():
        alone = shared[name.lower()] == 1 or (name == key and name.lower() not in taken)
        if alone and len(name) <= LONGEST:
            found[key] = name
            taken.add(name.lower())
        else:
            hashed.append(key)
    for key in hashed:
        found[key] = _hashed(key, plain[key], taken)
        taken.add(found[key].lower())
    return found


def _plain(key: str, names: Names) -> str:
    """Bring a key to the characters of a pattern: letters, digits and ``-``, and ``_`` within a modern name."""
    folded = "".join(letter for letter in unicodedata.normalize("NFKD", key) if not unicodedata.combining(letter))
    name = _OTHER[names].sub("-", folded.lower() if names == "legacy" else folded).strip("-_") or "metric"
    return name if name[0].isalpha() else f"m-{name}"


def _hashed(key: str, name: str, taken: set[str]) -> str:
    """End a name in as much of its key's hash as tells it apart."""
    digest = sha1(key.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()
    candidates = (f"{name[: LONGEST - 1 - size].rstrip('-_')}-{digest[:size]}" for size in range(8, len(digest) + 1))
    numbered = (f"m-{digest}-{number}" for number in count())  # forty digits of a hash taken: as good as never
    return next(found for source in (candidates, numbered) for found in source if found.lower() not in taken)


def to_json(data: object, *, prefix: str = "", **options: Any) -> str:  # noqa: ANN401 - the fields of `Options`
    """Return KFP's v1 metrics file for metrics as a node returns them.

    A component writes it to the path of its output ``mlpipeline_metrics``, or returns it under that name.

    Args:
        data: What ``MlflowMetricsDataSet.save`` takes: a dict of metric name to value, or several.
        prefix: What stands before each name; a dot is put between.
        options: ``percentage``, ``raw``, ``order`` and ``names``, see `Options`.

    Raises:
        InvalidMetricsError: The data is not metrics.
        SettingsError: An option that is not accepted.
    """
    chosen = read_options(options, "to_json")
    return told_document(_latest_of(data, prefix), chosen, f"{prefix}.").text


def log_metrics(data: object, output: Any, *, prefix: str = "") -> None:  # noqa: ANN401 - kfp.dsl.Output[Metrics]
    """Put metrics into a v2 ``Output[Metrics]`` inside a component, each as its last finite value.

    Kubeflow fails the task for a value that is no finite number: those are left out with a warning.

    Args:
        data: What ``MlflowMetricsDataSet.save`` takes: a dict of metric name to value, or several.
        output: The artifact; its ``metadata`` is added to.
        prefix: What stands before each name; a dot is put between.

    Raises:
        InvalidMetricsError: The data is not metrics; nothing is added.
    """
    output.metadata.update(metadata(_latest_of(data, prefix)))


def _latest_of(data: object, prefix: str) -> dict[str, MetricPoint | None]:
    """Read what `save` takes."""
    several = data if isinstance(data, list | tuple | Iterator) else (data,)
    progress, dotted = Progress(), f"{prefix}." if prefix else ""
    return latest(points for item in several for points in to_points(item, prefix=dotted, now=0, progress=progress))


def metadata(points: Mapping[str, MetricPoint | None]) -> dict[str, float]:
    """Return the metadata of a v2 artifact; what Kubeflow would not take is left out with a warning."""
    reserved = sorted(RESERVED.intersection(points))
    if reserved:
        log.warning("Left out for Kubeflow, which uses these names itself: %s; rename them", ", ".join(reserved))
    warn_left_out(_without_value(points), ())
    return {key: point.value for key, point in sorted(points.items()) if point is not None and key not in RESERVED}


def warn_left_out(without_value: Sequence[str], too_many: Sequence[str]) -> None:
    """Name what Kubeflow would not show."""
    if without_value:
        log.warning("Left out for Kubeflow, which takes finite numbers only: %s", ", ".join(without_value))
    if too_many:
        log.warning(
            "Left out for Kubeflow, which keeps %d metrics of a run: %s; name those that matter in 'order'",
            MOST,
            ", ".join(too_many),
        )


def executor_output(
    known: Mapping[str, Any], executor_input: Mapping[str, Any], output: str | None, values: Mapping[str, float]
) -> dict[str, Any]:
    """Merge metrics into the JSON that a v2 task leaves to its executor.

    Args:
        known: What the file holds already: parameters, other artifacts, earlier metadata.
        executor_input: What Kubeflow gave the task for ``{{$}}``.
        output: Name of the output artifact; None if it has only one of type ``system.Metrics``.
        values: Metadata to add.

    Raises:
        InvalidMetricsError: The task has no such output.
    """
    outputs = executor_input.get("outputs", {}).get("artifacts", {})
    name = output or _metrics_output(outputs)
    if name not in outputs or not outputs[name].get("artifacts"):
        raise InvalidMetricsError(
            f"the task has no output artifact {name!r}; accepted: {', '.join(outputs) or 'it has none at all'}"
        )
    given = outputs[name]["artifacts"][0]
    artifacts = dict(known.get("artifacts", {}))
    found = [*artifacts.get(name, {}).get("artifacts", ())]
    first = dict(found[0]) if found else {field: given[field] for field in ("name", "uri") if field in given}
    first["metadata"] = {**first.get("metadata", {}), **values}
    artifacts[name] = {"artifacts": [first, *found[1:]]}
    return {**known, "artifacts": artifacts}


def _metrics_output(outputs: Mapping[str, Any]) -> str:
    kinds = {
        name: [artifact.get("type", {}).get("schemaTitle") for artifact in listed.get("artifacts", ())]
        for name, listed in outputs.items()
    }
    fitting = [name for name, titles in kinds.items() if "system.Metrics" in titles]
    if len(fitting) != 1:
        raise InvalidMetricsError(
            f"the task has {len(fitting)} outputs of type system.Metrics; name one with --output-name: "
            f"{', '.join(fitting or outputs) or 'it has no output artifacts'}"
        )
    return fitting[0]
