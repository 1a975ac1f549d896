"""Metrics arrive in Kubeflow Pipelines 2: kfp's own local runner runs the components. See ``make test-kubeflow``."""

import math
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

local = pytest.importorskip("kfp.local", reason="kfp 2 is not installed here: make test-kubeflow")

from google.protobuf import json_format  # noqa: E402
from kfp import dsl  # noqa: E402

BIN = Path(sys.executable).parent
EXAMPLES = Path(__file__).parents[2] / "examples/kubeflow"

PIPELINE = """
import json
from pathlib import Path

from kedro.pipeline import node, pipeline

def evaluate(parameters):
    scores = {"accuracy": 0.93, "loss": [0.7, 0.5], "broken": float("nan")}
    Path("scores.json").write_text(json.dumps(scores))
    return scores

def register_pipelines():
    return {"__default__": pipeline([node(evaluate, "parameters", "my_metrics")])}
"""

CATALOG = """
my_metrics:
  type: kedro_mlflow_metrics.MlflowMetricsDataSet
  prefix: my_model_metrics
"""


@pytest.fixture
def trained(project):
    """A project whose node returns a number, a curve and a NaN."""
    project.pipeline(PIPELINE)
    project.catalog(CATALOG)
    return project


@pytest.fixture
def containers(monkeypatch):
    """Return a function that lets kfp's DockerRunner run a container's command in a folder.

    Only the call to Docker is replaced: kfp fills in the placeholders and reads the outputs.
    """
    from kfp.local import docker_task_handler, status

    def start(folder: Path, root: Path) -> None:
        def run(handler):
            environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
            done = subprocess.run(handler.full_command, cwd=folder, env=environment, check=False)
            return status.Status.FAILURE if done.returncode else status.Status.SUCCESS

        monkeypatch.setattr(docker_task_handler.DockerTaskHandler, "run", run)
        local.init(local.DockerRunner(), pipeline_root=str(root))

    return start


def held(store):
    """Return what MLflow holds: the last finite value by key, and the keys without one."""
    finite = {key: [value for _, value in points if math.isfinite(value)] for key, points in store.points().items()}
    return {key: values[-1] for key, values in finite.items() if values}, {key for key in finite if not finite[key]}


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def run_project(project: str, metrics: dsl.Output[dsl.Metrics]):
    """Run a Kedro project, then hand the dict of its node to Kubeflow."""
    import json
    import pathlib
    import subprocess
    import sys

    from kedro_mlflow_metrics.kubeflow import log_metrics

    subprocess.run([sys.executable, "-m", "kedro", "run"], cwd=project, check=True)
    scores = json.loads(pathlib.Path(project, "scores.json").read_text(encoding="utf-8"))
    log_metrics(scores, metrics, prefix="my_model_metrics")


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def careless(metrics: dsl.Output[dsl.Metrics]):
    """Log a NaN without this package."""
    metrics.log_metric("broken", float("nan"))


@dsl.pipeline
def whole(project: str) -> dsl.Metrics:
    """Return the metrics of its only step."""
    return run_project(project=project).outputs["metrics"]


def test_the_metrics_of_a_kedro_run_come_back_as_metadata(trained, tmp_path, capsys):
    """What a pipeline of Kubeflow holds after a Kedro run is what MLflow holds; a NaN is left out, by name."""
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
    task = whole(project=str(trained.root))
    finite, broken = held(trained.store)
    assert finite == {"my_model_metrics.accuracy": 0.93, "my_model_metrics.loss": 0.5}
    assert broken == {"my_model_metrics.broken"}
    assert task.output.metadata == finite
    told = [line for line in capsys.readouterr().out.splitlines() if "my_model_metrics.broken" in line]
    assert told


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def task(project: str, node: str):
    """Run one node of a Kedro project, as kedro-kubeflow does."""
    import subprocess
    import sys

    subprocess.run([sys.executable, "-m", "kedro", "run", "--nodes", node], cwd=project, check=True)


