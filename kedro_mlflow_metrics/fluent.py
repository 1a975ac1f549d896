"""MLflow's own rule for who has no pipeline: the active run, or a new one that becomes active."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_mlflow_metrics.runs import Target, experiment_id
from kedro_mlflow_metrics.tracking import RunInfo, Server

if TYPE_CHECKING:
    from kedro_mlflow_metrics.project import Project

__all__ = ["target"]


def target(server: Server | None, project: Project | None, *, create: bool) -> Target | None:
    """Return MLflow's active run, or start one.

    Args:
        server: The project's MLflow, None for MLflow's own address.
        project: Names the experiment of a new run, None for MLflow's own.
        create: Whether to start a run where none is active. It stays active, as MLflow's runs do, and MLflow
            ends it with the process; MLflow's address is then the project's, so that it can.
    """
    import mlflow

    run = mlflow.active_run()
    if run is None:
        if not create:
            return None
        if server is not None and project is not None:
            from kedro_mlflow_metrics.environment import lend

            if mlflow.get_tracking_uri() != server.uri:
                mlflow.set_tracking_uri(server.uri)
            lend(server.variables)
            name = project.settings().experiment or project.package
            run = mlflow.start_run(experiment_id=experiment_id(server, name))
        else:
            run = mlflow.start_run()
    here = Server(mlflow.get_tracking_uri(), *((server.timeout, server.variables) if server else ()))
    info = run.info
    return Target(
        here,
        RunInfo(
            info.run_id,
            str(info.experiment_id),
            info.run_name or "",
            info.status,
            info.start_time,
            info.artifact_uri or "",
            info.user_id or "",
            info.lifecycle_stage,
        ),
        active=False,
    )
