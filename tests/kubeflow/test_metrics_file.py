"""The metrics file for Kubeflow beside MLflow: what stands in it, when it is written, and what it may not disturb."""

from __future__ import annotations

import json
import signal
import textwrap

import pytest
from kedro.io import AbstractDataset, DatasetError
from support.bench import said, until
from support.server import free_port

from kedro_mlflow_metrics import MlflowMetricsDataSet
from kedro_mlflow_metrics.kubeflow.rules import check

TYPE = "kedro_mlflow_metrics.MlflowMetricsDataSet"
# Each node is a function named after the entry that it saves. Kedro itself takes a generator apart and saves what it
# yields one by one ("chunks"); with a second output it hands it over as it is ("iterator").
PIPELINE = """
from kedro.pipeline import node, pipeline
from proj import nodes

def made(name):
    function = getattr(nodes, name)
    if nodes.FORM != "iterator":
        return node(function, None, name, name=name)
    return node(lambda: (function(), 1), None, [name, name + "_done"], name=name)

def register_pipelines():
    return {{"__default__": pipeline([made(name) for name in {names!r}])}}
"""
STREAMS = ["chunks", "iterator"]
FORMS = ["list", *STREAMS]


def gives(name, dicts, form):
    """Write a node that gives its dicts in a form."""
    return f"def {name}(): {'return' if form == 'list' else 'yield from'} {dicts}\n"


class Case:
    """A project whose entries name a metrics file."""

    def __init__(self, project, kedro):
        self.project, self.root, self.store, self.kedro = project, project.root, project.store, kedro
        self.path = self.root / "kfp/metrics.json"

    def prepare(self, code, form="chunks", **entries):
        """Write the nodes, and an entry for each with what it says besides the type and the path."""
        defaults = {"type": TYPE, "filepath": "kfp/metrics.json"}
        self.project.catalog(json.dumps({name: {**defaults, **more} for name, more in entries.items()}))
        self.project.write("src/proj/nodes.py", f"{textwrap.dedent(code)}\nFORM = {form!r}\n")
        self.project.pipeline(PIPELINE.format(names=list(entries)))

    def run(self, *arguments, code=0, env=None):
        return self.kedro.run(self.root, "run", *arguments, code=code, env=env)

    @property
    def content(self):
        """The file's text; it is valid, and nothing was left beside it."""
        content = self.path.read_bytes()
        assert check(content) == []
        assert list(self.path.parent.iterdir()) == [self.path]
        return content.decode()

    @property
    def values(self):
        """The values of the file by name."""
        metrics = json.loads(self.content)["metrics"]
        found = {metric["name"]: metric["numberValue"] for metric in metrics}
        assert len(found) == len(metrics)
        return found

    @property
    def last(self):
        """The last value of each metric in MLflow."""
        return {key: points[-1][1] for key, points in self.store.points().items()}


@pytest.fixture
def case(project, kedro):
    return Case(project, kedro)


# What stands in it


def test_exactly_what_mlflow_has(case):
    """Each metric's last value under the name that Kubeflow takes; a format only where a glob says so; in order."""
    options = {"percentage": ["*val_acc*", "auc"], "raw": "my_model_metrics.los?", "order": ["loss", "*.val_accuracy"]}
    code = """
    def my_model_metrics():
        return {"metric1": 1.1, "accuracy": 0.875, "val_accuracy": 0.9, "auc": [0.5, 0.75], "loss": [0.3, 0.2, 0.1]}
    """
    case.prepare(code, my_model_metrics={"save_args": {"kubeflow": options}})
    out = case.run()
    assert json.loads(case.content) == {
        "metrics": [
            {"name": "my_model_metrics-loss", "numberValue": 0.1, "format": "RAW"},
            {"name": "my_model_metrics-val_accuracy", "numberValue": 0.9, "format": "PERCENTAGE"},
            {"name": "my_model_metrics-accuracy", "numberValue": 0.875},
            {"name": "my_model_metrics-auc", "numberValue": 0.75, "format": "PERCENTAGE"},
            {"name": "my_model_metrics-metric1", "numberValue": 1.1},
        ]
    }
    assert case.values == {key.replace(".", "-"): value for key, value in case.last.items()}
    assert said(out, "WARNING") == []
    case.kedro.run(case.root, "metrics", "validate", "kfp/metrics.json")


