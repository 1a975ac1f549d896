"""The examples of pages, as a reader would type them: commands in a shell, cells in IPython, files in a project."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from support.pages import BLOCK, PAGES, ROOT, blocks
from support.project import BIN, Project, Store

from kedro_mlflow_metrics.kubeflow.rules import check

ID = "0123456789abcdef0123456789abcdef"
pytestmark = [pytest.mark.minutes, pytest.mark.newest]
TASKS = """
from kedro.pipeline import node, pipeline

def train():
    return {"accuracy": 0.875}

def evaluate():
    return {"accuracy": 0.5}

def register_pipelines():
    return {"__default__": pipeline([
        node(train, None, "train_metrics", name="train"), node(evaluate, None, "test_metrics", name="evaluate"),
    ])}
"""
LOADS = """
from kedro.pipeline import node, pipeline

def register_pipelines():
    saves = node(lambda: {"accuracy": 0.9}, None, "baseline_metrics")
    loads = node(lambda metrics: print("LOADED", metrics), "baseline_metrics", None)
    return {"__default__": pipeline([saves, loads]), "loads": pipeline([loads])}
"""
LOGS = """
import mlflow
from kedro.pipeline import node, pipeline

def confusion(model, test):
    import matplotlib.figure
    return matplotlib.figure.Figure()

def score(model, test):
    return 0.5

CODE
def register_pipelines():
    return {"__default__": pipeline([node(evaluate, ["params:model", "params:test"], "test_metrics")])}
"""
CURVE = """
from kedro.pipeline import node, pipeline

def train():
    return {"loss": [0.5, 0.25], "accuracy": [0.5, 0.75]}

def register_pipelines():
    return {"__default__": pipeline([node(train, None, "ENTRY")])}
