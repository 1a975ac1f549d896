"""Environment variables lent to MLflow for a while, and put back."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kedro_mlflow_metrics import process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["lend", "lent", "own", "take_back"]

_lock = process.inherited_lock()
_loans: list[Mapping[str, str]] = []
_before: dict[str, str | None] = {}


def own(name: str) -> str | None:
    """Return what the user set a variable to, whatever is on loan at the moment."""
    with _lock:
        return _before[name] if name in _before else os.environ.get(name)


def lend(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Set variables until `take_back` gets the returned loan; loans of concurrent runs may overlap."""
    with _lock:
        loan = dict(variables)
        _loans.append(loan)
        for name, value in loan.items():
            _before.setdefault(name, os.environ.get(name))
            os.environ[name] = value
        return loan


def take_back(loan: Mapping[str, str]) -> None:
    """Give each variable the value of the newest loan that is left, or the one from before all loans."""
    with _lock:
        _loans[:] = [other for other in _loans if other is not loan]
        for name in loan:
            left = [other[name] for other in _loans if name in other]
            value = left[-1] if left else _before.pop(name, None)
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


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
