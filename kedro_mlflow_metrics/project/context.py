"""A Kedro project as this package needs it: where it stands, its settings, what Kedro says of a run."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kedro_mlflow_metrics.journal.folder import Journal
    from kedro_mlflow_metrics.project.binding import Binding
    from kedro_mlflow_metrics.project.settings import Settings
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = [
    "CONFIG_KEY",
    "Catalog",
    "Context",
    "MetricsDataset",
    "Node",
    "Pipeline",
    "Project",
    "RunRequest",
    "add_patterns",
    "project_root",
]

CONFIG_KEY = "kedro_mlflow_metrics"

# Kedro's own types differ between its versions and cost time to import; our dataset stands above this wing.
Catalog = Any
Context = Any
MetricsDataset = Any
Node = Any
Pipeline = Any


def add_patterns(config_loader: Any) -> None:  # noqa: ANN401 - the project's own
    """Let a config loader find our settings file, unless the project says itself how."""
    patterns = config_loader.config_patterns
    if CONFIG_KEY not in patterns:
        patterns[CONFIG_KEY] = [f"{CONFIG_KEY}*", f"{CONFIG_KEY}*/**", f"**/{CONFIG_KEY}*"]


def project_root(folder: Path) -> Path | None:
    """Return the root of the Kedro project that a folder belongs to."""
    from kedro_mlflow_metrics.journal.folder import Journal

    return next((above for above in (folder, *folder.parents) if Journal(str(above)).in_project), None)


class Project(NamedTuple):
    """What a Kedro context says of its project."""

    root: Path
    package: str
    env: str
    config_loader: Any

    @classmethod
    def of(cls, context: Context) -> Project:
        """Return the project of a context."""
        from kedro.framework.project import PACKAGE_NAME  # its import configures logging

        root, loader = context.project_path, context.config_loader
        package = getattr(context, "_package_name", None) or PACKAGE_NAME or root.name  # Kedro names it nowhere else
        return cls(root, package, context.env or getattr(loader, "default_run_env", None) or "", loader)

    @classmethod
    def of_folder(cls) -> Project | None:
        """Return the project that Kedro has been told of in this process, without a context: no hook is called."""
        from kedro.framework import project

        root = project_root(Path.cwd())
        if root is None or project.PACKAGE_NAME is None:
            return None
        chosen, env = project.settings, os.environ.get("KEDRO_ENV")
        where = str(root / chosen.CONF_SOURCE)
        loader = chosen.CONFIG_LOADER_CLASS(conf_source=where, env=env, **chosen.CONFIG_LOADER_ARGS)
        add_patterns(loader)
        return cls(root, project.PACKAGE_NAME, env or getattr(loader, "default_run_env", None) or "", loader)

    @property
    def settings_file(self) -> Path | None:
        """Where the settings of all environments stand; None without a Kedro project."""
        if not hasattr(self.config_loader, "conf_source"):
            return None
        base = getattr(self.config_loader, "base_env", None) or "base"
        return Path(self.config_loader.conf_source) / base / f"{CONFIG_KEY}.yml"

    def settings(self) -> Settings:
        """Read the settings file; no file means all defaults."""
        from kedro_mlflow_metrics.project.settings import read_settings

        return read_settings(self.config(CONFIG_KEY), self.config("credentials"))

    def here(self, settings: Settings) -> Binding:
        """Return what has to be known to look at the project's runs."""
        from kedro_mlflow_metrics.project.binding import Binding

        return Binding(
            separator=settings.separator,
            server=self.server(settings),
            journal=self.journal(settings),
            experiment=settings.experiment or self.package,
        )

    def bind(self, found: Binding, settings: Settings, *, pipelines: Collection[str] = (), run: str = "") -> Binding:
        """Add to what is known of a dataset what the settings say; some pipelines of a run cannot be switched off."""
        found = replace(found, separator=settings.separator, experiment=settings.experiment or self.package)
        off = set(settings.disabled_pipelines) & set(pipelines)
        if settings.enabled and off and (logged := set(pipelines) - off):
            from kedro_mlflow_metrics.errors import SettingsError

            some = f"'disabled_pipelines' has {_names(off)} and not {_names(logged)}, and this run has both"
            raise SettingsError(f"kedro_mlflow_metrics.yml: {some}", "run them apart, or name all of them or none")
        if not settings.enabled or off:
            from kedro_mlflow_metrics.delivery.target import memory_target

            return replace(found, enabled=False, target=memory_target(run))
        return replace(found, server=self.server(settings), journal=self.journal(settings))

    def server(self, settings: Settings) -> Server:
        """Return the address: MLflow's environment variable, the settings, or MLflow's default in the root.

        A relative path starts at the current folder if the variable names it, else at the root.
        """
        from kedro_mlflow_metrics.project.settings import seconds
        from kedro_mlflow_metrics.tracking.address import Server, absolute, default_uri
        from kedro_mlflow_metrics.tracking.environment import own

        given, base = own("MLFLOW_TRACKING_URI"), Path.cwd()
        if not given:
            given, base = settings.tracking_uri or default_uri(self.root), self.root
        timeout = own("MLFLOW_HTTP_REQUEST_TIMEOUT")
        return Server(absolute(given, base), seconds(timeout) if timeout else settings.timeout, settings.variables())

    def journal(self, settings: Settings) -> Journal:
        """Return where points wait."""
        from kedro_mlflow_metrics.journal.folder import Journal

        about = settings.journal
        return Journal(str(self.root), about.path, about.max_bytes, self.env, fail=settings.on_failure == "fail")

    def config(self, key: str) -> Mapping[str, Any]:
        """Return what Kedro's configuration says under a key; nothing if there is none."""
        from kedro.config import MissingConfigException

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Kedro reads its own files too, and warns there
                return self.config_loader[key] or {}
        except (KeyError, MissingConfigException):
            return {}


_CHOICES = ("tags", "node_names", "from_nodes", "to_nodes", "from_inputs", "to_outputs", "namespaces", "namespace")


class RunRequest(NamedTuple):
    """What Kedro was asked to run, whatever its version calls it."""

    pipelines: tuple[str, ...]  # the names of the pipelines
    asked: Mapping[str, str]  # what chose its nodes, under Kedro's own names
    parameters: Mapping[str, Any]  # the runtime parameters
    run_id: str  # Kedro's own id of the run
    version: str  # Kedro's version

    @classmethod
    def of(cls, run_params: Mapping[str, Any]) -> RunRequest:
        """Read what Kedro hands to hooks."""
        names = run_params.get("pipeline_names") or [run_params.get("pipeline_name") or "__default__"]
        return cls(
            pipelines=tuple(sorted(map(str, names))),  # Kedro's command has them in no order
            asked={name: _listed(run_params[name]) for name in _CHOICES if run_params.get(name)},
            parameters=run_params.get("runtime_params") or run_params.get("extra_params") or {},
            run_id=str(run_params.get("run_id") or run_params.get("session_id") or ""),
            version=str(run_params.get("kedro_version") or ""),
        )


def _listed(chosen: str | Collection[object]) -> str:
    return chosen if isinstance(chosen, str) else ", ".join(map(str, chosen))


def _names(pipelines: Collection[str]) -> str:
    return ", ".join(map(repr, sorted(pipelines)))
