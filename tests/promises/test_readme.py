"""README is true: its examples are run as they stand there, and its tables say what comes out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
import yaml
from mlflow.store import tracking
from support.project import Store

from kedro_mlflow_metrics import MlflowMetricsDataSet
from kedro_mlflow_metrics.cli import COMMANDS
from kedro_mlflow_metrics.project.settings import FILE, read_settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
REGISTRY = """
from kedro.pipeline import node, pipeline

{code}

def look(metrics):
    print("LOADED", metrics)

def register_pipelines():
    evaluated = node(evaluate, ["params:model", "params:test"], {output!r}, name="evaluate")
    return {{"__default__": pipeline([evaluated]), "later": pipeline([evaluated, node(look, {output!r}, None)])}}
"""


def section(title: str) -> str:
    """Return what stands below a heading; without a title, what stands before the first."""
    parts = re.split(r"^## (.+)\n", README, flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[::2], strict=True))[title]


def block(language: str, text: str) -> str:
    """Return the one example in this language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


def table(text: str) -> list[list[str]]:
    """Return the cells of the one table, without its head."""
    _, _, *rows = (line for line in text.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def codes(text: str) -> list[str]:
    """Return what stands between backticks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


@pytest.fixture
def first(project):
    """A project with the catalog and the node of the first screen, and nothing else."""
    entry = block("yaml", section(""))
    (output,) = yaml.safe_load(entry)
    project.write(re.match("# (.+)", entry)[1], entry)
    project.pipeline(REGISTRY.format(code=block("python", section("")), output=output))
    project.write("conf/base/parameters.yml", "{model: 1, test: 2}")
    if hasattr(tracking, "DEFAULT_TRACKING_URI"):  # before, MLflow's own default was a folder
        (project.root / "conf/base" / FILE).unlink()
    return project


def run(project, *more):
    """Run the command of the first screen."""
    prompt, command, *arguments = block("console", section("")).split()
    assert (prompt, command) == ("$", "kedro")
    return project.kedro(*arguments, *more).stdout


def test_the_first_screen(first):
    """The entry, the node and the command make the table, in a run and an experiment named as it says."""
    run(first)
    found = [
        [f"`{key}`", str(len(points)), *map(str, points[-1])] for key, points in sorted(first.store.points().items())
    ]
    assert found == table(section(""))
    assert first.store.run["name"].startswith("proj 20")
    assert first.store.experiment(first.store.run["run_uuid"]) == "proj"


def test_where_the_metrics_are_without_settings(first):
    """They are where the page says, in the project's root."""
    run(first)
    (file,) = [code for code in codes(section("Install")) if code.endswith(".db")]
    assert Store(first.root / file).run["status"] == "FINISHED"


def test_what_a_later_node_gets(first):
    """It is the dict that the page shows."""
    (line,) = [line for line in run(first, "--pipeline", "later").splitlines() if line.startswith("LOADED ")]
    assert ast.literal_eval(line.removeprefix("LOADED ")) == ast.literal_eval(block("python", section("Load")).strip())


RETURNS = table(section("What a node may return"))


@pytest.mark.parametrize(("data", "gets"), [row for row in RETURNS if row[0].startswith("`")])
def test_a_dict_of_the_table(saved, data, gets):
    """The dict of each row gives as many points, under the name and at the steps that stand beside it."""
    (code,) = codes(data)
    ((key, points),) = saved(ast.literal_eval(code)).items()
    assert [value for _, value in points] == [float(number) for number in re.findall(r"\d\.\d+", code)]
    steps = [step for step, _ in points]
    if gets.startswith("a group"):
        assert [key] == codes(gets)
    elif gets.endswith("at these steps"):
        assert steps == [int(step) for step in re.findall(r"(\d+):", code)]
    else:
        assert gets.startswith("one point" if len(points) == 1 else "a curve")
        assert steps == ([int(step) for step in re.findall(r"\d+", gets)] or [0])


@pytest.mark.parametrize(("data", "gets"), [row for row in RETURNS if not row[0].startswith("`")])
def test_what_else_the_table_has(saved, store, data, gets):
    """A generator's dicts come one by one, a point of each curve for each; the columns of a frame are metrics."""
    if "generator" in data:
        assert gets.startswith("each as it comes")

        def epochs():
            yield {"loss": 0.7, "accuracy": 0.8}
            assert store.points() == {"loss": [(0, 0.7)], "accuracy": [(0, 0.8)]}
            yield {"loss": 0.4, "accuracy": 0.9}

        assert saved(epochs()) == {"loss": [(0, 0.7), (1, 0.4)], "accuracy": [(0, 0.8), (1, 0.9)]}
    else:
        assert gets == "each column a metric"
        libraries = {"pandas": pd, "polars": pl}
        named = [name for name in re.findall(r"\w+", data) if name in libraries]
        assert named
        for name in named:
            points = saved(libraries[name].DataFrame({f"{name} loss": [0.7, 0.4], f"{name} accuracy": [0.8, 0.9]}))
            assert points[f"{name} loss"] == [(0, 0.7), (1, 0.4)]
            assert points[f"{name} accuracy"] == [(0, 0.8), (1, 0.9)]


@pytest.mark.parametrize(("entry", "becomes"), table(section("Prefixes")))
def test_a_prefix_of_the_table(project, entry, becomes):
    """The entry of each row gives the metric the name that stands beside it."""
    (shown, *outputs), (key,) = codes(entry), codes(becomes)
    name = shown if shown.endswith(":") else "my_metrics:"
    option = "" if shown.endswith(":") else shown
    project.catalog(f"{name}\n  type: kedro_mlflow_metrics.MlflowMetricsDataSet\n  {option}\n")
    output = outputs[0] if outputs else name.removesuffix(":")
    project.pipeline(f"""
        from kedro.pipeline import node, pipeline

        def register_pipelines():
            return {{"__default__": pipeline([node(lambda: {{"accuracy": 0.93}}, None, {output!r})])}}
    """)
    project.kedro("run")
    assert project.store.points() == {key: [(0, 0.93)]}


def test_the_other_forms_of_load(saved):
    """Each form that the page names is one, and gives something else than the dict that it shows."""
    (line,) = [line for line in section("Load").splitlines() if line.startswith("`load_args")]
    first, *others = codes(line)
    forms = [yaml.safe_load(first)["load_args"]["as"], *others]
    assert len(forms) == 4
    shown = ast.literal_eval(block("python", section("Load")).strip())
    saved(shown)
    for form in forms:
        loaded = MlflowMetricsDataSet(prefix="", load_args={"as": form}).load()
        assert set(loaded["key"] if form == "frame" else loaded) == set(shown)
        assert repr(loaded) != repr(shown)


def test_the_settings():
    """The settings that it shows are accepted, and the file is called so."""
    text = section("Settings")
    assert f"conf/<env>/{FILE}" in codes(text)
    shown = yaml.safe_load(block("yaml", text))
    settings = read_settings(shown, {})
    assert {name: getattr(settings, name) for name in shown} == shown


def test_the_versions():
    """What it needs is what the package asks for."""
    (line,) = [line for line in section("Install").splitlines() if line.startswith("It needs")]
    bounds = re.findall(r"(\w+) >= ([\d.]*\d)(?: and < (\d+))?", line)
    asked = (ROOT / "pyproject.toml").read_text()
    assert [name for name, *_ in bounds] == ["Python", "Kedro", "MLflow"]
    for name, least, below in bounds:
        wanted = f'requires-python = ">={least}"' if name == "Python" else f'"{name.lower()}>={least},<{below}"'
        assert wanted in asked


def test_the_commands():
    """Each command that it names is there."""
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^\$ make ([\w-]+)", README, re.MULTILINE)
    ours = re.findall(r"kedro metrics (\w+)", README)
    assert targets and ours
    assert [target for target in targets if f"\n{target}:" not in makefile] == []
    assert set(ours) <= set(COMMANDS)
