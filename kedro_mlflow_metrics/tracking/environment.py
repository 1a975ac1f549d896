"""Environment variables lent to MLflow for a while, and put back."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING

from kedro_mlflow_metrics import process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["lend", "lent", "own", "own_uri", "take_back", "takes"]

_lock = process.inherited_lock()
_loans: list[Mapping[str, str]] = []
_before: dict[str, str | None] = {}
_URI, _SERVICE = "MLFLOW_TRACKING_URI", "mlflow.tracking._tracking_service.utils"
_uri_before: list[tuple[str | None, str]] = []  # what was set, and MLflow's address, when the first one was lent
_TRACKING = "MLFLOW_TRACKING_"
_FILES = ("AWS_", "AZURE", "BOTO_", "DATABRICKS_", "GCLOUD_", "GOOGLE_")  # what MLflow's stores of artifacts read
_CONNECTIONS = ("CURL_", "HTTP", "NO_PROXY", "REQUESTS_", "SSL_")


def takes(name: str) -> tuple[bool, str]:
    """Tell whether MLflow, or what it uses for files, reads a variable; and the name of MLflow's that is near to it."""
    if name.startswith((*_FILES, *_CONNECTIONS)):
        return True, ""
    from mlflow import environment_variables

    known = {each.lstrip("_") for each in dir(environment_variables) if each.isupper()}
    ours, full = name.startswith("MLFLOW_"), _TRACKING + name.removeprefix("MLFLOW_").removeprefix("TRACKING_")
    likely = () if ours else get_close_matches(name, ("USERNAME", "PASSWORD", "TOKEN"), 1, 0.5)
    longer = sorted(each for each in known if each.startswith(full))
    close = next(iter([*(_TRACKING + each for each in likely), *longer, *get_close_matches(name, known, 1, 0.9)]), "")
    return name in known or (ours and not close), close  # a plugin of MLflow may have variables of its own


def own(name: str) -> str | None:
    """Return what the user set a variable to, whatever is on loan at the moment."""
    with _lock:
        return _before[name] if name in _before else os.environ.get(name)


def own_uri() -> str:
    """Return the address that MLflow has from the user, whatever is on loan; empty if MLflow is not loaded."""
    with _lock:
        return _uri_before[0][1] if _uri_before else _address()


def lend(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Set variables until `take_back` gets the returned loan; loans of concurrent runs may overlap.

    What was given to `mlflow.set_tracking_uri` does not stand above an address that is lent.
    """
    with _lock:
        loan = dict(variables)
        _loans.append(loan)
        for name in loan:
            _before.setdefault(name, os.environ.get(name))
        if _URI in loan:
            address, given = _address(), _set_uri(None, loan[_URI])
            _uri_before[:] = _uri_before or [(given, address)]
        os.environ.update(loan)
        return loan


def take_back(loan: Mapping[str, str]) -> None:
    """Give each variable the value of the newest loan that is left, or the one from before all loans.

    So too if somebody has set it meanwhile, a node that called `mlflow.set_tracking_uri` say.
    """
    with _lock:
        _loans[:] = [other for other in _loans if other is not loan]
        if _uri_before and not any(_URI in other for other in _loans):
            _set_uri(_uri_before[0][0])
            _uri_before.clear()
        for name in loan:
            left = [other[name] for other in _loans if name in other]
            value = left[-1] if left else _before.pop(name, None)
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _set_uri(*accepted: str | None) -> str | None:
    """Return what was given to `mlflow.set_tracking_uri`; where it is not accepted, give it the first that is.

    Each change resets MLflow's tracing, and sets the variable too.
    """
    service = sys.modules.get(_SERVICE)
    before: str | None = getattr(service, "_tracking_uri", None)  # no public function tells it from the variable
    if service is not None and before not in accepted:
        service.set_tracking_uri(accepted[0])
    return before


def _address() -> str:
    service = sys.modules.get(_SERVICE)
    return str(service.get_tracking_uri()) if service else ""


@contextmanager
def lent(variables: Mapping[str, str]) -> Iterator[None]:
    """Lend for the length of a ``with`` block; without variables do nothing."""
    if not variables:
        yield
        return
    loan = lend(variables)
    try:
        yield
    finally:
        take_back(loan)
