"""Metrics arrive in Kubeflow Pipelines 1: what kfp 1.8 and kedro-kubeflow compile, and what the pods then run.

kfp 1.8 needs pydantic 1, so it lives in an environment of its own, named by ``KFP1``, with kedro-kubeflow and this
package beside it, as in an image. See ``make test-kubeflow``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from support.project import Store

KFP1 = Path(os.environ.get("KFP1", "")).absolute()
EXAMPLES = Path(__file__).parents[2] / "examples/kubeflow"

pytestmark = pytest.mark.skipif("KFP1" not in os.environ, reason="kfp 1.8 is not installed here: make test-kubeflow")

PIPELINE = """
from kedro.pipeline import node, pipeline

def train(epochs):
    return {"loss": [1 / (1 + epoch) for epoch in range(epochs)]}

def evaluate(epochs):
    return {"accuracy": 0.93, "epochs": epochs, "broken": float("nan")}

def register_pipelines():
    return {
        "__default__": pipeline([
            node(train, "params:epochs", "training_metrics", name="train"),
            node(evaluate, "params:epochs", "mlpipeline_metrics", name="evaluate"),
        ])
    }
"""

CATALOG = """
training_metrics:
  type: kedro_mlflow_metrics.MlflowMetricsDataSet
mlpipeline_metrics:
  type: kedro_mlflow_metrics.MlflowMetricsDataSet
  prefix: my_model_metrics
  filepath: mlpipeline-metrics.json
  save_args:
    kubeflow:
      percentage: ["*accuracy*"]
"""

KUBEFLOW = """
host: http://localhost
run_config:
  image: digits
  experiment_name: digits
  run_name: digits
  node_merge_strategy: {strategy}
"""

ARTIFACT = {"name": "mlpipeline-metrics", "path": "/home/kedro/mlpipeline-metrics.json"}


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """A home folder whose kfp settings name a namespace, so that its client asks no server for one."""
    home = tmp_path_factory.mktemp("home")
    (home / ".config/kfp").mkdir(parents=True)
    (home / ".config/kfp/context.json").write_text('{"namespace": "kubeflow"}')
    return {"HOME": str(home)}


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """What kfp 1.8 compiles of the example: each step's template, by name."""
    return compiled(EXAMPLES / "pipeline_v1.py", tmp_path_factory.mktemp("example"))


