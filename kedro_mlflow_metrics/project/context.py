"""A Kedro project as this package needs it: where it stands, its settings, the address of its MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kedro_mlflow_metrics.tracking.environment import own

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kedro_mlflow_metrics.project.settings import Settings
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = ["CONFIG_KEY", "Project"]

CONFIG_KEY = "kedro_mlflow_metrics"


@dataclass(frozen=True)
class Project:
    """What a Kedro context says of its project."""

    root: Path
    package: str
    env: str
    config_loader: Any

    def settings(self) -> Settings:
        """Read the settings file; no file means all defaults.

        Raises:
            SettingsError: The file says something that is not accepted.
        """
        from kedro_mlflow_metrics.project.settings import read_settings

        return read_settings(self._config(CONFIG_KEY), self._config("credentials"))

    def server(self, settings: Settings) -> Server:
        """Return the address: MLflow's environment variable, the settings, or MLflow's default in the root."""
        from kedro_mlflow_metrics.project.settings import local_uri
        from kedro_mlflow_metrics.tracking.address import Delivery, Server

        uri = own("MLFLOW_TRACKING_URI") or local_uri(settings.tracking_uri or self._default_uri(), self.root)
        timeout = own("MLFLOW_HTTP_REQUEST_TIMEOUT") or settings.timeout
        delivery = Delivery(
            str(self.root), settings.journal.path, settings.journal.max_bytes, settings.on_failure == "fail", self.env
        )
        return Server(uri, float(timeout), settings.variables(), delivery)

    def _default_uri(self) -> str:
        """Return MLflow's own default, a folder that already holds experiments first, as MLflow does."""
        from mlflow.store import tracking

        if any(self.root.glob("mlruns/[0-9]*/meta.yaml")):
            return "mlruns"
        return str(getattr(tracking, "DEFAULT_TRACKING_URI", "mlruns"))

    def _config(self, key: str) -> Mapping[str, Any]:
        from kedro.config import MissingConfigException

        try:
            return self.config_loader[key] or {}
        except (KeyError, MissingConfigException):
            return {}
