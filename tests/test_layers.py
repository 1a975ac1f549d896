"""The shape of the package: imports go down only, and nothing heavy is loaded before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kedro_mlflow_metrics

PACKAGE = Path(kedro_mlflow_metrics.__file__).parent
LAYERS = [
    {"errors"},
    {"names", "environment", "locks", "progress", "kubeflow_rules", "models"},
    {"parsing"},
    {"points"},
    {"results", "server", "settings", "batching", "memory"},
    {"rest", "client", "records", "kubeflow"},
    {"tracking", "journal"},
    {"sender"},
    {"outbox"},
    {"project", "logger", "runs"},
    {"catalog", "leftovers", "reading", "metrics_file"},
    {"session", "fluent"},
    {"opening", "export", "arguments"},
    {"dataset", "hook", "cli"},
]
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def imported(module):
    """Yield the modules of this package that a module imports, annotations aside."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    hidden = [
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in hidden and node.module:
            if node.module == "kedro_mlflow_metrics":
                yield from (alias.name for alias in node.names if alias.name in MODULES)
            elif node.module.startswith("kedro_mlflow_metrics."):
                yield node.module.partition(".")[2]


def test_every_module_has_its_layer():
    """A new module is put somewhere."""
    assert sorted(module for layer in LAYERS for module in layer) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module):
    """A module imports from layers below its own; the two of the top layer may know each other."""
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    top = len(LAYERS) - 1
    for other in imported(module):
        assert level[other] < level[module] or level[module] == top, f"{module} imports {other}"


@pytest.mark.parametrize("module", ["", *(f".{module}" for module in MODULES)])
def test_no_module_loads_mlflow(module):
    """Importing any module loads no mlflow; the package alone no Kedro either."""
    heavy = ("mlflow", "pandas", "numpy") + (("kedro", "pydantic") if not module else ())
    code = f"import sys, kedro_mlflow_metrics{module}; print(*[m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_public_names():
    """The public names are there, and a wrong one is refused."""
    assert {name for name in kedro_mlflow_metrics.__all__ if getattr(kedro_mlflow_metrics, name)} == {
        "MlflowMetricsDataSet",
        "MlflowMetricsDataset",
        "MlflowPipelineHook",
        "__version__",
    }
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        kedro_mlflow_metrics.Nothing  # noqa: B018
