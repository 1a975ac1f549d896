"""The examples that users copy are run."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import mlflow
import pytest

import kedro_mlflow_metrics.dataset
from kedro_mlflow_metrics.cli import COMMANDS, metrics
from kedro_mlflow_metrics.kubeflow.v1 import Options, names_of

DOCS = Path(__file__).parents[2] / "docs"


def test_the_docstring_of_the_dataset(tmp_path):
    """The Python example prints what it says."""
    try:
        result = doctest.testmod(kedro_mlflow_metrics.dataset, extraglobs={"tmp_path": tmp_path})
    finally:
        mlflow.set_tracking_uri(None)
    assert (result.failed, result.attempted) == (0, 6)


@pytest.mark.parametrize("command", [metrics.get_command(None, name) for name in COMMANDS], ids=COMMANDS)
def test_every_command_stands_in_the_docs(command):
    """A command, and each of its options, has its place, and says in its help what it does."""
    pages = "".join(path.read_text() for path in DOCS.rglob("*.md"))
    assert f"`kedro metrics {command.name}" in pages
    assert command.help
    for option in command.params:
        assert option.param_type_name == "argument" or (option.help and f"`{option.opts[0]}" in pages), option.name


def test_every_option_of_kubeflow_stands_in_the_docs():
    """So has each key of ``save_args: {kubeflow: ...}``."""
    page = (DOCS / "reference/kubeflow.md").read_text()
    assert [name for name in Options.model_fields if f"| `{name}` |" not in page] == []


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
