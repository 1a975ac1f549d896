"""What Kubeflow Pipelines would do with a metrics file (``mlpipeline-metrics``), judged without Kubeflow."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

__all__ = ["Finding", "Outcome", "check"]

EVERY = "every version"
LEGACY = "up to 0.5.2"
UP_TO_2_5 = "up to 2.5.0"
SINCE_2_14 = "2.14.0 and later, perhaps after 2.5.0"
UP_TO_2_17 = "up to 2.17.0"
AFTER_2_17 = "after 2.17.0"

MAX_BYTES, MAX_METRICS, MAX_NAME = 2**20, 50, 64
FORMATS = (None, "RAW", "PERCENTAGE")

# A number alone in a string is taken where it is written as in JSON; other spellings were not tried.
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_LIKE_A_NUMBER = re.compile(r"\s*[-+]?\.?\d")
_SURROGATE = re.compile("[\ud800-\udfff]")
# The length is judged apart, for its outcome differs.
_NAME = re.compile(r"[a-zA-Z]([-_a-zA-Z0-9]*[a-zA-Z0-9])?")
_LEGACY_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")

# Kubeflow decodes into a message with more fields than a user needs, each with a second spelling.
_SPELLINGS = {"number_value": "numberValue", "node_id": "nodeId", "run_id": "runId"}
_UNTRIED = {*_SPELLINGS, "nodeId", "runId"}

_BLANK = " \t\n\r"
_BOM = "\ufeff"
# Objects become tuples of pairs, which keeps a key that stands twice; all numbers become floats.
_DECODER = json.JSONDecoder(object_pairs_hook=tuple, parse_int=float)
_KINDS = {tuple: "an object", list: "a list", str: "text", bool: "true or false", float: "a number", type(None): "null"}
_METRIC_FORM = "an object of name, numberValue and format"
_FILE_FORM = f"an object whose one key metrics has a list; each entry is {_METRIC_FORM}"


class Outcome(Enum):
    """What Kubeflow does; its value completes the sentence "Kubeflow ..."."""

    DROPS_FILE = "drops the whole file"
    DROPS_METRIC = "drops this metric"
    DROPS_REST = "drops the metrics after the first 50"
    IGNORES = "ignores this entry"
    IGNORES_ON_MYSQL = "probably ignores this entry on MySQL"
    STORES_ZERO = "stores 0.0 instead"
    NEVER_STORES = "never stores it, and retries"
    NOT_KNOWN = "is not known to take it"
    TAKES = "takes that, though its documentation does not"


class Finding(NamedTuple):
    """One problem and one outcome of it."""

    entry: int | None  # which entry of "metrics", counted from 0; None for the whole file
    name: str  # the metric's name where there is one, made printable
    problem: str  # one line: what is wrong and what to write instead
    outcome: Outcome  # what Kubeflow does
    versions: str  # the versions of Kubeflow Pipelines that do so


_Verdicts = Iterator[tuple[str, Outcome, str]]
_Rules = Mapping[str, Callable[[Any], _Verdicts]]


def check(content: bytes, *, legacy: bool = False) -> list[Finding]:
    """Find everything in a metrics file that Kubeflow would drop, ignore or change.

    Args:
        content: The file's bytes, whatever they are.
        legacy: Judge also for the versions before 1.0, which took fewer names.

    Returns:
        The findings on the whole file, then those on each entry; none, or none but `Outcome.TAKES`, if every version
        takes it all.
    """
    verdicts: list[tuple[str, Outcome, str]] = []
    top = _decoded(content, verdicts)
    metrics = _fields(top).get("metrics")
    entries = metrics if isinstance(metrics, list) else []
    return [*(Finding(None, "", *verdict) for verdict in verdicts), *_entries(entries, legacy=legacy)]


def _decoded(content: bytes, verdicts: list[tuple[str, Outcome, str]]) -> object:
    """Return the document, as far as there is one, and note what is wrong with the file as such."""
    drop = Outcome.DROPS_FILE
    text = content.decode(errors="replace")
    start = next((at for at, char in enumerate(text) if char not in _BLANK + _BOM), len(text))
    if len(content) > MAX_BYTES:
        verdicts.append((f"{len(content)} bytes are more than 1 MiB; write fewer metrics", drop, AFTER_2_17))
    if text.encode() != content:
        verdicts += _half_known("the file is not UTF-8 throughout; write it as UTF-8")
    if _BOM in text[:start]:
        verdicts.append(("the file begins with a byte order mark; write it as UTF-8 without one", drop, EVERY))
    if start == len(text):
        verdicts.append((f"the file is empty; write {_FILE_FORM}", drop, EVERY))
        return None
    try:
        top, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as exc:
        where = f"line {exc.lineno}, column {exc.colno}"
        verdicts.append((f"this is no JSON at {where}: {exc.msg}; write {_FILE_FORM}", drop, EVERY))
        return None
    except RecursionError:
        verdicts.append((f"lists or objects stand too deep in one another; write {_FILE_FORM}", drop, EVERY))
        return None
    if text[end:].strip(_BLANK):
        verdicts.append(("more follows after the JSON; keep one object", drop, SINCE_2_14))
    verdicts += _object("the file", top, _TOP_RULES, _FILE_FORM)
    return top


def _entries(metrics: list[Any], *, legacy: bool) -> Iterator[Finding]:
    """Judge the entries one by one, each against those before it."""
    if len(metrics) > MAX_METRICS:
        problem = f"{len(metrics)} metrics; keep {MAX_METRICS}, which is the limit for all nodes of a run together"
        yield Finding(None, "", problem, Outcome.DROPS_REST, EVERY)
    same: dict[str, int] = {}
    alike: dict[str, int] = {}
    for entry, metric in enumerate(metrics):
        name = _fields(metric).get("name")
        name = name if isinstance(name, str) else ""
        verdicts = [*_object("the entry", metric, _METRIC_RULES, _METRIC_FORM)]
        if _NAME.fullmatch(name) and len(name) <= MAX_NAME:
            if legacy and not _LEGACY_NAME.fullmatch(name):
                rule = "use a-z, 0-9 and -, a letter first, no - last"
                verdicts.append((f"the name {_shown(name)} is not taken; {rule}", Outcome.DROPS_METRIC, LEGACY))
            if name in same:
                problem = f"entry {same[name]} has the same name; keep one of them"
                verdicts.append((problem, Outcome.IGNORES, EVERY))
            elif name.lower() in alike:
                problem = f"entry {alike[name.lower()]} has the same name but for capital letters; rename one of them"
                verdicts.append((problem, Outcome.IGNORES_ON_MYSQL, EVERY))
            same.setdefault(name, entry)
            alike.setdefault(name.lower(), entry)
        yield from (Finding(entry, _shown(name)[1:-1], *verdict) for verdict in verdicts)


def _fields(thing: object) -> dict[str, Any]:
    """Return an object's fields by their usual spelling; of a key that stands twice, the last."""
    return {_SPELLINGS.get(key, key): value for key, value in thing} if isinstance(thing, tuple) else {}


