"""The group ``kedro metrics``: a file per command."""

from __future__ import annotations

from kedro_mlflow_metrics.cli.sync import commands

__all__ = ["commands"]