"""


def shell(project: Project, text: str, *arguments: str, **env: str) -> str:
    """Run the commands of an example in a shell, and return what they print."""
    script = re.sub(r"^\$ ", "", text, flags=re.MULTILINE)
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script, *arguments],
        cwd=project.root,
        env={**project.environment(env), "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def entry(name: str) -> str:
    return f"{name}: {{type: kedro_mlflow_metrics.MlflowMetricsDataSet}}\n"


@pytest.fixture
def tasks(project: Project) -> Project:
    """A project with the nodes ``train`` and ``evaluate``."""
    project.catalog(entry("train_metrics") + entry("test_metrics"))
    project.pipeline(TASKS)
    return project


def test_each_file_has_its_name():
    """So that it is clear where it belongs, and that the tests find it."""
    texts = [text for page in PAGES for kind, text in BLOCK.findall(page.read_text()) if kind == "yaml"]
    assert len(texts) > 20
    assert [text for text in texts if not re.match(r"# \S+\.yml\n", text)] == []


# How to choose the run


def test_a_run_that_exists(tasks):
    """The command logs to it; it keeps its name, its status and its end."""
    shell(tasks, "kedro run --nodes=train")
    before = tasks.store.run
    example, _ = blocks("docs/how-to/runs.md", "console")
    shell(tasks, example.replace(ID, str(before["run_uuid"])))
    assert tasks.store.run == before
    assert tasks.store.points()["test_metrics.accuracy"] == [(0, 0.5)]


def test_a_key(tasks):
    """Each session that has it logs to one run."""
    _, example = blocks("docs/how-to/runs.md", "console")
    shell(tasks, example + example.replace("--nodes=evaluate", "--nodes=train"))
    assert set(tasks.store.points(tasks.store.run["run_uuid"])) == {"train_metrics.accuracy", "test_metrics.accuracy"}


def test_a_curve_that_goes_on(saved):
    """With its steps given, a node that runs again lengthens it."""
    example, _ = blocks("docs/how-to/runs.md", "python")
    names: dict[str, object] = {}
    exec(f"def train(epoch, loss):\n{textwrap.indent(example, '    ')}", names)
    saved(names["train"](0, 0.5))
    assert saved(names["train"](1, 0.25)) == {"loss": [(0, 0.5), (1, 0.25)]}


def test_an_entry_with_a_run(tasks):
    """It saves to that run and loads from it."""
    shell(tasks, "kedro run --nodes=train")
    run = str(tasks.store.run["run_uuid"])
    catalog, _, _ = blocks("docs/how-to/runs.md", "yaml")
    tasks.catalog(catalog.replace(ID, run))
    tasks.pipeline(LOADS)
    assert "LOADED {'accuracy': 0.9}" in shell(tasks, "kedro run")
    assert "LOADED {'accuracy': 0.9}" in shell(tasks, "kedro run --pipeline loads")
    assert tasks.store.points(run)["baseline_metrics.accuracy"] == [(0, 0.9)]


def test_a_name_and_a_tag(tasks):
    """The run has them."""
    _, settings, _ = blocks("docs/how-to/runs.md", "yaml")
    tasks.settings(settings)
    shell(tasks, "kedro run --nodes=train")
    run = tasks.store.run
    assert re.fullmatch(r"nightly proj \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", run["name"])
    assert tasks.store.tags(run["run_uuid"])["team"] == "churn"


def test_a_figure(tasks):
    """It is in the run that has the metrics."""
    _, example = blocks("docs/how-to/runs.md", "python")
    tasks.pipeline(LOGS.replace("CODE", example))
    tasks.write("conf/base/parameters.yml", "{model: 1, test: 2}")
    shell(tasks, "kedro run")
    assert tasks.store.points() == {"test_metrics.accuracy": [(0, 0.5)]}
    (picture,) = tasks.root.rglob("confusion.png")
    assert picture.parent.parent.name == tasks.store.run["run_uuid"]


def test_switched_off(tasks):
    """No run is made, and who loads an entry gets what was saved."""
    *_, settings = blocks("docs/how-to/runs.md", "yaml")
    tasks.write(re.match(r"# (\S+)", settings)[1], settings)
    tasks.catalog(entry("baseline_metrics"))
    tasks.pipeline(LOADS)
    assert "LOADED {'accuracy': 0.9}" in shell(tasks, "kedro run")
    assert tasks.store.runs == []


# How to run on many machines


def test_tasks_of_airflow(tasks):
    """Both log to one run, and say what the page shows."""
    console, *_ = blocks("docs/how-to/engines.md", "console")
    (said,) = blocks("docs/how-to/engines.md", "text")
    out = shell(tasks, console)
    key, _, _ = said.partition(": run '")
    assert out.count(key) == 2
    ((run, status),) = tasks.store.rows("SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'")
    assert set(tasks.store.points(run)) == {"train_metrics.accuracy", "test_metrics.accuracy"}
    assert status == "FINISHED"


def test_a_run_that_is_opened_first(tasks):
    """All is in it, and the last command ends it."""
    _, console, *_ = blocks("docs/how-to/engines.md", "console")
    shell(tasks, console)
    run = tasks.store.run
    assert (run["name"], run["status"]) == ("nightly", "FINISHED")
    assert set(tasks.store.points(run["run_uuid"])) == {"train_metrics.accuracy", "test_metrics.accuracy"}


# How to look at runs


@pytest.fixture
def twice(project: Project) -> Project:
    """A project whose pipeline, with a curve, has run twice."""
    project.catalog(entry("my_metrics"))
    project.pipeline(CURVE.replace("ENTRY", "my_metrics"))
    project.kedro("run")
    project.kedro("run")
    return project


def test_looking(twice, tmp_path):
    """Each command of the how-to and of README answers; the pages and pictures are written."""
    terminal, files, piped, *_ = blocks("docs/how-to/compare.md", "console")
    out = shell(twice, terminal)
    assert out.count("my_metrics.loss") >= 3
    written = re.findall(r"-o (\S+)", files)
    shell(twice, re.sub(r"^\$ pip .*\n", "", files))
    assert all((twice.root / name).stat().st_size > 10_000 for name in written)
    assert {Path(name).suffix for name in written} == {".html", ".png"}
    first, _ = piped.splitlines(keepends=True)
    shell(twice, piped.replace(first, ""), GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))
    assert (tmp_path / "summary.md").read_text().startswith("| metric |")
    (shown,) = [text for text in blocks("README.md", "console") if "metrics runs" in text]
    (twice.root / "curves.html").unlink()
    shell(twice, shown)
    assert (twice.root / "curves.html").exists()


@pytest.mark.parametrize("page", ["docs/how-to/compare.md", "docs/reference/commands.md"])
def test_an_answer_for_jq(twice, page):
    """Nothing but JSON goes into the pipe, and it has what the filter asks for."""
    lines = [line for text in blocks(page, "console") for line in text.splitlines() if line.startswith("$ ")]
    (line,) = [line for line in lines if "| jq " in line]
    command, _, query = line[2:].partition(" | jq ")
    answer = json.loads(shell(twice, f"{command} 2>log.txt"))
    for step in re.findall(r"\d+|\w+", shlex.split(query)[0]):
        answer = answer[int(step) if step.isdigit() else step]
    assert set(answer) == {"my_metrics.loss", "my_metrics.accuracy"}


def test_an_archive_of_a_run(twice, tmp_path):
    """It is written, is not made a second time where it is known, and is made on another server."""
    (text,) = [text for text in blocks("docs/reference/commands.md", "console") if "-o archive" in text]
    tracked = "09_tracking/metrics.json"
    shutil.copytree(ROOT / "tests/cli/tracking" / tracked, twice.root / "data" / tracked)
    out = shell(twice, text)
    assert "it is there already" in out
    assert len(twice.store.runs) == 2
    _, again, _ = text.splitlines()
    shell(twice, again, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/other.db")
    other = Store(tmp_path / "other.db")
    assert other.points() == twice.store.points(str(twice.store.runs[-1]["run_uuid"]))


# How to see the metrics in Kubeflow Pipelines


def test_the_commands_of_a_container(twice):
    """Both forms of the last values are written where Kubeflow looks for them."""
    first, second, validate = blocks("docs/how-to/kubeflow.md", "console")
    shell(twice, first, "made/mlpipeline-metrics.json")
    text = (twice.root / "made/mlpipeline-metrics.json").read_text()
    assert check(text.encode()) == []
    assert {each["name"]: each["numberValue"] for each in json.loads(text)["metrics"]} == {
        "my_metrics-loss": 0.25,
        "my_metrics-accuracy": 0.75,
    }
    (twice.root / "mlpipeline-metrics.json").write_text(text)
    shell(twice, validate)
    artifact = {"name": "metrics", "type": {"schemaTitle": "system.Metrics"}, "uri": "gs://a/metrics"}
    outputs = {"outputFile": str(twice.root / "out.json"), "artifacts": {"metrics": {"artifacts": [artifact]}}}
    shell(twice, second.replace("{{$}}", json.dumps({"inputs": {}, "outputs": outputs})))
    (made,) = json.loads((twice.root / "out.json").read_text())["artifacts"]["metrics"]["artifacts"]
    assert made["metadata"] == {"my_metrics.loss": 0.25, "my_metrics.accuracy": 0.75}


def test_components_of_kubeflow():
    """The text and the artifact hold the last values."""
    version_1, version_2 = blocks("docs/how-to/kubeflow.md", "python")
    names: dict[str, object] = {"Output": list, "Metrics": float}  # stand-ins for an annotation
    exec(version_1, names)
    assert json.loads(names["text"])["metrics"] == [
        {"name": "my_model_metrics-accuracy", "numberValue": 0.93, "format": "PERCENTAGE"},
        {"name": "my_model_metrics-loss", "numberValue": 0.4},
    ]
    exec(version_2, names)
    artifact = SimpleNamespace(metadata={})
    names["evaluate"](artifact)
    assert artifact.metadata == {"my_model_metrics.accuracy": 0.93, "my_model_metrics.loss": 0.4}


# How to work in a notebook


def test_a_notebook(project):
    """Its cells, one after the other, each with a session of its own for a run."""
    project.catalog(entry("training_metrics"))
    project.pipeline(CURVE.replace("ENTRY", "training_metrics"))
    *cells, _script = blocks("docs/how-to/notebook.md", "python")
    begins, inside, *looks = cells
    again = "%reload_kedro"
    out = project.python(
        f"""
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        for cell in {[begins, again, "session.run()", again, inside, again]!r}:
            shell.run_cell(cell).raise_error()
        for cell in {looks!r}:
            done = shell.run_cell(cell)
            done.raise_error()
            print("SHOWN", getattr(done.result, "_repr_html_", lambda: done.result)().__repr__())
        """,
        env={"IPYTHONDIR": str(project.root / "ipython")},
    )
    assert [run["status"] for run in project.store.runs] == ["FINISHED"] * 3
    assert project.store.runs[-1]["name"] == "trying things"
    entry_shown, compared, history = [line for line in out.splitlines() if line.startswith("SHOWN")]
    assert "<table" in entry_shown and "loss" in entry_shown
    assert compared.count(">proj 20") == 2 and "training_metrics.accuracy" in compared
    assert [point["value"] for point in yaml.safe_load(history.removeprefix("SHOWN "))] == [0.5, 0.25]