def _object(what: str, thing: object, rules: _Rules, form: str) -> _Verdicts:
    """Judge the keys of an object, and each field by its rule, which gets None for a missing one."""
    if thing is None:
        yield from _half_known(f"{what} is null; write {form}")
        return
    if not isinstance(thing, tuple):
        yield f"{what} is {_KINDS[type(thing)]}, no object; write {form}", Outcome.DROPS_FILE, EVERY
        return
    for key, count in Counter(_SPELLINGS.get(key, key) for key, _ in thing).items():
        if count > 1:
            yield f"{what} has the key {_shown(key)} {count} times; keep one", Outcome.DROPS_FILE, SINCE_2_14
    for key in dict(thing):
        if _SPELLINGS.get(key, key) not in rules:
            yield f"{what} has the unknown key {_shown(key)}; write {form}", Outcome.DROPS_FILE, EVERY
        elif key in _UNTRIED:
            yield f"{what} has the unusual key {_shown(key)}; write {form}", Outcome.NOT_KNOWN, EVERY
    fields = _fields(thing)
    for key, rule in rules.items():
        yield from rule(fields.get(key))


def _metrics(value: object) -> _Verdicts:
    if not isinstance(value, list | None):
        yield f"metrics is {_KINDS[type(value)]}, no list; write {_FILE_FORM}", Outcome.DROPS_FILE, EVERY


