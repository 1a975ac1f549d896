"""The project that ``kedro new --starter=mlflow-metrics-demo`` makes: in this folder stands its template."""

from __future__ import annotations

from pathlib import Path

from kedro.framework.cli.starters import KedroStarterSpec

__all__ = ["STARTERS"]

STARTERS = [KedroStarterSpec(alias="mlflow-metrics-demo", template_path=str(Path(__file__).parent))]
