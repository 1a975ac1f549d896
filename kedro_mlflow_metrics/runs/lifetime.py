"""The MLflow run of one pipeline run, from before its first node to its end, however it ends."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from kedro_mlflow_metrics import process
from kedro_mlflow_metrics.delivery import clock, leftovers
from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.errors import InvalidMetricsError, MetricsError
from kedro_mlflow_metrics.journal.session import Session
from kedro_mlflow_metrics.points.names import check_prefix
from kedro_mlflow_metrics.project import catalog as catalogs
from kedro_mlflow_metrics.project.binding import Binding
from kedro_mlflow_metrics.runs.choose import Chooser, experiment_of
from kedro_mlflow_metrics.runs.ending import end
from kedro_mlflow_metrics.runs.find import LATEST
from kedro_mlflow_metrics.runs.fluent import ended
from kedro_mlflow_metrics.runs.key import op
from kedro_mlflow_metrics.runs.summary import Summary
from kedro_mlflow_metrics.tracking import active, system_metrics
from kedro_mlflow_metrics.tracking.environment import lend, take_back
from kedro_mlflow_metrics.tracking.store import RunInfo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kedro_mlflow_metrics.kubeflow.v1 import Manner
    from kedro_mlflow_metrics.project.catalog import Entry
    from kedro_mlflow_metrics.project.context import Catalog, Pipeline, Project, RunRequest
    from kedro_mlflow_metrics.project.settings import Settings
    from kedro_mlflow_metrics.runs.choose import Chosen

__all__ = ["begin_step", "end_step", "enter_node", "finish", "finish_interrupted", "opened", "send", "start"]

log = logging.getLogger("kedro.mlflow_metrics")


@dataclass(eq=False)
class OpenRun:
    """What a pipeline run in this process writes to at the moment."""

    catalog: Catalog  # the catalog of the pipeline; no two pipeline runs share one
    chosen: Chosen | None  # the pipeline's run; None if it needs none
    others: list[Target]  # the runs that entries name themselves
    files: Sequence[tuple[Target, Path, list[Manner]]]  # Kubeflow's files, and what stands in them
    memory: Target | None = None  # what takes their place if logging is switched off
    notes: dict[Target, Session] = field(default_factory=dict)  # that the Kedro session lives, per run
    loans: list[Mapping[str, str]] = field(default_factory=list)  # what was set in the environment meanwhile
    monitor: system_metrics.Monitor | None = None  # what measures the machine
    summary: Summary | None = None  # what sums up the run at its end
    outcome: str = "KILLED"  # how it ends with the process, if no hook of Kedro's has ended it before
    steps: list[str] = field(default_factory=list)  # how instead, if what has begun of a node does not come to its end
    thread: int = field(default_factory=threading.get_ident)  # the thread that runs the pipeline

    @property
    def targets(self) -> list[Target]:
        """All runs that it may write to."""
        return [*self.others, self.chosen.target] if self.chosen else self.others


class _OpenRuns(list[OpenRun]):
    """The open runs of this process."""

    def leave(self) -> None:
        """Close, in a forked child, the notes of its parent: whose process lives is for its own lock to say."""
        for run in self:
            for note in run.notes.values():
                note.leave()


_open = process.Own(_OpenRuns)


def opened(catalog: Catalog) -> OpenRun | None:
    """Return the open run of a catalog, in the process that opened it."""
    return next((run for run in _open.value if run.catalog is catalog), None)


# The start


def start(project: Project, request: RunRequest, pipeline: Pipeline, catalog: Catalog) -> None:
    """Check names, find or open the run, and tell every metrics dataset of the pipeline; or raise `MetricsError`."""
    settings = project.settings()
    siblings = Binding(siblings=catalogs.sibling_prefixes(catalog))
    base = project.bind(siblings, settings, pipelines=request.pipelines, run=uuid4().hex)
    outputs = pipeline.all_outputs()
    entries = [entry for entry in catalogs.built(catalog) if entry.name in pipeline.datasets()]
    saving = [entry for entry in entries if entry.name in outputs]
    _check_prefixes(entries, saving, settings.separator)
    if not base.enabled:
        _bind(entries, base)
        _open.value.append(OpenRun(catalog, None, [], (), base.target))
        return
    _refuse_latest(saving)
    saves, loads = (any(entry.dataset.run_id is None for entry in some) for some in (saving, entries))
    writers = _writers(catalog, saving)  # before a run is opened: an entry of theirs may be wrong
    chooser = Chooser(project, base, settings, request, saves=saves, loads=loads)
    for run_id in sorted({entry.dataset.run_id for entry in entries} - {None, LATEST}):
        chooser.look_at(run_id, needed=any(run_id == entry.dataset.run_id for entry in entries if entry not in saving))
    chosen = chooser.choose()
    summary = None
    if settings.summary and sys.stdout.isatty():
        summary = Summary(catalogs.display_of(settings, catalogs.entries_of(catalog)), "+".join(request.pipelines))
    base = replace(base, target=chosen.target if chosen else None, summed_up=summary is not None)
    _bind(entries, base)
    others = {entry.dataset.run_id: target for entry in saving if (target := _own_target(entry, base)) is not None}
    if chosen or others:
        files = _files(writers, base)
        outcome = "FINISHED" if op() else "KILLED"
        _begin(OpenRun(catalog, chosen, list(others.values()), files, summary=summary, outcome=outcome), settings)


def _check_prefixes(entries: Sequence[Entry], saving: Sequence[Entry], separator: str) -> None:
    """Stop for a prefix that MLflow does not take; warn of one that two outputs share."""
    for entry in entries:
        try:
            check_prefix(entry.prefix, separator)
        except InvalidMetricsError as exc:
            raise InvalidMetricsError(f"dataset {entry.name!r}: {exc.reason}", exc.advice) from None
    for prefix, number in Counter(entry.prefix for entry in saving).items():
        if number > 1:
            log.warning(
                "The datasets %s log under the same prefix %r: their metrics of the same name become one; "
                "give each a prefix of its own",
                " and ".join(sorted(entry.name for entry in saving if entry.prefix == prefix)),
                prefix,
            )


def _refuse_latest(saving: Sequence[Entry]) -> None:
    for entry in saving:
        if entry.dataset.run_id == LATEST:
            reason = f"dataset {entry.name!r}: 'run_id: {LATEST}' is for loading, and the pipeline saves this entry"
            raise MetricsError(reason, "remove run_id, or name the run to save to by its id")


def _bind(entries: Sequence[Entry], base: Binding) -> None:
    for entry in entries:
        entry.dataset.bind(entry.bound(base))


def _own_target(entry: Entry, base: Binding) -> Target | None:
    """Return the run that an entry names itself."""
    run_id = entry.dataset.run_id
    return None if run_id is None else Target.of(base.server, base.journal, RunInfo(run_id))


def _writers(catalog: Catalog, saving: Sequence[Entry]) -> list[Entry]:
    """Return the entries of Kubeflow's files that are written, also those that earlier sessions of the run saved."""
    paths = {str(entry.dataset.filepath) for entry in saving if entry.dataset.filepath}
    if not paths:
        return []
    same = [name for name, about in catalogs.configured(catalog) if about.get("filepath") in paths]
    catalogs.materialise(catalog, same)
    return [entry for entry in catalogs.built(catalog) if str(entry.dataset.filepath) in paths]


