"""The names under which Kubeflow Pipelines takes metrics, made from MLflow's."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from hashlib import sha1
from itertools import count
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LONGEST", "Names", "names_of"]

LONGEST = 64  # characters of a name
Names = Literal["modern", "legacy"]
_OTHER = {"modern": re.compile(r"[^-_A-Za-z0-9]+"), "legacy": re.compile(r"[^-a-z0-9]+")}


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
