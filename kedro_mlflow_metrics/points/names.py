"""Which metric names MLflow takes, and what to call one that it refuses."""

from __future__ import annotations

import posixpath
import re
import sys

from kedro_mlflow_metrics.errors import InvalidMetricsError

__all__ = ["MAX_LENGTH", "TAKEN", "check_prefix", "logged_as", "plain", "suggestion"]

MAX_LENGTH = 250
TAKEN = "letters, digits, spaces and _ - . : /"
_EXTRA = " ._/-" if sys.platform == "win32" else " ._/:-"
_ALLOWED = re.compile(rf"[\w{re.escape(_EXTRA)}]+")
_REFUSED = re.compile(rf"[^\w{re.escape(_EXTRA)}]+")


def suggestion(name: str) -> str:
    """Return the nearest name that MLflow takes."""
    name = posixpath.normpath(_REFUSED.sub("_", name)[:MAX_LENGTH])
    name = "/".join(part for part in name.split("/") if part not in ("", ".", ".."))
    return (name.lstrip("./") if name.startswith("..") else name) or "metric"


def _accepted(key: str) -> bool:
    """Tell whether MLflow takes the name: its characters, and that as a path it is itself."""
    return (
        _ALLOWED.fullmatch(key) is not None
        and posixpath.normpath(key) == key
        and key != "."
        and not key.startswith(("..", "/"))
    )


def logged_as(name: str, prefix: str = "", *, exact: bool = False) -> str:
    """Return the name under which a metric is logged: its own, or else the nearest that MLflow takes.

    Args:
        name: The name as given.
        prefix: What stands before it, separator included.
        exact: Whether any but its own is refused, as an empty or too long one always is.
    """
    if not name:
        raise InvalidMetricsError("a metric has the empty name ''; give it a name such as 'loss'")
    key = prefix + name
    if len(key) > MAX_LENGTH:
        raise InvalidMetricsError(
            f"metric '{plain(name[:40])}...': the name has {len(key)} characters with its prefix, "
            f"MLflow takes {MAX_LENGTH}; shorten it by {len(key) - MAX_LENGTH}"
        )
    if _accepted(key):
        return name
    if exact:
        raise InvalidMetricsError(
            f"metric {plain(name)!r}: MLflow does not take this name; it takes {TAKEN}, as in {suggestion(name)!r}"
        )
    return suggestion(name)


def check_prefix(prefix: str, separator: str) -> None:
    """Refuse a prefix under which no metric could be logged."""
    if prefix and not (_accepted(f"{prefix}{separator}x") and len(prefix + separator) < MAX_LENGTH):
        raise InvalidMetricsError(
            f"MLflow does not take the prefix {plain(prefix)!r}; give the entry one that it takes, "
            f"such as prefix: {suggestion(prefix)}"
        )


def plain(name: str) -> str:
    """Shorten a name for a message, without the square brackets that Kedro's log swallows."""
    return name[:80].replace("[", "(").replace("]", ")")
