"""What kedro-dagster does in the process of one node, in its order, without Dagster: only its run id is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

PIPELINE = """
from kedro.pipeline import node, pipeline

def good():
    return {"a": 1}

def bad():
    yield {"a": 1}
    raise RuntimeError("on purpose")

def none():
    return None

def stopped():
    raise KeyboardInterrupt

def register_pipelines():
    nodes = [node(each, None, f"{each.__name__}_metrics", name=each.__name__) for each in (good, bad, none, stopped)]
    return {"__default__": pipeline(nodes)}
"""
OP = """
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

sys.modules["dagster"] = ModuleType("dagster")
sys.modules["dagster"].OpExecutionContext = SimpleNamespace(get=lambda: SimpleNamespace(run_id="a run of Dagster's"))

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

bootstrap_project(Path.cwd())
session = KedroSession.create(project_path=Path.cwd())
catalog, hook = session.load_context().catalog, session._hook_manager.hook
(node,) = pipelines["__default__"].only_nodes(sys.argv[1]).nodes
about = {"node": node, "catalog": catalog, "inputs": {}, "is_async": False, "run_id": "1"}
hook.before_node_run(**about)
try:
    outputs = node.run({})
except Exception as exc:
    hook.on_node_error(error=exc, **about)
    raise
hook.after_node_run(outputs=outputs, **about)
for name, data in outputs.items():
    hook.before_dataset_saved(dataset_name=name, data=data, node=node)
    catalog.save(name, data)
    hook.after_dataset_saved(dataset_name=name, data=data, node=node)
"""


@pytest.mark.parametrize(
    ("name", "status"), [("good", "FINISHED"), ("bad", "FAILED"), ("none", "FAILED"), ("stopped", "KILLED")]
)
def test_the_end_of_a_process(project, name, status):
    """Kedro's hooks for errors are called there neither for an output that cannot be saved nor for an interrupt."""
    project.catalog('"{n}_metrics": {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n')
    project.pipeline(PIPELINE)
    command = [sys.executable, "-c", OP, name]
    done = subprocess.run(command, cwd=project.root, env=project.environment({}), check=False, capture_output=True)
    assert (done.returncode == 0) == (name == "good"), done.stderr
    assert project.store.run["status"] == status