def test_legacy_names(case):
    """``names: legacy`` gives names that versions before 1.0 take too; MLflow keeps its own."""
    code = "def My_Metrics(): return {'Top_5': 1, 'loss': 2}\n"
    case.prepare(code, My_Metrics={"save_args": {"kubeflow": {"names": "legacy"}}})
    case.run()
    assert case.values == {"my-metrics-loss": 2, "my-metrics-top-5": 1}
    assert check(case.path.read_bytes(), legacy=True) == []
    assert case.last == {"My_Metrics.loss": 2, "My_Metrics.Top_5": 1}


LAST = """
import math
nan, inf = math.nan, math.inf

def point(value, step, timestamp=0):
    return {"value": value, "step": step, "timestamp": 1_700_000_000_000 + timestamp}

DICTS = [
    {"nan_last": point(0.5, 0), "nan": point(nan, 0), "inf_last": point(2, 0), "ninf_last": point(3, 0),
     "inf": point(inf, 0), "big": point(1.5e308, 0), "steps": point(5, 5), "times": point(6, 0, 2000)},
    {"nan_last": point(nan, 1), "nan": point(nan, 1), "inf_last": point(inf, 1), "ninf_last": point(-inf, 1),
     "inf": point(-inf, 1), "big": point(-1.5e308, 1), "steps": point(9, 3), "times": point(9, 0, 1000)},
]
"""


@pytest.mark.parametrize("form", FORMS)
def test_the_last_finite_value(case, form):
    """By step, then timestamp, not by when it came; one warning names what has no finite value."""
    case.prepare(LAST + gives("m", "DICTS", form), form, m={})
    out = case.run()
    expected = {"nan_last": 0.5, "inf_last": 2, "ninf_last": 3, "big": -1.5e308, "steps": 5, "times": 6}
    assert case.values == {f"m-{name}": value for name, value in expected.items()}
    (warning,) = said(out, "WARNING")
    assert warning.endswith(": m.inf, m.nan")
    assert {len(points) for points in case.store.points().values()} == {2}


@pytest.mark.parametrize("form", FORMS)
def test_a_value_that_is_finite_later(case, form):
    """A metric that begins with NaN stands in the file, and nobody is told that it was left out."""
    case.prepare(gives("m", "[{'a': float('nan')}, {'a': 2}]", form), form, m={})
    out = case.run()
    assert case.values == {"m-a": 2}
    assert said(out, "WARNING") == []


def test_more_than_fifty(case):
    """Exactly fifty, those of ``order`` first; one warning names the others, and MLflow has all."""
    names = [f"n{number:02}" for number in range(60)]
    case.prepare(
        f"def m(): return dict.fromkeys({names!r}, 1)\n",
        m={"save_args": {"kubeflow": {"order": ["n59", "n5*"]}}},
    )
    out = case.run()
    first = ["n59", *names[50:59]]
    assert list(case.values) == [f"m-{name}" for name in first + names[:40]]
    (warning,) = said(out, "WARNING")
    assert f": {', '.join(f'm.{name}' for name in names[40:50])}; " in warning
    assert set(case.last) == {f"m.{name}" for name in names}


# Which runs and entries it belongs to

SHARED = """
import os, time

def metrics():
    time.sleep(0.2)
    return {"pid": os.getpid(), "curve": [1, 2]}

a = b = c = other = metrics
"""


