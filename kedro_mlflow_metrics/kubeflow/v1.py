"""The v1 metrics file of Kubeflow Pipelines: at most 50 last values, in a form that no version drops."""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from hashlib import sha1
from itertools import count
from typing import TYPE_CHECKING, Literal, NamedTuple

from kedro_mlflow_metrics.errors import SettingsError
from kedro_mlflow_metrics.schema import Model, as_tuple, checked, settable, validator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_mlflow_metrics.points.curves import MetricPoint

__all__ = ["Document", "Manner", "Options", "document", "names_of", "read_options", "warn_left_out"]

log = logging.getLogger("kedro.mlflow_metrics")

MOST = 50  # metrics of a run that Kubeflow keeps
LONGEST = 64  # characters of a name
Names = Literal["modern", "legacy"]
_OTHER = {"modern": re.compile(r"[^-_A-Za-z0-9]+"), "legacy": re.compile(r"[^-a-z0-9]+")}


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

    _as_list = validator("percentage", "raw", "order", before=True)(as_tuple)


class Manner(NamedTuple):
    """How metrics stand in a v1 file: what their entry asks for, and which keys are its own."""

    options: Options
    prefix: str = ""
    owns: Callable[[str], bool] = lambda _: True

    def rank(self, key: str) -> int:
        """Return its place in the declared order; what no glob names comes after all that is named."""
        order = self.options.order
        return next((rank for rank, glob in enumerate(order) if self._matches(key, (glob,))), len(order))

    def row(self, key: str, name: str, value: float) -> dict[str, object]:
        """Return what the file says of it."""
        row: dict[str, object] = {"name": name, "numberValue": value}
        if self._matches(key, self.options.percentage):
            row["format"] = "PERCENTAGE"
        elif self._matches(key, self.options.raw):
            row["format"] = "RAW"
        return row

    def _matches(self, key: str, globs: Sequence[str]) -> bool:
        return any(fnmatchcase(name, glob) for name in (key, key.removeprefix(self.prefix)) for glob in globs)


class Document(NamedTuple):
    """A v1 file, and what was done to make it one."""

    text: str  # its content
    names: dict[str, str]  # per MLflow key, in the order of the file, the name that stands there
    without_value: list[str]  # the keys that have no finite value
    left_out: list[str]  # the keys that are over the limit of 50


def read_options(given: object, where: str) -> Options:
    """Check options as a catalog entry or a call gives them."""
    if not isinstance(given, Mapping):
        raise SettingsError(f"{where}: got {given!r}", f"accepted: a dict with {', '.join(settable(Options))}")
    return checked(Options, given, where)


def document(points: Mapping[str, MetricPoint | None], manner: Callable[[str], Manner]) -> Document:
    """Write a v1 file: strict JSON, no field that Kubeflow does not know."""
    values = {key: point.value for key, point in points.items() if point is not None}
    manners = {key: manner(key) for key in values}
    order = sorted(values, key=lambda key: (manners[key].rank(key), key))
    names = names_of({key: manners[key].options.names for key in order})
    kept, left_out = order[:MOST], order[MOST:]
    rows = [manners[key].row(key, names[key], values[key]) for key in kept]
    text = json.dumps({"metrics": rows}, allow_nan=False, indent=1) + "\n"
    without_value = [key for key, point in points.items() if point is None]
    return Document(text, {key: names[key] for key in kept}, without_value, left_out)


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


def names_of(keys: Mapping[str, Names]) -> dict[str, str]:
    """Give each key the name under which Kubeflow takes it; the same keys always get the same names.

    A name that Kubeflow takes is left alone, even where another would come to the same; that one, and what is too
    long, ends in a hash of its key. Names that differ in case only count as the same: some databases take them so.
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
