"""The page on comparing runs: its gates, in CI and inside a pipeline, are run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from support.project import Project

PAGE = (Path(__file__).parents[2] / "docs/how-to/compare.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(?:# (\S+)\n)?(.*?)```", PAGE, re.DOTALL)
FILES = {path: text for _, path, text in BLOCKS if path}
REGISTRY = """
from kedro.pipeline import node, pipeline
from my_project.nodes import publish

def trained(accuracy):
    return pipeline([
        node(lambda: {"accuracy": accuracy}, None, "test_metrics"),
        node(lambda: 1, None, "model"),
        node(publish, ["model", "test_metrics"], None),
    ])

def register_pipelines():
    return {"__default__": trained(0.95), "worse": trained(0.85)}
"""


@pytest.fixture
def page(project: Project) -> Project:
    """A project as the page has it."""
    (project.root / "src/my_project").mkdir()
    for path, text in FILES.items():
        if path == "conf/base/kedro_mlflow_metrics.yml":
            project.settings(text)
        elif path.startswith(("conf", "src")):
            project.write(path, text)
    project.pipeline(REGISTRY)
    return project


@pytest.mark.newest  # Kedro has validators since 1.6
def test_the_gate_inside_a_pipeline(page):
    """It stops before the node that publishes, and the metrics are logged."""
    page.kedro("run")
    out = page.kedro("run", "--pipeline", "worse", fails=True).stdout
    assert "accuracy is 0.85, and must be 0.9 or more" in out
    assert [run["status"] for run in page.store.runs] == ["FINISHED", "FAILED"]
    assert [page.store.points(run["run_uuid"])["test_metrics.accuracy"] for run in page.store.runs] == [
        [(0, 0.95)],
        [(0, 0.85)],
    ]


def test_the_gate_in_ci(page, kedro):
    """The commands of the job pass for a run that is as good, and fail for one that is worse."""
    page.catalog("test: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n")
    page.pipeline("""
        from kedro.pipeline import node, pipeline
        def one(accuracy):
            return pipeline([node(lambda: {"accuracy": accuracy}, None, "test")])
        def register_pipelines():
            return {"good": one(0.95), "worse": one(0.93)}
    """)
    steps = yaml.safe_load(FILES[".github/workflows/train.yml"])["jobs"]["train"]["steps"]
    table, gate = (step["run"] for step in steps[-2:])
    options = re.findall(r'"([^"]+)"', gate)
    for pipeline, code in (("good", 0), ("good", 0), ("worse", 1)):
        page.kedro("run", "--pipeline", pipeline)
        if len(page.store.runs) > 1:
            out, log = kedro.answer(page.root, *table.split(" >>")[0].split()[3:])
            assert out.startswith("| metric |")
            conditions = [argument for text in options for argument in ("--fail-if", text)]
            _, log = kedro.answer(page.root, "compare", *conditions, code=code)
    assert "test.accuracy went from 0.95 to 0.93" in log.splitlines()[-1]


def test_what_is_better(page):
    """The settings of the page are settings."""
    assert "better:" in (page.root / "conf/base/kedro_mlflow_metrics.yml").read_text()
    page.pipeline("def register_pipelines():\n    return {}\n")
    page.kedro("metrics", "runs")
