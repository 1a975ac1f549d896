"""Nothing heavy is loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import kedro_mlflow_metrics

PACKAGE = Path(kedro_mlflow_metrics.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removeprefix("kedro_mlflow_metrics.")
    for path in PACKAGE.rglob("*.py")
    if path.stem != "__init__" and "{{" not in str(path)  # the starter's template
)


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
        "compare",
    }
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        kedro_mlflow_metrics.Nothing  # noqa: B018
