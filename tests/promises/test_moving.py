"""The pages for those who come from elsewhere: what they have before, and what they have after, makes the same."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEER = ROOT / ".peer"
REAL = ROOT / "tests/cli/tracking/09_tracking"


def blocks(page):
    """Return path and text of the files on a page."""
    text = (ROOT / f"docs/how-to/move-from-{page}.md").read_text()
    return re.findall(r"^```\w+\n# (\S+/\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def write(project, *files):
    for path, text in files:
        project.write(path, text)


def logged(project):
    """Return the points of the newest run, which is the only one that is not known yet."""
    *_, run = project.store.runs
    return project.store.points(run["run_uuid"])


@pytest.mark.newest
def test_from_kedro_mlflow(project):
    """The three metrics datasets: only YAML changes, and the keys and points are the same."""
    assert PEER.exists(), "make test installs kedro-mlflow there"
    nodes, before, after = blocks("kedro-mlflow")
    project.write("conf/local/mlflow.yml", f"server: {{mlflow_tracking_uri: '{project.store.uri}'}}\n")
    write(project, nodes, before)
    project.kedro("run", env={"PYTHONPATH": str(PEER)}, cold=True)
    theirs = logged(project)
    write(project, after)
    project.kedro("run")
    assert len(project.store.runs) == 2
    assert logged(project) == theirs
    assert theirs == {
        "training.loss": [(0, 0.7), (10, 0.4)],
        "training.seconds": [(0, 12.5)],
        "accuracy": [(0, 0.93)],
        "test.r2": [(0, 0.81)],
        "val_loss": [(0, 0.7), (1, 0.5), (2, 0.4)],
        "learning_rate": [(0, 0.1), (20, 0.01)],
        "test_loss": [(5, 0.6), (9, 0.5)],
    }


def test_from_mlflow(project):
    """What nodes return makes the keys and points that `mlflow.log_metric` made; half-way all is in one run too."""
    before, after, catalog = blocks("mlflow")
    project.catalog("{}")
    write(project, before)
    project.kedro("run", env={"MLFLOW_TRACKING_URI": project.store.uri})
    theirs = logged(project)
    assert theirs["training.loss"] == [(0, 0.5), (1, 0.25), (2, 0.125)]
    write(project, after, catalog)
    project.kedro("run")
    assert logged(project) == theirs
    train, evaluate = (re.search(r"def evaluate.*?\n\n\n", text, re.DOTALL)[0] for _, text in (after, before))
    half_way = after[1].replace(train, evaluate).replace('"model", "test")', '"model", None)')
    project.write(after[0], f"import mlflow\n{half_way}")
    project.kedro("run")
    assert logged(project) == theirs
    assert len(project.store.runs) == 3


NODES = """
from kedro.pipeline import node, pipeline

def metrics():
    numbers = {"r2": 0.7, "mae": 3.25, "n": True}
    return {**numbers, "worst": float("nan"), "best": float("-inf"), "hits@10": 0.5}

def register_pipelines():
    return {"__default__": pipeline([node(metrics, None, "metrics")])}
"""


@pytest.mark.newest  # Kedro 0.19's catalog builds each entry, and kedro-datasets is not here
def test_from_kedro_tracking(project):
    """The entry logs under the keys that its imported versions have, and the commands of the page import them."""
    _, (path, after) = blocks("kedro-tracking")
    page = (ROOT / "docs/how-to/move-from-kedro-tracking.md").read_text()
    shutil.copytree(REAL, project.root / "data/09_tracking")
    project.pipeline(NODES)
    project.write(path, after)
    dry, real, prefixed = (command.split() for command in re.findall(r"^\$ kedro (.+)$", page, re.MULTILINE))
    out = project.kedro(*dry, fails=True).stdout
    assert "report.json: metric 'model': got 'linear' (str)" in out
    assert project.store.runs == []
    project.kedro(*real)
    project.kedro("run")
    assert len(project.store.runs) == 3
    first, *_, new = (project.store.points(run["run_uuid"]) for run in project.store.runs)
    assert {key for key in first if key.startswith("metrics.")} == set(new)
    assert {key for key in first if key not in new} == {"report.max_error", "report.test.rows", "report.loss"}
    project.kedro(*prefixed)
    old, *_ = (project.store.points(run["run_uuid"]) for run in project.store.runs)
    assert old["my_metrics.r2"] == old["metrics.r2"]


@pytest.mark.newest  # Kedro 0.19's catalog fails in words of its own, see test_an_argument_of_an_entry
@pytest.mark.parametrize("versioned", [True, False])
def test_only_the_type_is_changed(project, versioned):
    """Each error names what is to be removed from the entry; whoever does it has metrics."""
    (path, before), _ = blocks("kedro-tracking")
    entry = before.partition("report:")[0].replace(
        "tracking.MetricsDataset", "kedro_mlflow_metrics.MlflowMetricsDataSet"
    )
    entry = entry if versioned else entry.replace("  versioned: true\n", "")
    project.pipeline(NODES)
    project.write(path, entry)
    *_, line = project.kedro("run", fails=True).stdout.splitlines()
    assert "remove" in line
    named = re.findall(r"'(versioned|filepath)'", line)
    assert named == ["versioned", "filepath"] if versioned else ["filepath"]
    project.write(path, re.sub(rf"  ({'|'.join(named)}):.*\n", "", entry))
    project.kedro("run")
    assert project.store.points()["metrics.r2"] == [(0, 0.7)]
