"""The docs are true: pages lead somewhere, name all that there is, and show what the commands print."""

from __future__ import annotations

import ast
import doctest
import inspect
import os
import re
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner

import kedro_mlflow_metrics.dataset
from kedro_mlflow_metrics import errors
from kedro_mlflow_metrics.cli import COMMANDS, metrics
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.kubeflow.v1 import Options, names_of
from kedro_mlflow_metrics.project.settings import Settings
from kedro_mlflow_metrics.schema import Model

ROOT = Path(__file__).parents[2]
DOCS, PACKAGE = ROOT / "docs", ROOT / "kedro_mlflow_metrics"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def reference(name: str) -> str:
    """Return the text of a page of the reference."""
    return (DOCS / f"reference/{name}.md").read_text()


def rows(page: str) -> dict[str, list[str]]:
    """Return the rows of all tables of a page by what stands between backticks in their first cell."""
    found = [re.split(r"(?<!\\)\|", line)[1:-1] for line in page.splitlines() if line.startswith("| ")]
    return {name: [cell.strip() for cell in cells] for cells in found for name in re.findall(r"`([^`]+)`", cells[0])}


def anchors(page: Path) -> set[str]:
    """Return what may stand after the ``#`` of a link to a page, as GitHub makes it of the headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_the_links(page):
    """Each link of a page leads to a file that is there, and to a heading in it if it names one."""
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", CODE.sub("", page.read_text())):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"
        assert page.parent == ROOT or target.is_relative_to(DOCS), f"{path} is no page of the docs site"


def test_the_navigation():
    """Each page stands in the navigation of the docs site, once; `make docs` refuses one that is not there."""
    listed = re.findall(r"^ +- .*?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES[1:])


def test_the_docstring_of_the_dataset(tmp_path):
    """The Python example prints what it says."""
    try:
        result = doctest.testmod(kedro_mlflow_metrics.dataset, extraglobs={"tmp_path": tmp_path})
    finally:
        mlflow.set_tracking_uri(None)
    assert (result.failed, result.attempted) == (0, 6)


@pytest.mark.newest  # another click says the same in other lines
@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command(name):
    """The page of commands shows the help of each as it is printed; ``HELP=write`` writes it there anew."""
    page = DOCS / "reference/commands.md"
    printed = CliRunner().invoke(metrics, [name, "--help"], prog_name="kedro metrics", terminal_width=100).stdout
    head, block = f"```console\n$ kedro metrics {name} --help\n", f"{printed.rstrip()}\n```\n"
    before, found, rest = page.read_text().partition(head)
    assert found, f"docs/reference/commands.md has no block that begins with '$ kedro metrics {name} --help'"
    shown, end, after = rest.partition("```\n")
    if os.environ.get("HELP") == "write":
        page.write_text(before + head + block + after)
        return
    assert shown + end == block


@pytest.mark.parametrize("command", [metrics.get_command(None, name) for name in COMMANDS], ids=COMMANDS)
def test_every_command_says_what_it_does(command):
    """A command and each of its options has a help, and the command a row in the reference."""
    assert command.help
    assert [option.name for option in command.params if option.param_type_name == "option" and not option.help] == []
    assert [name for name in rows(reference("commands")) if name.split()[:3] == ["kedro", "metrics", command.name]]


def test_every_setting_stands_in_the_reference():
    """So has each key of the settings file a row; there are no others."""

    def keys(model: type[Model], before: str = "") -> set[str]:
        found = set()
        for name in set(model.model_fields) - {"secrets"}:
            inner = model.model_fields[name].annotation
            nested = isinstance(inner, type) and issubclass(inner, Model)
            found |= keys(inner, f"{name}.") if nested else {before + name}
        return found

    assert set(rows(reference("settings"))) == keys(Settings)


def test_every_argument_of_an_entry_stands_in_the_reference():
    """So has each argument of the dataset, but for ``version``, which is refused."""
    arguments = inspect.signature(kedro_mlflow_metrics.dataset.MlflowMetricsDataSet).parameters
    assert set(arguments) - {"version"} <= set(rows(reference("dataset")))


def test_every_option_of_kubeflow_stands_in_the_reference():
    """So has each key of ``save_args: {kubeflow: ...}``."""
    assert set(Options.model_fields) <= set(rows(reference("kubeflow")))


def test_every_environment_variable_stands_in_the_reference():
    """Whatever the code names that looks like a variable of MLflow, Kedro or an orchestrator is on the page."""
    texts = {
        node.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    named = {text for text in texts if re.fullmatch(r"(MLFLOW|KEDRO|KUBEFLOW|AIRFLOW|UVICORN)_[A-Z_]+[A-Z]", text)}
    page = reference("environment")
    assert len(named) > 10
    assert {name for name in named if not re.search(rf"\b{name}\b", page)} == set()
    read = set(rows(page)) - {"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"}  # an object of MLflow's
    assert read <= named


def test_every_kind_of_error_stands_in_the_reference():
    """Each class has a row, and each code with which MLflow is told apart, which says whether it is an outage."""
    page = rows(reference("errors"))
    classes = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
    assert classes <= set(page)
    own = {text for name, text in vars(TrackingError).items() if name.isupper()}
    codes = own | set(errors._REFUSALS)
    assert codes == {name for name in page if name.isupper()}
    for code in codes - {TrackingError.ALREADY_THERE}:
        said = page[code][1] if page[code][1] != "the same" else "a refusal"
        assert said.startswith("an outage" if TrackingError("", code=code).outage else "a refusal"), code


def test_the_tests_that_show_promises():
    """Whatever a promise is shown by is there."""
    page = (DOCS / "explanation/promises.md").read_text()
    shown = re.findall(r"`((?:tests|benchmarks)/[^`]*)`", page)
    assert len(shown) > 10
    assert [path for path in shown if not (ROOT / path).exists()] == []


def test_the_names_in_the_docs():
    """The table of Kubeflow's names says what comes out."""
    rows = re.findall(
        r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \|$", (DOCS / "reference/kubeflow.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 3
    for key, modern, legacy in rows:
        assert names_of({key: "modern"}) == {key: modern}
        assert names_of({key: "legacy"}) == {key: legacy}
    assert names_of({"m.a": "modern", "m-a": "modern"}) == {"m-a": "m-a", "m.a": "m-a-d1e524e2"}