@pytest.mark.parametrize("runner", ["SequentialRunner", "ThreadRunner", "ParallelRunner"])
def test_entries_share_a_file(case, runner):
    """All entries with one path stand in it, from whichever thread or process; another path is another file."""
    case.prepare(SHARED, a={}, b={}, c={}, other={"filepath": "other/metrics.json"})
    out = case.run(f"--runner={runner}")
    assert set(case.values) == {f"{entry}-{name}" for entry in "abc" for name in ("pid", "curve")}
    assert case.values == {key.replace(".", "-"): value for key, value in case.last.items() if "other" not in key}
    other = json.loads((case.root / "other/metrics.json").read_bytes())["metrics"]
    assert {metric["name"] for metric in other} == {"other-pid", "other-curve"}
    processes = {value for key, value in case.last.items() if "pid" in key}
    assert (len(processes) > 1) == (runner == "ParallelRunner")
    assert said(out, "WARNING") == []


def test_a_wrong_entry_that_shares_a_file(case):
    """It stops the pipeline before a run is opened, though the pipeline does not use it."""
    case.prepare("def a(): return {'x': 1}\n", a={})
    catalog = {name: {"type": TYPE, "filepath": "kfp/metrics.json"} for name in ("a", "unused")}
    catalog["unused"]["typo"] = 1
    case.project.catalog(json.dumps(catalog))
    assert "'unused'" in case.run(code=1).splitlines()[-1]
    assert case.store.runs == []


TWO = "def a(): return {'x': 1}\ndef b(): return {'x': 2}\n"


def test_another_run_begins_it_anew(case):
    """What an earlier run logged and this one does not is gone."""
    case.prepare(TWO, a={}, b={})
    case.run()
    assert case.values == {"a-x": 1, "b-x": 2}
    case.run("--nodes=a")
    assert case.values == {"a-x": 1}


def test_the_same_run_goes_on(case):
    """A session that goes on in an MLflow run adds to what its earlier session wrote."""
    case.prepare(TWO, a={}, b={})
    case.run("--nodes=a")
    case.run("--nodes=b", "--params", f"mlflow_run_id={case.store.run['run_uuid']}")
    assert case.values == {"a-x": 1, "b-x": 2}


def test_an_entry_with_a_run_of_its_own(case):
    """``run_id`` on the entry counts like a run that is continued."""
    case.prepare(TWO, a={}, b={})
    case.run("--nodes=a")
    run = case.store.run["run_uuid"]
    case.prepare(TWO, a={"run_id": run}, b={"run_id": run})
    case.run("--nodes=b")
    assert case.values == {"a-x": 1, "b-x": 2}


def test_without_a_pipeline(store, tmp_path):
    """In a notebook the file is written at the end of a save, anew for another run."""
    import mlflow

    mlflow.set_tracking_uri(store.uri)
    path = tmp_path / "m.json"
    try:
        with mlflow.start_run():
            MlflowMetricsDataSet(prefix="model", filepath=path).save({"a": 1})
            MlflowMetricsDataSet(prefix="", filepath=path).save({"b": [2, 3]})
            first = json.loads(path.read_bytes())
        with mlflow.start_run():
            MlflowMetricsDataSet(prefix="model", filepath=path).save({"c": 4})
    finally:
        mlflow.set_tracking_uri(None)
    assert first == {"metrics": [{"name": "b", "numberValue": 3}, {"name": "model-a", "numberValue": 1}]}
    assert json.loads(path.read_bytes()) == {"metrics": [{"name": "model-c", "numberValue": 4}]}


# When it is written

STREAM = """
import json, time
from pathlib import Path

def m():
    "Yield for 2.5 seconds; each time look at the file as another program might."
    path, states, end, number = Path("kfp/metrics.json"), set(), time.monotonic() + 2.5, 0
    while time.monotonic() < end:
        yield {"a": number}
        state = path.stat()
        (metric,) = json.loads(path.read_bytes())["metrics"]
        assert metric["numberValue"] <= number
        states.add((state.st_ino, state.st_mtime_ns))
        number += 1
        time.sleep(0.001)
    Path("seen.json").write_text(json.dumps([number, len(states), len({inode for inode, _ in states})]))
"""


