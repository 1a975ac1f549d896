"""What Kedro-Viz and notebooks show of an entry, and runs beside each other in Python."""

from __future__ import annotations

import json
import socket

import pytest
from support.proxy import Proxy
from support.server import free_port

import kedro_mlflow_metrics
from kedro_mlflow_metrics.errors import MetricsError

IN_TIME = 4  # seconds: it waits for little more than one, and a machine that runs other tests adds to that
CATALOG = """
m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet, filepath: kf.json, save_args: {kubeflow: {percentage: acc}}}
m.longer: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
"{name}_scores": {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
cached: {type: CachedDataset, dataset: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}}
"""
PIPELINE = """
from kedro.pipeline import node, pipeline

def one(bias):
    return pipeline([
        node(lambda: {"loss": [3 + bias, 2 + bias], "acc": bias / 8, "n": 1}, None, "m"),
        node(lambda: {"other": 1}, None, "m.longer"),
        node(lambda: {"s": bias}, None, "test_scores"),
    ])

def register_pipelines():
    return {"one": one(1), "two": one(2), "three": one(3)}
"""
LOOK = """
import asyncio, json, os, sys, time
from kedro.framework.hooks.manager import _NullPluginManager
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

bootstrap_project(os.getcwd())
with KedroSession.create() as session:
    session._hook_manager = _NullPluginManager()  # as Kedro-Viz does
    catalog = session.load_context().catalog

def entry(name):
    return catalog[name] if hasattr(catalog, "__getitem__") else catalog._get_dataset(name)

async def preview(name, **options):  # as Kedro-Viz does too
    dataset = entry(name)
    begun = time.monotonic()
    made = dataset.preview(**options)
    return made, time.monotonic() - begun

def look(name, **options):
    slowest = 0
    for _ in range(100):
        made, seconds = asyncio.run(preview(name, **options))
        slowest = max(slowest, seconds)
        if "There is no answer yet" not in json.dumps(made):
            return made, slowest
        time.sleep(0.2)
"""


@pytest.fixture
def viewed(project):
    """A project with three runs."""
    project.catalog(CATALOG)
    project.pipeline(PIPELINE)
    for name in ("one", "two", "three"):
        project.kedro("run", "--pipeline", name)
    return project


def shown(project, code, **env):
    """Look at previews as Kedro-Viz does, without hooks, and return what the code prints as JSON."""
    return json.loads(project.python(LOOK + code, env=env).splitlines()[-1])


def test_the_newest_run(viewed):
    """Its curves and its single values, named without prefix; of this entry alone, and without hooks."""
    made = shown(viewed, "print(json.dumps(look('m')[0]))")
    (curve, table) = made["data"]
    assert (curve["x"], curve["y"]) == ([0, 1], [6, 5])
    assert made["layout"]["annotations"][0]["text"] == "<b>loss</b>"
    assert table["cells"]["values"] == [["acc", "n"], ["37.500%", "1"]]


def test_several_runs(viewed):
    """``preview_args: {runs: 3}`` lays them over each other, the newest last; a factory has its name."""
    code = "print(json.dumps([look(name, runs=3)[0] for name in ('m', 'test_scores')]))"
    curves, scores = shown(viewed, code)
    assert [trace["y"] for trace in curves["data"] if trace["type"] == "scatter"] == [[4, 3], [5, 4], [6, 5]]
    assert [trace["name"].split()[0] for trace in curves["data"][:3]] == ["one", "two", "three"]
    assert scores["data"][0]["cells"]["values"] == [["s"], ["1"], ["2"], ["3"], ["+2"], ["+200.0%"]]


def test_it_answers_in_time(viewed):
    """Less than two seconds in a web server, also the first time, when MLflow is still to be loaded."""
    made, seconds = shown(viewed, "assert 'mlflow' not in sys.modules; print(json.dumps(look('m')))")
    assert seconds < IN_TIME and made["data"]


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
def test_the_server_is_away(viewed, hangs):
    """It says so in the same time, whether nobody listens or nobody answers, and raises nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if hangs else free_port()
        made, seconds = shown(viewed, "print(json.dumps(look('m')))", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    assert seconds < IN_TIME
    assert made["data"] == [] and "cannot be reached" in made["layout"]["annotations"][0]["text"]


def test_nothing_yet(project):
    """It says that no run has metrics of the entry."""
    project.catalog(CATALOG)
    project.pipeline(PIPELINE)
    made, _ = shown(project, "print(json.dumps(look('m')))")
    assert "no run has metrics of this entry yet" in made["layout"]["annotations"][0]["text"]


def test_outside_a_web_server(viewed):
    """As in ``kedro viz build``, it waits for MLflow to be loaded."""
    assert shown(viewed, "print(json.dumps(bool(entry('m').preview()['data'])))")


def test_what_kedro_viz_reads():
    """The kind of a preview is the name of what it is said to return."""
    from inspect import signature

    annotation = signature(kedro_mlflow_metrics.MlflowMetricsDataSet.preview).return_annotation
    assert getattr(annotation, "__name__", str(annotation)) == "PlotlyPreview"


def test_an_entry_in_a_notebook(viewed):
    """A table of its metrics in the newest run, where it stands, and where that is."""
    code = "print(json.dumps(entry('m')._repr_html_()))"
    html = shown(viewed, code)
    assert "three" in html and "<td" in html and ">37.500%<" in html and "m.*" in html
    away = shown(viewed, code, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}")
    assert away.startswith("<p>MLflow at http://127.0.0.1")


def test_compare(viewed, monkeypatch):
    """`compare` is the command's table, in a project and from a script beside it."""
    code = """
from kedro_mlflow_metrics import compare
made = compare(higher=["*acc"])
three = compare("latest~2", "latest~1", "latest")
print(json.dumps([made.metrics["m.acc"], made._repr_html_(), three.metrics["m.acc"]]))
"""
    acc, html, three = shown(viewed, code)
    assert (acc, three) == ([0.25, 0.375], [0.125, 0.25, 0.375])
    assert "<b>37.500%</b>" in html
    script = "import json, sys; sys.path.insert(0, '..')" + code
    env = {"MLFLOW_TRACKING_URI": viewed.store.uri, "MLFLOW_EXPERIMENT_NAME": "proj"}
    assert json.loads(viewed.python(script, env=env, cwd="conf").splitlines()[-1])[0] == [0.25, 0.375]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", viewed.store.uri)
    with pytest.raises(MetricsError, match="has no run 'nothing'"):
        kedro_mlflow_metrics.compare("nothing", experiment="nowhere")


def test_requests(viewed, server):
    """Two, and a look at the run and one at each of its metrics."""
    uri, _ = server
    viewed.kedro("run", "--pipeline", "one", env={"MLFLOW_TRACKING_URI": uri})
    proxy = Proxy(uri)
    code = "print(json.dumps(bool(entry('m').preview()['data'])))"
    assert shown(viewed, code, MLFLOW_TRACKING_URI=proxy.uri)
    proxy.close()
    seen = [path.partition("?")[0].rpartition("/mlflow/")[2] for path, *_ in proxy.seen]
    counts = {name: seen.count(name) for name in set(seen)}
    assert counts == {"experiments/get-by-name": 1, "runs/search": 1, "runs/get": 1, "metrics/get-history": 3}