def _files(writers: Sequence[Entry], base: Binding) -> Sequence[tuple[Target, Path, list[Manner]]]:
    """Return what stands in Kubeflow's files."""
    found: dict[tuple[str, Path], tuple[Target, Path, list[Manner]]] = {}
    for entry in writers:
        target, path, bound = _own_target(entry, base) or base.target, entry.dataset.filepath, entry.bound(base)
        if target is not None and path is not None:
            file = found.setdefault((target.record.ident, path), (target, path, []))
            file[2].append(entry.dataset.manner(bound))
    return list(found.values())


def _begin(run: OpenRun, settings: Settings) -> None:
    """Keep a run in mind until `finish`, the end of the process or a signal."""
    process.at_end(process.RUNS, _finish_all)
    process.catch_sigterm(catch=True)
    _open.value.append(run)
    for target in run.targets:
        note = run.chosen.note if run.chosen and run.chosen.target is target else None
        run.notes[target] = note or Session(target.folder, target.record, owner=False)
    if run.chosen is None:
        return
    run.loans.append(run.chosen.loan)
    target, box = run.chosen.target, clock.outbox(run.chosen.target)
    if run.chosen.trouble is not None:
        box.expect(run.chosen.trouble, opens=target.offline)
        return
    box.proven = True
    if target.active:
        active.activate(target.run)
    if run.chosen.created:
        run.monitor = system_metrics.start(target.run.run_id, settings.run.system_metrics)
    if any(folder.path != target.folder.path for folder in target.journal.runs()):
        clock.send_in_background(leftovers.deliver_all(target.server, target.journal))