@dsl.pipeline
def spread(project: str):
    """Run two nodes as tasks."""
    task(project=project, node="first")
    task(project=project, node="second")


def test_the_tasks_of_a_pipeline_are_one_run(project, monkeypatch, tmp_path):
    """By the variable that kedro-kubeflow sets in each of them."""
    project.pipeline("""
        from kedro.pipeline import node, pipeline

        def register_pipelines():
            nodes = [node(lambda: {"a": 1}, None, name, name=name) for name in ("first", "second")]
            return {"__default__": pipeline(nodes)}
        """)
    project.catalog("{first: &entry {type: kedro_mlflow_metrics.MlflowMetricsDataSet}, second: *entry}\n")
    monkeypatch.setenv("KUBEFLOW_RUN_ID", "a run of a pipeline")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
    spread(project=str(project.root))
    assert project.store.run["status"] == "FINISHED"
    assert project.store.points() == {"first.a": [(0, 1.0)], "second.a": [(0, 1.0)]}


def test_kubeflow_itself_fails_for_a_nan(tmp_path):
    """Without this package one NaN costs the task all its metrics: that is why it is left out."""
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
    with pytest.raises(json_format.SerializeToJsonError, match="Fail to serialize NaN"):
        careless()


def test_a_container_hands_its_metrics_over_by_a_command(trained, containers, tmp_path):
    """``kedro run && kedro metrics export`` in the example's container fills its ``Output[Metrics]``."""
    containers(trained.root, tmp_path / "root")
    task = runpy.run_path(str(EXAMPLES / "pipeline_v2.py"))["train"]()
    finite, _ = held(trained.store)
    assert set(finite) == {"my_model_metrics.accuracy", "my_model_metrics.loss"}
    assert task.outputs["metrics"].metadata == finite


FIRST = """
import json, sys
outputs = json.loads(sys.argv[1])["outputs"]
model = outputs["artifacts"]["model"]["artifacts"][0]
model["metadata"] = dict(layers=2)
written = dict(parameterValues=dict(rows=3), artifacts=dict(model=dict(artifacts=[model])))
with open(outputs["outputFile"], "w") as file:
    json.dump(written, file)
"""


@dsl.container_component
def more_outputs(model: dsl.Output[dsl.Model], metrics: dsl.Output[dsl.Metrics], rows: dsl.OutputPath(int)):
    """Write a parameter and a model first, then the metrics."""
    return dsl.ContainerSpec(
        image="digits",
        command=["sh", "-c"],
        args=[
            'mkdir -p "$(dirname "$2")" && python -c "$1" "$0"'
            ' && kedro metrics export latest --format kubeflow-v2 --executor-input "$0" --output-name metrics',
            dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
            FIRST,
            rows,
        ],
    )


def test_what_a_task_wrote_before_stays(trained, containers, tmp_path):
    """The metrics are merged into the task's output file: its parameters and other artifacts are still there."""
    trained.kedro("run")
    containers(trained.root, tmp_path / "root")
    task = more_outputs()
    finite, _ = held(trained.store)
    assert set(finite) == {"my_model_metrics.accuracy", "my_model_metrics.loss"}
    assert task.outputs["metrics"].metadata == finite
    assert task.outputs["model"].metadata == {"layers": 2}
    assert task.outputs["rows"] == 3


def test_the_example_runs_without_a_cluster(tmp_path):
    """``python pipeline_v2.py`` prints what its README shows, and compiles both components."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / "pipeline_v2.py"], cwd=tmp_path, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout.strip().splitlines()[-2:]
    assert shown == ["my_model_metrics.accuracy 0.75", "my_model_metrics.mistakes 1.0"]
    assert "\n".join(shown) in (EXAMPLES / "README.md").read_text(encoding="utf-8")
    compiled = (tmp_path / "pipeline_v2.yaml").read_text(encoding="utf-8")
    assert compiled.count("schemaTitle: system.Metrics") == 2
