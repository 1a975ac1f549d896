"""Against MLflow servers of other versions than the client's: what is sent again is there once, an overload passes.

``SERVER_PYTHONS`` names a python with MLflow for each version: ``2.18.0=.venv-oldest/bin/python newest=...``.
See ``make test-servers``.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from support.bench import Bench, said, until
from support.project import Project, Store
from support.proxy import always, on_batches
from support.server import MlflowServer

PYTHONS = dict(each.split("=", 1) for each in os.environ.get("SERVER_PYTHONS", "").split())
if not PYTHONS:
    pytest.skip("no servers of other versions are installed here: make test-servers", allow_module_level=True)

KEYS = 150  # MLflow before 3.10 compares 100 points at a time with what it holds, and refuses more of several keys
STEPS = 6
CATALOG = "".join(f"{name}: {{type: kedro_mlflow_metrics.MlflowMetricsDataSet}}\n" for name in ("curve", "a", "b", "c"))
PIPELINE = f"""
import math, os, time
from itertools import count
from pathlib import Path

from kedro.pipeline import node, pipeline

SPECIAL = {{0: math.nan, 1: math.inf, 2: -math.inf}}

def point(key, step):
    number = 7 * key + step
    return {{"value": SPECIAL.get(number % 50, number / 4), "step": step, "timestamp": 1_700_000_000_000 + number}}

def curves():
    return {{f"m{{key}}": [point(key, step) for step in range({STEPS})] for key in range({KEYS})}}