@pytest.mark.parametrize("form", STREAMS)
def test_a_stream(case, form):
    """It is there from the first yield, follows about once a second, is whole at any time and complete at the end."""
    case.prepare(STREAM, form, m={})
    case.run()
    number, states, files = json.loads((case.root / "seen.json").read_text())
    assert number > 100
    assert 2 <= states <= 5
    assert files > 1  # replaced, never written over
    assert case.values == {"m-a": number - 1} == {"m-a": case.last["m.a"]}


@pytest.mark.parametrize("form", STREAMS)
def test_a_stream_that_raises(case, form):
    """What came before stands in the file, as in MLflow; the node's own error is what the user sees."""
    code = "def m():\n    for i in range(30):\n        yield {'a': i}\n    raise ValueError('as wished')\n"
    case.prepare(code, form, m={})
    out = case.run(code=1)
    assert case.values == {"m-a": 29} == {"m-a": case.last["m.a"]}
    assert "ValueError: as wished" in out


def test_a_killed_stream(case):
    """Kill -9 leaves a whole file; a new run replaces it and all that was left beside it does no harm."""
    endless = "import itertools\ndef m():\n    for i in itertools.count():\n        yield {'a': i}\n"
    case.prepare(endless, m={})
    command = case.kedro.start(case.root, "run")
    until(lambda: case.path.exists() and json.loads(case.path.read_bytes())["metrics"][0]["numberValue"] > 0)
    command.signal(signal.SIGKILL)
    assert command.wait() is None
    content = case.path.read_bytes()
    assert check(content) == []
    (metric,) = json.loads(content)["metrics"]
    assert metric["name"] == "m-a" and metric["numberValue"] > 0
    case.prepare("def m(): return {'b': 1}\n", m={})
    case.run()
    assert json.loads(case.path.read_bytes()) == {"metrics": [{"name": "m-b", "numberValue": 1}]}


# What it may not disturb

DIRECTORY, PARENT = ("kfp/metrics.json", "Is a directory"), ("file/metrics.json", "File exists")


@pytest.fixture(params=[("list", DIRECTORY), ("chunks", PARENT), ("iterator", DIRECTORY)], ids=FORMS)
def blocked(request, case):
    """A case whose file cannot be written, the form of its nodes, the path and the reason."""
    (case.root / "kfp/metrics.json").mkdir(parents=True)
    (case.root / "file").touch()  # where a folder should be made
    form, (path, reason) = request.param
    return case, form, path, reason


def test_a_file_that_cannot_be_written(blocked):
    """It is one warning, however often it was tried; the pipeline goes on, and MLflow has the metrics."""
    case, form, path, reason = blocked
    code = "".join(gives(name, "[{'a': 0}, {'a': 1}]", form) for name in "mn")
    case.prepare(code, form, m={"filepath": path}, n={"filepath": path})
    out = case.run()
    (warning,) = said(out, "WARNING")
    assert f"{case.root / path} for Kubeflow cannot be written: " in warning and reason in warning
    assert {key: len(points) for key, points in case.store.points().items()} == {"m.a": 2, "n.a": 2}
    assert case.store.run["status"] == "FINISHED"


def test_strict(blocked):
    """With ``strict`` it is an error of one line when the metrics are in MLflow; within a stream a warning too.

    There the run does go on for a while.
    """
    case, form, path, reason = blocked
    case.prepare(
        gives("m", "[{'a': 1}]", form), form, m={"filepath": path, "save_args": {"kubeflow": {"strict": True}}}
    )
    out = case.run(code=1)
    *_, line = (line for line in out.splitlines() if "DatasetError" in line)
    assert f"dataset 'm', the metrics file {case.root / path} for Kubeflow cannot be written: " in line
    assert reason in line and line.endswith("MLflow has the metrics")
    assert out.count("the run goes on") == (form != "list")
    assert case.last == {"m.a": 1}
    assert case.store.run["status"] == "FAILED"