def compiled(script: Path, folder: Path) -> dict[str, dict]:
    """Let a script compile its pipeline in a folder; return its templates."""
    done = subprocess.run([KFP1 / "python", script], cwd=folder, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return containers(folder / "pipeline_v1.yaml")


def containers(path: Path) -> dict[str, dict]:
    """Return the templates of a compiled pipeline that run a container."""
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {each["name"]: each for each in workflow["spec"]["templates"] if "container" in each}


def run_pod(template: dict, folder: Path, swaps: dict[str, str]) -> None:
    """Run the command of a pod in a folder, with a few words of it swapped, as Argo fills in parameters."""
    command = template["container"]["command"] + template["container"].get("args", [])
    for old, new in swaps.items():
        command = [word.replace(old, new) for word in command]
    assert not any("{{" in word for word in command), command
    environment = {**os.environ, "KUBEFLOW_RUN_ID": "a-run", "PATH": f"{KFP1}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def read(path: Path) -> dict[str, tuple[float, str | None]]:
    """Return value and format by name of a file in which Kubeflow finds no fault."""
    from kedro_mlflow_metrics.kubeflow.rules import check

    data = path.read_bytes()
    assert check(data) == []
    return {each["name"]: (each["numberValue"], each.get("format")) for each in json.loads(data)["metrics"]}


@pytest.mark.parametrize(("strategy", "pod", "pods"), [("none", "evaluate", 2), ("full", "default", 1)])
def test_stock_kedro_kubeflow_picks_the_file_up(project, offline, strategy, pod, pods):
    """The entry ``mlpipeline_metrics`` becomes the artifact that Kubeflow collects, and the pod writes it."""
    project.pipeline(PIPELINE)
    project.catalog(CATALOG)
    project.write("conf/base/parameters.yml", "epochs: 3\n")
    project.write("conf/base/kedro_mlflow_metrics.yml", "tracking_uri: sqlite:///pods.db\n")
    project.write("conf/base/kubeflow.yml", KUBEFLOW.format(strategy=strategy))
    done = subprocess.run(
        [KFP1 / "kedro", "kubeflow", "compile", "--output", "compiled.yaml"],
        cwd=project.root,
        env=project.environment(offline),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    templates = containers(project.root / "compiled.yaml")
    assert len(templates) == pods
    assert {name: each["outputs"]["artifacts"] for name, each in templates.items() if "outputs" in each} == {
        pod: [ARTIFACT]
    }
    line = "- {name: mlpipeline-metrics, path: /home/kedro/mlpipeline-metrics.json}"
    assert [each.strip() for each in (project.root / "compiled.yaml").read_text().splitlines()].count(line) == 1

    run_pod(templates[pod], project.root, {"{{inputs.parameters.epochs}}": "3"})
    written = read(Path(ARTIFACT["path"].replace("/home/kedro", str(project.root))))
    assert written == {
        "my_model_metrics-accuracy": (0.93, "PERCENTAGE"),
        "my_model_metrics-epochs": (3.0, None),
    }
    assert Store(project.root / "pods.db").points()["my_model_metrics.accuracy"] == [(0, 0.93)]


def test_the_component_writes_to_the_path_that_kubeflow_gives(project, example, tmp_path):
    """``component.yaml``, with the catalog entry that its README shows, writes a file without a fault."""
    template = example["run-a-kedro-pipeline"]
    (artifact,) = template["outputs"]["artifacts"]
    assert artifact["name"] == "mlpipeline-metrics"

    (entry,) = re.findall(r"```yaml\n(.*?)```", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    project.catalog(f"{entry}\ntraining_metrics:\n  type: kedro_mlflow_metrics.MlflowMetricsDataSet\n")
    project.pipeline(PIPELINE.replace("mlpipeline_metrics", "my_metrics"))
    project.write("conf/base/parameters.yml", "epochs: 3\n")
    run_pod(template, project.root, {artifact["path"]: f"{tmp_path}/outputs/mlpipeline_metrics/data"})
    assert read(tmp_path / "outputs/mlpipeline_metrics/data") == {
        "my_model_metrics-accuracy": (0.93, "PERCENTAGE"),
        "my_model_metrics-epochs": (3.0, None),
    }


def test_a_function_returns_the_file_as_text(example, tmp_path):
    """The NamedTuple's field ``mlpipeline_metrics`` becomes the artifact, and its text has no fault."""
    template = example["evaluate"]
    (artifact,) = template["outputs"]["artifacts"]
    assert artifact["name"] == "mlpipeline-metrics"

    run_pod(template, tmp_path, {artifact["path"]: f"{tmp_path}/outputs/data"})
    assert read(tmp_path / "outputs/data") == {
        "my_model_metrics-accuracy": (0.75, "PERCENTAGE"),
        "my_model_metrics-mistakes": (1.0, None),
    }


def test_a_function_writes_the_file_to_its_output_path(example, tmp_path):
    """``mlpipeline_metrics_path: OutputPath('Metrics')`` is the output that the origin shows, and has its content."""
    template = example["measure"]
    (artifact,) = template["outputs"]["artifacts"]
    assert artifact == {"name": "mlpipeline-metrics", "path": "/tmp/outputs/mlpipeline_metrics/data"}

    run_pod(template, tmp_path, {artifact["path"]: f"{tmp_path}/outputs/data"})
    assert read(tmp_path / "outputs/data") == {"accuracy-score": (0.9, "PERCENTAGE")}


def test_a_shell_writes_the_file_to_its_output_path(project, example, tmp_path):
    """``{outputPath: MLPipeline Metrics}`` as ``$0``: what the command exports there has no fault."""
    template = example["run-and-export"]
    (artifact,) = template["outputs"]["artifacts"]
    assert artifact["name"] == "mlpipeline-metrics"

    project.catalog(CATALOG)
    project.pipeline(PIPELINE)
    project.write("conf/base/parameters.yml", "epochs: 3\n")
    run_pod(template, project.root, {artifact["path"]: f"{tmp_path}/outputs/data"})
    assert read(tmp_path / "outputs/data") == {
        "my_model_metrics-accuracy": (0.93, "PERCENTAGE"),
        "my_model_metrics-epochs": (3.0, None),
        "training_metrics-loss": (1 / 3, None),
    }


@pytest.mark.parametrize("name", ["MLPipeline Metrics", "MLPipeline_Metrics", "mlpipeline_METRICS"])
def test_the_output_s_name(name, tmp_path):
    """`MLPipeline Metrics` or `MLPipeline_Metrics` in any case: all give the artifact that Kubeflow collects."""
    for file in EXAMPLES.glob("*.*"):
        text = file.read_text(encoding="utf-8")
        (tmp_path / file.name).write_text(text.replace("MLPipeline Metrics", name), encoding="utf-8")
    (artifact,) = compiled(tmp_path / "pipeline_v1.py", tmp_path)["run-and-export"]["outputs"]["artifacts"]
    assert artifact["name"] == "mlpipeline-metrics"