def epochs():
    "Yield while the file ``hold`` stands there."
    yielded = os.open("yielded", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for step in count():
        yield {{f"m{{key}}": point(key, step) for key in range({KEYS})}}
        os.pwrite(yielded, b"%d" % (step + 1), 0)
        if not Path("hold").exists():
            break
        time.sleep(0.25)  # a batch per second holds all keys

def register_pipelines():
    return {{
        "dicts": pipeline([node(curves, None, name, name=name) for name in ("a", "b", "c")]),
        "generator": pipeline([node(epochs, None, "curve", name="generator")]),
        "iterator": pipeline([node(lambda: (epochs(), "model"), None, ["curve", "model"], name="iterator")]),
    }}
"""
OF_THE_EXPERIMENT = """
    m JOIN runs r ON m.run_uuid = r.run_uuid JOIN experiments e ON e.experiment_id = r.experiment_id WHERE e.name = ?
"""
STORED = f"SELECT key, step, timestamp, value, is_nan FROM metrics {OF_THE_EXPERIMENT}"
LATEST = f"SELECT key, step FROM latest_metrics {OF_THE_EXPERIMENT}"
SPECIAL = {0: (0.0, 1), 1: (sys.float_info.max, 0), 2: (-sys.float_info.max, 0)}
shapes = pytest.mark.parametrize("shape", ["dicts", "generator", "iterator"])


def saved(prefix: str, steps: int) -> Counter:
    """Return what MLflow stores of what the nodes save: (key, step, timestamp, value, is_nan)."""
    numbers = ((key, step, 7 * key + step) for key in range(KEYS) for step in range(steps))
    return Counter(
        (f"{prefix}.m{key}", step, 1_700_000_000_000 + number, *SPECIAL.get(number % 50, (number / 4, 0)))
        for key, step, number in numbers
    )


@pytest.fixture(scope="session", params=PYTHONS)
def other_server(request, tmp_path_factory):
    """A server of the version, on a store that it made itself."""
    folder = tmp_path_factory.mktemp("server")
    server = MlflowServer(f"sqlite:///{folder}/mlflow.db", folder, Path(PYTHONS[request.param]).absolute())
    try:
        server.start()
        with urllib.request.urlopen(f"{server.uri}/api/2.0/mlflow/experiments/get?experiment_id=0", timeout=60):
            yield server, Store(folder / "mlflow.db")  # the first request makes the tables
    finally:
        server.close()


@pytest.fixture
def bench(tmp_path, kedro, other_server):
    """A project without a store of its own, a server, and a proxy in between."""
    bench = Bench(Project(tmp_path / "project", None), kedro, *other_server)
    bench.project.catalog(CATALOG)
    bench.project.pipeline(PIPELINE)
    yield bench
    bench.proxy.close()


def run(bench: Bench, shape: str, fault: str, times: int = 1) -> tuple[str, Counter]:
    """Run a pipeline, a stream until it has met a fault some times; return its output and what it saved."""

    def met() -> int:
        return [action for _, action, _ in bench.proxy.seen].count(fault)

    if shape == "dicts":
        out, points = bench.run(shape), sum((saved(name, STEPS) for name in "abc"), Counter())
    else:
        hold = bench.hold()
        command = bench.start(shape)
        until(lambda: met() >= times)
        hold.unlink()
        assert command.wait() == 0, command.output
        out, points = command.output, saved("curve", bench.yielded)
    assert met()
    return out, points


def in_mlflow(bench: Bench) -> Counter:
    return Counter(bench.store.rows(STORED, bench.experiment))


def refused_again(metrics: list[dict]) -> bool:
    """Tell whether an old server refuses this batch the second time, for its NaN and for its many keys."""
    return len({each["key"] for each in metrics}) > 100 and any(each["value"] == "NaN" for each in metrics)


def arrived(bench: Bench, points: Counter) -> None:
    """After ``sync`` exactly these points are in MLflow, in one run that has ended; nothing is left or set aside."""
    bench.proxy.plan = always("pass")
    told = bench.sync()
    assert list(bench.root.rglob("*.refused")) == []
    assert in_mlflow(bench) == points
    assert dict(bench.store.rows(LATEST, bench.experiment)) == dict(sorted(point[:2] for point in points))
    assert [status for _, _, status, _, _ in bench.runs] == ["FINISHED"]
    assert bench.folders == [], told


# Sent again after a lost answer


@shapes
def test_the_first_answer_is_lost(bench, shape):
    """The run itself sends the batch again, and all is there once: no second warning, nothing for ``sync``."""
    bench.proxy.plan = on_batches("lose", range(1))
    out, points = run(bench, shape, "lose")
    assert refused_again(*bench.hit("lose"))
    assert len(said(out, "WARNING")) == 1
    assert said(out, "ERROR") == []
    assert bench.folders == []
    arrived(bench, points)


@shapes
@pytest.mark.parametrize("lost", [range(1, 3), range(0, 10**6, 3)], ids=["middle", "every third"])
def test_answers_are_lost(bench, shape, lost):
    """However many answers are lost on the way, all is there once, after ``sync`` where something is left."""
    bench.proxy.plan = on_batches("lose", lost)
    _, points = run(bench, shape, "lose", times=2)
    assert any(map(refused_again, bench.hit("lose")))
    arrived(bench, points)


@shapes
def test_answers_are_lost_and_the_rest_waits(bench, shape):
    """``sync`` sends a whole journal of which the server has stored a part, and nobody knows which."""
    answers = iter(["pass", "lose", "lose"])

    def plan(path: str, _number: int) -> str:
        if "log-batch" in path:
            return next(answers, "500")
        return "500" if bench.hit("lose") else "pass"

    bench.proxy.plan = plan
    out, points = run(bench, shape, "lose", times=2)
    assert len(said(out, "ERROR")) == 1
    assert in_mlflow(bench) != points
    assert any(map(refused_again, bench.hit("lose")))
    assert len(bench.folders) == 1
    arrived(bench, points)


# Overloaded


@pytest.mark.parametrize("shape", ["dicts", "iterator"])
@pytest.mark.parametrize("which", [range(1), range(1, 3)], ids=["first", "middle"])
def test_overloaded_for_a_while(bench, shape, which):
    """A database without a free connection is an outage with one warning: the points come later, none is set aside."""
    bench.proxy.plan = on_batches("overload", which)
    out, points = run(bench, shape, "overload", times=len(which))
    assert len(said(out, "WARNING")) == 1
    arrived(bench, points)


@pytest.mark.parametrize("shape", ["dicts", "iterator"])
@pytest.mark.parametrize("path", ["log-batch", "runs/create"])
def test_overloaded_all_the_time(bench, shape, path):
    """The pipeline goes on to its end, without a run in MLflow if need be, and ``sync`` sends all of it."""
    bench.proxy.plan = lambda asked, _: "overload" if path in asked else "pass"
    out, points = run(bench, shape, "overload")
    assert len(said(out, "WARNING")) == 1
    assert len(said(out, "ERROR")) == 1
    assert not in_mlflow(bench)
    arrived(bench, points)


def test_overloaded_at_the_start(bench):
    """Where only the first request for a run met it, the run is made at its end."""
    creations = iter(["overload"])
    bench.proxy.plan = lambda path, _: next(creations, "pass") if "runs/create" in path else "pass"
    out, points = run(bench, "dicts", "overload")
    assert len(said(out, "WARNING")) == 1
    assert said(out, "ERROR") == []
    assert bench.folders == []
    arrived(bench, points)
