"""MLflow's own rule for who has no pipeline: the active run, or a new one that becomes active."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.tracking.address import Server, to_run_info
from kedro_mlflow_metrics.tracking.environment import lend
from kedro_mlflow_metrics.tracking.runs import Target, experiment_id

if TYPE_CHECKING:
    from kedro_mlflow_metrics.project.context import Project

__all__ = ["active", "start"]


def active(server: Server | None, last: Target | None = None) -> Target | None:
    """Return the run that is active in this thread, None if there is none.

    Args:
        server: The project's MLflow, for its timeout and credentials; None without a project.
        last: What this returned the last time; it is returned again while it is right.
    """
    import mlflow

    run = mlflow.active_run()
    if run is None:
        return None
    uri = mlflow.get_tracking_uri()
    if last is not None and (last.run.run_id, last.server.uri) == (run.info.run_id, uri):
        return last
    here = Server(uri) if server is None else replace(server, uri=uri)
    return Target(here, to_run_info(dict(run.info)), active=False)


def start(server: Server | None, project: Project | None) -> Target:
    """Start a run that stays active, as MLflow's runs do; MLflow ends it with the process.

    In a project MLflow's address and credentials become the project's and stay so, or it could not.

    Args:
        server: The project's MLflow, None for MLflow's own address.
        project: Names the experiment, None for MLflow's own.

    Raises:
        TrackingError: MLflow refused, or does not answer.
    """
    import mlflow

    if server is None or project is None:
        mlflow.start_run()
    else:
        if mlflow.get_tracking_uri() != server.uri:
            mlflow.set_tracking_uri(server.uri)
        lend(server.variables)
        name = project.settings().experiment or project.package
        mlflow.start_run(experiment_id=experiment_id(server, name))
    target = active(server)
    assert target is not None  # noqa: S101 - it was started in the line above
    return target