@pytest.mark.parametrize("form", FORMS)
def test_no_server(case, form):
    """The file is complete at the end of a run that MLflow knows nothing of yet, from all its entries."""
    case.project.settings(f"tracking_uri: http://127.0.0.1:{free_port()}\ntimeout: 1\n")
    case.prepare("".join(gives(name, "[{'a': [1, 2]}, {'a': 3}]", form) for name in "mn"), form, m={}, n={})
    out = case.run()
    assert " wait in " in said(out, "ERROR")[0]
    assert case.values == {"m-a": 3, "n-a": 3}
    assert case.store.runs == []


def test_no_journal(case):
    """Where the journal's folder takes nothing, the file has the metrics of this process."""
    (case.root / "file").touch()
    case.project.settings("journal: {path: file/journal}\n")
    case.prepare("def a(): return {'x': 1}\ndef b():\n    for i in range(5):\n        yield {'x': i}\n", a={}, b={})
    case.run()
    assert case.values == {"a-x": 1, "b-x": 4}
    assert case.last == {"a.x": 1, "b.x": 4}


def test_switched_off(case):
    """``enabled: false`` writes no file."""
    case.project.settings("enabled: false\n")
    case.prepare(TWO, a={}, b={})
    case.run()
    assert not case.path.parent.exists()
    assert not (case.root / ".kedro_mlflow_metrics").exists()


# What is refused


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"filepath": "s3://bucket/m.json"},
            "'filepath' is 's3://bucket/m.json'; accepted: the path of a file on this machine, or null",
        ),
        ({"filepath": 3}, "'filepath' is 3; accepted: the path of a file on this machine, or null"),
        ({"filepath": ""}, "'filepath' is ''; accepted: the path of a file on this machine, or null"),
        (
            {"filepath": "m.json", "save_args": {"kubeflow": {"percent": "x"}}},
            "save_args: kubeflow: there is no setting 'percent'; did you mean 'percentage'?",
        ),
        (
            {"filepath": "m.json", "save_args": {"kubeflow": {"names": "old"}}},
            "save_args: kubeflow: 'names': Input should be 'modern' or 'legacy'",
        ),
        (
            {"filepath": "m.json", "save_args": {"kubeflow": ["percentage"]}},
            "save_args: kubeflow: got ['percentage']; accepted: a dict with percentage, raw, order, names, strict",
        ),
        (
            {"save_args": {"kubeflow": {"percentage": "x"}}},
            "save_args: kubeflow says how a file is written; name the file with 'filepath'",
        ),
        (
            {"filepath": "m.json", "save_args": {"kubflow": {}}},
            "save_args has no 'kubflow'; accepted: on_invalid, names, kubeflow; did you mean 'kubeflow'?",
        ),
        (
            {"filepath": "m.json", "versioned": True},
            "every MLflow run is a version of its metrics; remove 'versioned' from this entry, and 'filepath' too "
            "unless Kubeflow reads the file",
        ),
        (
            {"filepath": "data/09_tracking/m.json"},
            "'filepath' is 'data/09_tracking/m.json', where tracking.MetricsDataset wrote; remove it from this entry: "
            "metrics go to MLflow, and a file is for Kubeflow alone",
        ),
    ],
)
def test_refused_arguments(entry, message):
    """One clear line each."""
    with pytest.raises(DatasetError) as error:
        AbstractDataset.from_config("m", {"type": TYPE, **entry})
    assert message in [line.removesuffix(".") for line in str(error.value).splitlines()]


def test_where_a_path_starts(case):
    """A relative path starts at the project's root, an absolute one is itself."""
    absolute = case.root.parent / "elsewhere/m.json"
    case.prepare(TWO, a={"filepath": "m.json"}, b={"filepath": str(absolute)})
    case.run()
    assert [json.loads(path.read_bytes())["metrics"][0]["name"] for path in (case.root / "m.json", absolute)] == [
        "a-x",
        "b-x",
    ]
