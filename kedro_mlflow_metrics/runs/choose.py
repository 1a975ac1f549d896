"""Which MLflow run gets a pipeline's points: one that is given, one that is active, or a new one."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from kedro_mlflow_metrics import __version__
from kedro_mlflow_metrics.delivery import clock as logger
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.journal.folder import folder_of
from kedro_mlflow_metrics.runs.lifetime import OpenRun
from kedro_mlflow_metrics.tracking import environment, runs
from kedro_mlflow_metrics.tracking.address import RunInfo
from kedro_mlflow_metrics.tracking.environment import lent, own

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_mlflow_metrics.project.context import Project
    from kedro_mlflow_metrics.project.settings import Settings
    from kedro_mlflow_metrics.tracking.address import Server
    from kedro_mlflow_metrics.tracking.runs import Target

__all__ = ["Opening"]

log = logging.getLogger("kedro.mlflow_metrics")
_RUN_KEYS = ("KEDRO_MLFLOW_RUN_KEY", "KUBEFLOW_RUN_ID", "KEDRO_CONFIG_RUN_ID")


@dataclass(frozen=True)
class Opening:
    """What a pipeline says of the run that it wants.

    Attributes:
        server: The project's MLflow.
        settings: The project's settings.
        project: The project.
        names: The pipelines that run.
        run_params: What Kedro says of the run.
        may_open: Whether the pipeline saves metrics that have no run of their own.
    """

    server: Server
    settings: Settings
    project: Project
    names: list[str]
    run_params: Mapping[str, Any]
    may_open: bool

    def open(self, catalog: Any) -> OpenRun | None:  # noqa: ANN401 - any CatalogProtocol
        """Find the run by the order of precedence, or open a new one if the pipeline saves metrics.

        Raises:
            TrackingError: MLflow refused, or does not answer and ``on_failure`` is ``fail``.
        """
        params = self.run_params.get("runtime_params") or self.run_params.get("extra_params") or {}
        with lent(self.settings.variables()):
            elsewhere = runs.active_elsewhere()
            given = params.get("mlflow_run_id") or (None if elsewhere else own("MLFLOW_RUN_ID"))
            if given:
                run = self._join(catalog, self.server, str(given))
            elif elsewhere:
                run = self._join(catalog, replace(self.server, uri=elsewhere[0]), elsewhere[1])
            elif self.may_open:
                run = self._new(catalog)
            else:
                return None
        run.loan = self._lend(run.target)
        return run

    def look_at(self, run_id: str, *, needed: bool) -> None:
        """Make sure that a run exists which an entry names itself.

        Args:
            run_id: The run.
            needed: Whether the pipeline loads from it, so that nothing can be done without it.
        """
        try:
            runs.join(self.server, run_id)
        except TrackingError as exc:
            if needed or self._must_raise(exc):
                raise
            self._warn(exc)

    def _must_raise(self, trouble: TrackingError) -> bool:
        return self.server.delivery.fail or not trouble.outage

    def _join(self, catalog: Any, server: Server, run_id: str) -> OpenRun:  # noqa: ANN401 - any CatalogProtocol
        """Join a run; while nobody answers, its points wait under its id."""
        try:
            target = runs.join(server, run_id, active=self.settings.run.active)
        except TrackingError as exc:
            if not self.may_open or self._must_raise(exc):
                raise
            self._warn(exc)
            info = RunInfo(run_id, "", "", "", 0, "", "", "")
            return OpenRun(catalog, runs.Target(server, info, active=False), owner=False, proven=False)
        return OpenRun(catalog, target, owner=False)

    def _new(self, catalog: Any) -> OpenRun:  # noqa: ANN401 - any CatalogProtocol
        """Open a run; while nobody answers, it is kept in the journal."""
        name = self.settings.run.name or "+".join(self.names)
        key = self.settings.run.key or _run_key()
        experiment = self.settings.experiment or self.project.package
        ident, active = uuid4().hex, self.settings.run.active
        tags = {**self._tags(), runs.JOURNAL_TAG: ident}
        try:
            if key:
                target = runs.open_shared_run(self.server, experiment, name, tags, key, active=active)
            else:
                target = runs.open_run(self.server, experiment, name, tags, active=active)
        except TrackingError as exc:
            if self._must_raise(exc):
                raise
            target = runs.open_offline_run(self.server, ident, experiment, name, tags, key)
            logger.hold(self.server, target.record)
            self._warn(exc, target)
        return OpenRun(catalog, target, owner=True, shared=bool(key))

    def _tags(self) -> dict[str, str]:
        own_tags = {
            "kedro.pipeline": "+".join(self.names),
            "kedro.env": self.project.env,
            "kedro.run_id": str(self.run_params.get("run_id") or self.run_params.get("session_id") or ""),
            "kedro.version": str(self.run_params.get("kedro_version") or ""),
            "kedro_mlflow_metrics.version": __version__,
        }
        return {**{tag: text for tag, text in own_tags.items() if text}, **self.settings.run.tags}

    def _lend(self, target: Target) -> Mapping[str, str]:
        """Lend MLflow's fluent functions, in nodes and worker processes, the address and the credentials."""
        variables = dict(self.settings.variables())
        if own("MLFLOW_TRACKING_URI") is None:
            variables["MLFLOW_TRACKING_URI"] = target.server.uri
        ident = target.run.experiment_id
        if ident and own("MLFLOW_EXPERIMENT_ID") is None and own("MLFLOW_EXPERIMENT_NAME") is None:
            variables["MLFLOW_EXPERIMENT_ID"] = ident
        return environment.lend(variables)

    def _warn(self, trouble: TrackingError, target: Target | None = None) -> None:
        folder = folder_of(self.server.delivery, target.record) if target else self.server.delivery.folder
        log.warning(
            "%s. The pipeline goes on; its metrics wait in %s; '%s' sends what is left",
            trouble.reason,
            folder,
            self.server.delivery.sync,
        )


def _run_key() -> str | None:
    """Return what makes several Kedro sessions one run: our own variable, or the orchestrator's id."""
    task = [os.environ.get(name) for name in ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_DAG_RUN_ID")]
    if all(task):
        return "/".join(filter(None, task))
    return next((os.environ[name] for name in _RUN_KEYS if os.environ.get(name)), None)
