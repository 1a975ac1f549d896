"""The starter: ``kedro new`` makes a project that runs as it is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.project import Store

import kedro_mlflow_metrics.starter

TEMPLATE = Path(kedro_mlflow_metrics.starter.__file__).parent / "{{ cookiecutter.repo_name }}"
NO_NETWORK = {"HTTPS_PROXY": "http://127.0.0.1:9"}
NEW = ("new", "--starter=mlflow-metrics-demo", "--checkout=main")  # without it Kedro before 1.0 asks GitHub


@pytest.fixture
def made(tmp_path, kedro):
    """Return a function that makes a project."""

    def make(*options):
        before = {*tmp_path.iterdir()}
        logging = {"KEDRO_LOGGING_CONFIG": str(TEMPLATE / "conf/logging.yml")}
        kedro.run(tmp_path, *NEW, *options, env={**NO_NETWORK, **logging})
        (root,) = (path for path in {*tmp_path.iterdir()} - before if path.is_dir())
        return root

    return make


def test_it_runs(made, kedro, empty_store):
    """It asks nothing, needs no network, and shows a curve, two namespaces and what one has over the other."""
    root = made()
    assert root.name == "mlflow-metrics-demo"
    shutil.copy(empty_store, root / "mlflow.db")
    store = Store(root / "mlflow.db")
    output = kedro.run(root, "run", env={"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"})  # MLflow's default since 3.7
    points = store.points()
    assert store.run["status"] == "FINISHED"
    assert store.run["name"].startswith("mlflow_metrics_demo 20")
    assert {key for key in points if key.endswith("accuracy")} == {
        "training_metrics.accuracy",
        "test.accuracy",
        "small_forest.metrics.accuracy",
        "large_forest.metrics.accuracy",
        "margin.accuracy",
    }
    losses = [loss for _, loss in points["training_metrics.loss"]]
    assert len(losses) == 20
    assert losses[-1] < losses[0]
    ((_, small), (_, large)) = (points[f"{size}_forest.metrics.accuracy"][0] for size in ("small", "large"))
    assert points["margin.accuracy"] == [(0, large - small)]
    assert "See the charts: kedro metrics ui" in output
    assert "mlflow.db" not in in_git(root)


def test_a_name_of_its_own(made):
    """A name makes the folder and the package; Git takes in what the template holds, filled in."""
    root = made("--name=My Demo")
    files = in_git(root)
    names = {"{{ cookiecutter.python_package }}": "my_demo"}
    template = {path.relative_to(TEMPLATE) for path in TEMPLATE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert root.name == "my-demo"
    assert files == {"/".join(names.get(part, part) for part in path.parts) for path in template}
    assert [file for file in files if "cookiecutter" in (root / file).read_text()] == []


def in_git(root):
    """Return the files that Git would take in."""
    subprocess.run(["git", "init", "-q", root], check=True)
    command = ["git", "-C", root, "ls-files", "--others", "--exclude-standard"]
    return {*subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()}
