"""Which MLflow run gets a pipeline's points: one that is given, one that is active, or a new one."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from kedro_mlflow_metrics.delivery.target import JOURNAL_TAG, Target, create
from kedro_mlflow_metrics.errors import JournalError, TrackingError
from kedro_mlflow_metrics.journal.folder import Record
from kedro_mlflow_metrics.journal.session import Session
from kedro_mlflow_metrics.process import now
from kedro_mlflow_metrics.project import git
from kedro_mlflow_metrics.runs.key import RunKey, run_key, session_tag
from kedro_mlflow_metrics.tracking import runs, shared
from kedro_mlflow_metrics.tracking.active import active_elsewhere
from kedro_mlflow_metrics.tracking.address import safe_uri
from kedro_mlflow_metrics.tracking.environment import lend, lent, own
from kedro_mlflow_metrics.tracking.store import RunInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_mlflow_metrics.project.binding import Binding
    from kedro_mlflow_metrics.project.context import Project, RunRequest
    from kedro_mlflow_metrics.project.settings import Settings
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = ["Chooser", "Chosen", "experiment_of"]

log = logging.getLogger("kedro.mlflow_metrics")


class Chosen(NamedTuple):
    """The run that a pipeline writes to."""

    target: Target  # the run
    owner: bool  # whether this process opened it, and so ends it
    trouble: TrackingError | None = None  # why MLflow has not answered for it
    created: bool = False  # whether this process created it, and so measures its machine
    note: Session | None = None  # that the Kedro session lives, if there is such a note already
    loan: Mapping[str, str] = {}  # what was set in the environment for it


class Chooser:
    """Chooses the run of a pipeline, or raises `TrackingError` before anything is computed."""

    def __init__(  # noqa: PLR0913 - what is known of a pipeline
        self,
        project: Project,
        about: Binding,
        settings: Settings,
        request: RunRequest,
        *,
        saves: bool,
        loads: bool = False,
    ) -> None:
        """Ask nobody yet; an entry with a run id of its own neither saves to the pipeline's run nor loads from it."""
        self.server, self.journal, self.experiment = about.server, about.journal, about.experiment
        self.project, self.settings, self.request, self.saves, self.loads = project, settings, request, saves, loads

    def choose(self) -> Chosen | None:
        """Find the run by the order of precedence, or open a new one if the pipeline saves metrics."""
        with lent(self.settings.variables()):
            elsewhere = active_elsewhere()
            given = self.request.parameters.get("mlflow_run_id") or (None if elsewhere else own("MLFLOW_RUN_ID"))
            chosen: Chosen | None
            if given:
                chosen = self._join(self.server, str(given))
            elif elsewhere:
                chosen = self._join(replace(self.server, uri=elsewhere[0]), elsewhere[1])
            elif self.saves:
                chosen = self._open()
            else:
                chosen = self._shared()
        return chosen and chosen._replace(loan=self._lend(chosen.target))

    def look_at(self, run_id: str, *, needed: bool) -> None:
        """Make sure that a run exists which an entry names itself, at any price if the pipeline loads from it."""
        try:
            runs.look_at(self.server, run_id)
        except TrackingError as exc:
            if needed or self._must_raise(exc):
                raise
            self._warn(exc, self.journal.folder)

    def _must_raise(self, trouble: TrackingError) -> bool:
        return self.journal.fail or not trouble.outage

    def _join(self, server: Server, run_id: str) -> Chosen:
        """Join a run; while nobody answers, its points wait under its id."""
        trouble = None
        try:
            info = runs.look_at(server, run_id)
        except TrackingError as exc:
            if not self.saves or self._must_raise(exc):
                raise
            self._warn(exc, self.journal.folder)
            info, trouble = RunInfo(run_id), exc
        target = Target.of(server, self.journal, info, active=self.settings.run.active)
        return Chosen(target, owner=False, trouble=trouble)

    def _shared(self) -> Chosen | None:
        """Find the run of the run key, for a pipeline that loads from it and saves nothing; it does not end it."""
        key = run_key(self.settings.run.key) if self.loads else RunKey()
        if not key.key:
            return None
        info = shared.find(self.server, *runs.asked_for(self.server, self.experiment), key.key)
        if info is None:
            return None
        return Chosen(Target.of(self.server, self.journal, info, active=self.settings.run.active), owner=False)

    def _open(self) -> Chosen:
        """Open a run; while nobody answers, it begins in the journal, and nodes find no active run."""
        key, active = run_key(self.settings.run.key), self.settings.run.active
        tag = session_tag(self.request, self.journal.env) if key.key else ""
        record = self._new_record(key.key, tag)
        safe = {tag: safe_uri(text) for tag, text in record.tags.items()}
        local = Target(self.server, self.journal, replace(record, tags=safe), active=active)
        new = self.server.local if self.server.local and not self.server.local.exists() else None
        # should this process die before the answer is here
        note = Session(local.folder, local.record, owner=True, tag=tag)
        try:
            info = create(self.server, record, new=True)
        except TrackingError as exc:
            if self._must_raise(exc):
                self._give_up(note, exc, shares=bool(key.key))
                raise
            try:
                local.folder.write(local.record)
            except JournalError as full:
                raise full.after(exc) from full.__cause__
            self._warn(exc, local.folder.path)
            return Chosen(local, owner=True, trouble=exc, note=note)
        except BaseException:
            note.leave()
            raise
        if new and git.would_add(new):
            log.warning("Git does not ignore %s; 'kedro metrics init' adds it to .gitignore", new.name)
        if key.key:
            log.info("Run key %r, from %s: run %r, id %s", key.key, key.source, info.run_name, info.run_id)
        target = Target.of(self.server, self.journal, info, record, active=active)
        other = Session(target.folder, target.record, owner=True, tag=tag)
        note.drop()
        return Chosen(target, owner=True, created=info.tags.get(JOURNAL_TAG) == record.local_id, note=other)

    @staticmethod
    def _give_up(note: Session, trouble: TrackingError, *, shares: bool) -> None:
        """Take the note back; but where MLflow may have made the run for others, leave word there that it failed."""
        if not (shares and trouble.outage):
            note.drop()
            return
        with suppress(JournalError):
            note.end("FAILED", now(), trouble.reason)
        note.leave()

    def _new_record(self, key: str, session: str) -> Record:
        """Say what a new run is to be."""
        start_time = now()
        name = self._name(start_time)
        experiment_id, experiment = runs.asked_for(self.server, self.experiment)
        said = {session: shared.word("RUNNING", start_time)} if session else {}
        return Record(
            self.server.portable(self.journal.base),
            local_id=uuid4().hex,
            env=self.journal.env,
            name=name,
            experiment=experiment,
            experiment_id=experiment_id,
            run_key=key,
            tags={**runs.with_context(self._tags(), name), **said},
            start_time=start_time,
        )

    def _name(self, start_time: int) -> str:
        project = self.project.package
        return self.settings.run.name.format(
            pipeline="+".join(project if name == "__default__" else name for name in self.request.pipelines),
            started=datetime.fromtimestamp(start_time // 1000).strftime("%Y-%m-%d %H:%M:%S"),  # noqa: DTZ006 - the user's
            env=self.project.env,
            project=project,
        )

    def _tags(self) -> dict[str, str]:
        own_tags = {
            "kedro.pipeline": "+".join(self.request.pipelines),
            **{f"kedro.{name}": chosen for name, chosen in self.request.asked.items()},
            "kedro.runtime_params": ", ".join(map(str, self.request.parameters)),  # names alone: values may be secret
            "mlflow.source.git.commit": git.commit(self.project.root),  # MLflow looks where the kedro command stands
            "kedro.env": self.journal.env,
            "kedro.run_id": self.request.run_id,
            "kedro.version": self.request.version,
            "kedro_mlflow_metrics.version": version("kedro-mlflow-metrics"),
        }
        return {**{tag: text for tag, text in own_tags.items() if text}, **self.settings.run.tags}

    def _lend(self, target: Target) -> Mapping[str, str]:
        """Lend MLflow's fluent functions, in nodes and worker processes, the address and the credentials."""
        address = {"MLFLOW_TRACKING_URI": target.server.uri}
        return lend({**self.settings.variables(), **address, **experiment_of(target)})

    def _warn(self, trouble: TrackingError, where: object) -> None:
        log.warning(
            "%s. The pipeline goes on; its metrics wait in %s; '%s' sends what is left, with --to URI elsewhere",
            trouble,
            where,
            self.journal.command("sync"),
        )


def experiment_of(target: Target) -> dict[str, str]:
    """Return the variable that has MLflow's fluent functions find the experiment of a run, if the user set none."""
    ident = target.run.experiment_id
    return {"MLFLOW_EXPERIMENT_ID": ident} if ident and not any(runs.asked_for(target.server, "")) else {}
