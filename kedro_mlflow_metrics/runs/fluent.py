"""Which run a dataset outside a pipeline writes to: MLflow's active run, or a new one that becomes active."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_mlflow_metrics import process
from kedro_mlflow_metrics.delivery.clock import send_in_background
from kedro_mlflow_metrics.delivery.leftovers import deliver_all
from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.errors import MetricsError, NotThereError
from kedro_mlflow_metrics.runs import find
from kedro_mlflow_metrics.tracking.active import while_active
from kedro_mlflow_metrics.tracking.address import Server
from kedro_mlflow_metrics.tracking.environment import lend
from kedro_mlflow_metrics.tracking.runs import asked_for, experiment_id
from kedro_mlflow_metrics.tracking.store import RunInfo, to_run_info

if TYPE_CHECKING:
    from kedro_mlflow_metrics.project.binding import Binding

__all__ = ["ended", "here_of", "made_active", "new_target", "source_of", "target_of", "what_is_known"]

_NO_RUN = "give the entry a run_id, start the pipeline with --params mlflow_run_id=..., or save metrics first"
_ended: process.Own[dict[str, Target]] = process.Own(dict)  # by project, the run of its last pipeline
_addresses: process.Own[set[str]] = process.Own(set)  # whose leftovers are seen to


def target_of(binding: Binding, run_id: str | None, last: Target | None = None) -> Target | None:
    """Return the run that a dataset writes to, ``last`` while that is right; None where a new one would be opened."""
    if binding.target is not None and (run_id is None or not binding.enabled):
        return binding.target
    if run_id == find.LATEST:
        raise MetricsError(f"'run_id: {run_id}' is for loading", "name the run to save to by its id")
    import mlflow

    if run_id is not None:
        uri = binding.server.uri or mlflow.get_tracking_uri()
        return last if _is(last, run_id, uri) else _target(binding, RunInfo(run_id))
    run = mlflow.active_run()
    if run is None:
        return None
    uri = mlflow.get_tracking_uri()
    return last if _is(last, run.info.run_id, uri) else _target(binding, to_run_info(dict(run.info)), uri)


def made_active(target: Target | None, run_id: str | None) -> AbstractContextManager[None]:
    """Return what makes the pipeline's run active, if nodes find it so, MLflow has it and the entry names no other."""
    if target is None or run_id or not (target.active and target.look()):
        return nullcontext()
    return while_active(target.run)


def _is(last: Target | None, run_id: str, uri: str) -> bool:
    return last is not None and (last.run.run_id, last.server.uri) == (run_id, Server(uri).uri)


def source_of(binding: Binding, run_id: str | None, last: Target | None = None) -> Target:
    """Return the run that a dataset reads from: the one that it would write to, or else the newest of this process."""
    if run_id == find.LATEST and binding.enabled:
        return find.newest(here_of(binding), binding.reads)
    target = target_of(binding, run_id, last) or _newest_here(binding, last)
    if target is None:
        raise NotThereError("there is no MLflow run to load from", _NO_RUN)
    return target


def here_of(binding: Binding) -> Binding:
    """Return where runs of a dataset are looked for: in its project, or else where MLflow's fluent functions log to."""
    return replace(binding, server=_server(binding), experiment=binding.experiment or "Default")


def _newest_here(binding: Binding, last: Target | None) -> Target | None:
    """Return the newer of the run that a dataset wrote to last and that of the project's last pipeline in this process.

    In a notebook these differ: Kedro makes a catalog of its own for each run.
    """
    known = [target for target in (last, _ended.value.get(binding.journal.root)) if target is not None]
    return max(known, key=lambda target: target.record.start_time, default=None)


def what_is_known(binding: Binding, last: Target | None) -> dict[str, str | None]:
    """Return what describes a dataset to its user: its name, its prefix, and the run that it reads, without asking."""
    target = binding.target or _newest_here(binding, last)
    return {
        "name": binding.name or None,
        "prefix": binding.plain_prefix,
        "run": target.record.shown if target else None,
        "where": target.server.safe if target else None,
    }


def ended(target: Target) -> None:
    """Remember the run of a pipeline that has ended."""
    _ended.value[target.journal.root] = target


def _target(binding: Binding, run: RunInfo, uri: str | None = None) -> Target:
    """Return a run at an address, by default the project's or else MLflow's own."""
    journal = replace(binding.journal, root=binding.journal.root or str(Path.cwd()))  # and stays there
    target = Target.of(replace(_server(binding), uri=uri) if uri else _server(binding), journal, run)
    if binding.target is None:  # else the start of the pipeline saw to that
        _send_leftovers(target)
    return target


def _server(binding: Binding) -> Server:
    """Return the project's address, or else MLflow's own."""
    if binding.server.uri:
        return binding.server
    import mlflow

    return replace(binding.server, uri=mlflow.get_tracking_uri())


def _send_leftovers(target: Target) -> None:
    """Send, once per address, what earlier processes could not, as the start of a pipeline does."""
    if target.server.uri not in _addresses.value:
        _addresses.value.add(target.server.uri)
        if target.journal.runs():
            send_in_background(deliver_all(target.server, target.journal))


def new_target(binding: Binding) -> Target:
    """Start a run that stays active, as MLflow's runs do; MLflow ends it with the process.

    In a project MLflow's address and credentials become the project's and stay so, or it could not.
    """
    import mlflow

    server = binding.server
    if not server.uri:
        run = mlflow.start_run()
    else:
        if mlflow.get_tracking_uri() != server.uri:
            mlflow.set_tracking_uri(server.uri)
        lend(server.variables)
        ident, name = asked_for(server, binding.experiment)
        run = mlflow.start_run(experiment_id=ident or experiment_id(server, name))
    return _target(binding, to_run_info(dict(run.info)), mlflow.get_tracking_uri())
