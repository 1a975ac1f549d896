"""What README says of other packages, tried with them."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path

import mlflow
import pytest
from kedro.io import DatasetError

from kedro_mlflow_metrics import MlflowMetricsDataSet

pytestmark = pytest.mark.newest
PEER = Path(__file__).parents[2] / ".peer"
CURVE = [{"value": 1 / step, "step": step} for step in range(1, 6)]
FACTORY = """
"{name}_ours": {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
"{name}_theirs": {type: kedro_mlflow.io.metrics.MlflowMetricsHistoryDataset}
"""
PIPELINE = """
from kedro.pipeline import node, pipeline

def metrics():
    return {"a": {"value": 1, "step": 0}}

def register_pipelines():
    return {"__default__": pipeline([node(metrics, None, "test_ours"), node(metrics, None, "test_theirs")])}
"""


@pytest.fixture
def theirs(monkeypatch, saved):
    """The class of kedro-mlflow, saving into the active run."""
    assert PEER.exists(), "make test installs kedro-mlflow there"
    monkeypatch.syspath_prepend(PEER)
    yield importlib.import_module("kedro_mlflow.io.metrics").MlflowMetricsHistoryDataset(prefix="m")
    for name in [name for name in sys.modules if name.partition(".")[0] == "kedro_mlflow"]:
        del sys.modules[name]


@pytest.fixture
def requests(monkeypatch):
    """How often MLflow's client was asked to log."""
    calls = []
    for name in ("log_metric", "log_batch"):
        method = getattr(mlflow.MlflowClient, name)

        def counted(*arguments, method=method, **more):
            calls.append(method.__name__)
            return method(*arguments, **more)

        monkeypatch.setattr(mlflow.MlflowClient, name, counted)
    return calls


def test_a_plain_number(theirs, store):
    """kedro-mlflow refuses one."""
    with pytest.raises(DatasetError, match="Unexpected metric value"):
        theirs.save({"accuracy": 0.93})
    assert store.points() == {}


def test_a_bad_value(theirs, store, saved):
    """kedro-mlflow has logged what stands before it, MLflow nothing of the dict, and neither have we."""
    with pytest.raises(DatasetError):
        theirs.save({"good": {"value": 1, "step": 0}, "bad": {"value": "x", "step": 0}})
    assert store.points() == {"m.good": [(0, 1.0)]}
    with pytest.raises(mlflow.MlflowException):
        mlflow.log_metrics({"good": 1.0, "bad": "x"})
    with pytest.raises(DatasetError):
        saved({"good": 1.0, "bad": "x"})
    assert store.points() == {"m.good": [(0, 1.0)]}


def test_a_curve(theirs, requests, store):
    """kedro-mlflow makes a request for each point."""
    theirs.save({"loss": CURVE})
    assert requests == ["log_metric"] * len(CURVE)
    assert [value for _, value in store.points()["m.loss"]] == [point["value"] for point in CURVE]


def test_what_is_loaded(theirs):
    """kedro-mlflow's keys keep the prefix, and ours do not."""
    theirs.save({"loss": CURVE})
    assert set(theirs.load()) == {"m.loss"}
    loaded = MlflowMetricsDataSet(prefix="m").load()
    assert set(loaded) == {"loss"}
    assert all(math.isclose(one["value"], other["value"]) for one, other in zip(loaded["loss"], CURVE, strict=True))


def test_names_in_a_factory(project):
    """kedro-mlflow logs the metrics of an entry from a factory without its name."""
    project.catalog(FACTORY)
    project.pipeline(PIPELINE)
    project.write("conf/local/mlflow.yml", f"server: {{mlflow_tracking_uri: '{project.store.uri}'}}\n")
    project.kedro("run", env={"PYTHONPATH": str(PEER)}, cold=True)
    assert set(project.store.points()) == {"test_ours.a", "a"}