def enter_node(catalog: Catalog, target: Target) -> None:
    """Make the run active where a node runs, in whatever thread or process; one that began offline, if it is there."""
    if not target.active or not target.look():
        return
    active.activate(target.run)
    late = experiment_of(target)
    if not late.items() <= os.environ.items():
        loan, run = lend(late), opened(catalog)
        if run is not None:  # a worker process keeps it
            run.loans.append(loan)


def begin_step(broken: str) -> None:
    """Remember how the runs of this thread end if what begins here does not come to its end."""
    for run in _of_this_thread():
        run.steps.append(broken)


def end_step() -> None:
    """Forget it: what began last has come to its end."""
    for run in _of_this_thread():
        del run.steps[-1:]


# The end


def send(run: OpenRun) -> None:
    """Send what waits before others look at the run; a failure that must not be passed over ends it as FAILED."""
    try:
        for target in run.targets:
            clock.flush(target, force=True)
        _write_files(run)
    except MetricsError:
        finish(run, "FAILED")
        raise


def _write_files(run: OpenRun) -> None:
    for target, path, manners in run.files:
        from kedro_mlflow_metrics.kubeflow.metrics_file import write_from_run

        write_from_run(target, path, manners)


def finish(run: OpenRun, status: str) -> None:
    """Send what still waits, set the status of an own run, say where its metrics are, and leave nothing behind."""
    if run not in _open.value:
        return
    _open.value.remove(run)
    try:
        if status == "FAILED":
            _write_files(run)
        troubles = [end(target, run.notes[target], status) for target in run.others]
        if run.chosen:
            target = run.chosen.target
            if target.run.run_id not in (other.run.run_id for each in _open.value for other in each.targets):
                active.deactivate(target.run)
            system_metrics.stop(run.monitor)
            note, owner = run.notes[target], run.chosen.owner
            troubles.append(end(target, note, status, owner=owner, pipelines=True, summary=run.summary))
            ended(target)
    finally:
        for loan in run.loans:
            take_back(loan)
        if run.memory:
            clock.close(run.memory)
        if not any(other.thread == run.thread for other in _open.value):
            process.catch_sigterm(catch=False)
    clock.wait_for_background()
    trouble = next(filter(None, troubles), None)
    if trouble is not None and status == "FINISHED" and any(target.journal.fail for target in run.targets):
        raise trouble


def finish_interrupted() -> None:
    """End what an interrupt left open in this thread: Ctrl-C in a notebook reaches no hook of Kedro's."""
    for run in _of_this_thread():
        finish(run, "KILLED")


def _of_this_thread() -> list[OpenRun]:
    return [run for run in _open.value if run.thread == threading.get_ident()]


def _finish_all() -> None:
    """At the end of the process: Kedro ends a run by a hook, so what is open was interrupted; not so in Dagster."""
    for run in list(_open.value):
        finish(run, run.steps[-1] if run.steps and run.outcome == "FINISHED" else run.outcome)
