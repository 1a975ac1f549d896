"""Conditions on metrics, as ``kedro metrics compare --fail-if`` takes them."""

from __future__ import annotations

import math
import operator
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from kedro_mlflow_metrics.errors import MetricsError
from kedro_mlflow_metrics.views.numbers import difference, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Gate"]

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_FORM = re.compile(
    r"\s*(?P<key>[^\s<>=][^<>=]*?)\s*(?P<sign><=|>=|<|>)\s*"
    r"(?P<limit>[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(?P<percent>%?)\s*"
)
_DUST = 16  # units in the last place: what floats leave of decimal numbers, 0.94 - 0.95 is not quite -0.01
_VALUE = ".value"


class Gate(NamedTuple):
    """A condition under which a comparison fails."""

    text: str  # as it was given
    key: str  # a metric's key, or a glob; with ``.value`` behind it, its value is meant and not its change
    sign: str  # how it is compared
    limit: float  # with what
    percent: bool  # whether its change in percent is

    @classmethod
    def of(cls, text: str) -> Gate:
        """Read ``KEY < LIMIT``; raises `MetricsError`."""
        found = _FORM.fullmatch(text)
        try:
            limit = float(found["limit"]) if found else math.nan
        except ValueError:
            limit = math.nan
        if found is None or not math.isfinite(limit):
            accepted = 'accepted: "KEY < -0.01" or "KEY < -1%" for a change, "KEY.value < 0.9" for a value'
            raise MetricsError(f"--fail-if {text!r} cannot be read", f"{accepted}, and so with <=, > and >=")
        return cls(text, found["key"], found["sign"], limit, bool(found["percent"]))

    def broken(self, metrics: Mapping[str, Sequence[float | None]]) -> Iterator[str]:
        """Say for each metric that meets the condition, or cannot be judged, why the comparison fails.

        Args:
            metrics: By key a value per run, None where the run does not have the metric.
        """
        keys, of_value = self._keys(metrics)
        if not keys:
            yield f"--fail-if {self.text!r}: no run has a metric {self.key!r}"
        for key in keys:
            before, after = metrics[key][0], metrics[key][-1]
            if len(metrics[key]) == 1 and not of_value:
                yield f"--fail-if {self.text!r}: there is one run, so that nothing changes"
                continue
            if after is None or (before is None and not of_value):
                yield f"--fail-if {self.text!r}: {key} is missing in the {'last' if after is None else 'first'} run"
                continue
            seen, told, dust = after, f"{key} is {number(after)}", _DUST * math.ulp(after)
            limit = self.limit / 100 if self.percent and of_value else self.limit
            if not of_value and before is not None:
                seen, dust = difference(before, after), _DUST * math.ulp(max(abs(before), abs(after)))
                told = f"{key} went from {number(before)} to {number(after)}"
                if self.percent and before:
                    seen, dust = seen / abs(before) * 100, dust / abs(before) * 100
                elif self.percent and seen:
                    seen = math.copysign(math.inf, seen)
                told += f", by {number(seen)}{'%' if self.percent else ''}"
            if math.isfinite(seen + dust) and abs(seen - limit) <= dust:
                seen = limit
            if math.isnan(seen) or _OPERATORS[self.sign](seen, limit):
                yield f"--fail-if {self.text!r}: {told}"

    def _keys(self, metrics: Mapping[str, object]) -> tuple[list[str], bool]:
        """Return the metrics that are meant, and whether their values are; a metric's own name comes before all."""
        for matches in (operator.eq, fnmatchcase):
            for key, of_value in ((self.key, False), (self.key.removesuffix(_VALUE), self.key.endswith(_VALUE))):
                found = [each for each in metrics if matches(each, key)]
                if found:
                    return found, of_value
        return [], False