def _text(value: object, key: str = "name") -> _Verdicts:
    if not isinstance(value, str | None):
        yield f"{key} is {_KINDS[type(value)]}; write text", Outcome.DROPS_FILE, EVERY
    elif value and _SURROGATE.search(value):
        yield from _half_known(f"{key} has half of a surrogate pair: {_shown(value)}; take it out")


def _name(value: object) -> _Verdicts:
    yield from _text(value)
    if not value and isinstance(value, str | None):
        yield "the metric has no name; give it one", Outcome.DROPS_METRIC, EVERY
    elif isinstance(value, str):
        if len(value) > MAX_NAME:
            problem = f"the name has {len(value)} characters; shorten it to {MAX_NAME}"
            yield problem, Outcome.DROPS_METRIC, UP_TO_2_17
            yield problem, Outcome.DROPS_FILE, AFTER_2_17
        if not _NAME.fullmatch(value):
            rule = "use a-z, A-Z, 0-9, - and _, a letter first, no - or _ last"
            yield f"the name {_shown(value)} is not taken; {rule}", Outcome.DROPS_METRIC, EVERY


def _number(value: object) -> _Verdicts:
    drop = Outcome.DROPS_FILE
    instead = "write a finite number or leave the metric out"
    if value is None:
        yield f"numberValue is missing or null; {instead}", Outcome.STORES_ZERO, EVERY
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"numberValue is NaN, infinite, or too large for a double; {instead}", drop, EVERY
    elif not isinstance(value, str):
        yield f"numberValue is {_KINDS[type(value)]}; {instead}", drop, EVERY
    elif value in ("NaN", "Infinity", "-Infinity"):
        yield f"numberValue is the text {_shown(value)}; {instead}", Outcome.NEVER_STORES, EVERY
    elif _JSON_NUMBER.fullmatch(value) and math.isfinite(float(value)):
        yield f"numberValue is the text {_shown(value)}; write the number itself", Outcome.TAKES, EVERY
    else:
        outcome = Outcome.NOT_KNOWN if _LIKE_A_NUMBER.match(value) else drop
        yield f"numberValue is the text {_shown(value)}; {instead}", outcome, EVERY


def _format(value: object) -> _Verdicts:
    if value not in FORMATS:
        coded = isinstance(value, float) and value.is_integer() and -(2**31) <= value < 2**31
        shown = _shown(value) if isinstance(value, str) else _KINDS[type(value)]
        other = Outcome.NOT_KNOWN if coded else Outcome.DROPS_FILE
        outcome = Outcome.TAKES if value == "UNSPECIFIED" else other
        yield f"format is {shown}; write RAW or PERCENTAGE, or leave it out", outcome, EVERY


_METRIC_RULES: _Rules = {
    "name": _name,
    "numberValue": _number,
    "format": _format,
    "nodeId": partial(_text, key="nodeId"),
}
_TOP_RULES: _Rules = {"metrics": _metrics, "runId": partial(_text, key="runId")}


def _half_known(problem: str) -> _Verdicts:
    """Yield what newer versions drop, and older ones were not asked."""
    yield problem, Outcome.DROPS_FILE, SINCE_2_14
    yield problem, Outcome.NOT_KNOWN, UP_TO_2_5


def _shown(text: str) -> str:
    """Quote a text on one printable line, cut, without the square brackets that Kedro's log swallows."""
    text = text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - a line of a terminal
    return repr(text).replace("[", "(").replace("]", ")")
