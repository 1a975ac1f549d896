"""Other packages beside ours: kedro-mlflow, Kedro's validators."""

from __future__ import annotations

from pathlib import Path

import pytest

PEER = Path(__file__).parents[2] / ".peer"
CATALOG = "m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n"
PIPELINE = """
from kedro.pipeline import node, pipeline

def metrics():
    import mlflow
    mlflow.log_metric("inside", 1)
    return {"a": 1}

def register_pipelines():
    return {"__default__": pipeline([node(metrics, None, "m")])}
"""


@pytest.mark.newest
@pytest.mark.parametrize("runner", ["SequentialRunner", "ThreadRunner"])
def test_kedro_mlflow(project, runner):
    """With kedro-mlflow 2.0.3 installed there is one run, with the metrics once."""
    assert PEER.exists(), "make test installs kedro-mlflow there"
    project.catalog(CATALOG)
    project.pipeline(PIPELINE)
    project.write("conf/local/mlflow.yml", f"server: {{mlflow_tracking_uri: '{project.store.uri}'}}\n")
    out = project.kedro("run", "--runner", runner, env={"PYTHONPATH": str(PEER)}, cold=True).stdout
    assert "kedro_mlflow.framework.hooks" in out
    assert project.store.points() == {"m.a": [(0, 1.0)], "inside": [(0, 1.0)]}
    assert project.store.run["status"] == "FINISHED"


@pytest.mark.newest
def test_validator(project):
    """Kedro's `validator:` sees what the node returned; what it refuses is not logged."""
    project.catalog("m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet, validator: proj.check.Check}\n")
    project.pipeline(PIPELINE)
    project.write(
        "src/proj/check.py",
        """
        class Check:
            def validate(self, data):
                print("VALIDATED", data)
                if data["a"] > 0:
                    raise ValueError("too good")
                return data
        """,
    )
    out = project.kedro("run", fails=True).stdout
    assert "too good" in out
    assert project.store.points() == {"inside": [(0, 1.0)]}
    assert project.store.run["status"] == "FAILED"


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_load_in_a_worker(project, context):
    """A node in a worker process loads what another one saved; steps and prefix survive the way."""
    project.catalog(CATALOG)
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def metrics():
            return {"a": [1, 2]}
        def use(m):
            assert m == {"a": [{"value": 1.0, "step": 0}, {"value": 2.0, "step": 1}]}, m
        def register_pipelines():
            return {"__default__": pipeline([node(metrics, None, "m"), node(use, "m", None)])}
    """)
    project.kedro("run", "--runner", "ParallelRunner", env={"KEDRO_MP_CONTEXT": context})
    assert project.store.points() == {"m.a": [(0, 1.0), (1, 2.0)]}


def test_load_in_a_later_process(project):
    """A later session loads by `run_id`, or in a run given by parameter, without opening a run."""
    project.catalog(CATALOG)
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def show(m):
            print("SHOWN", m)
        def register_pipelines():
            return {"__default__": pipeline([node(lambda: {"a": 1}, None, "m")]),
                    "show": pipeline([node(show, "m", None)])}
    """)
    project.kedro("run")
    ident = project.store.run["run_uuid"]
    by_parameter = project.kedro("run", "--pipeline", "show", "--params", f"mlflow_run_id={ident}").stdout
    project.catalog(CATALOG.replace("}", f", run_id: {ident}}}"))
    by_entry = project.kedro("run", "--pipeline", "show").stdout
    assert "SHOWN {'a': 1.0}" in by_parameter
    assert "SHOWN {'a': 1.0}" in by_entry
    assert len(project.store.runs) == 1
    project.catalog(CATALOG)
    out = project.kedro("run", "--pipeline", "show", fails=True).stdout
    assert "dataset 'm', there is no MLflow run to load from; " in out
    assert len(project.store.runs) == 1
