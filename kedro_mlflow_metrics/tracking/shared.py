"""One run for several sessions: by a run key they agree on it, and what all of them say of themselves is its status.

MLflow has no request that makes a run only if there is none. But the name of an experiment is unique in its database,
and is written in one transaction with the experiment's tags. So each session that finds no run of its key makes one,
and then tries to create an experiment whose name follows from the key and whose tag holds the id of that run. The
session that succeeds is elected. The others read the tag, delete their own empty run, and join. The experiment is
deleted at once, which hides it; its name and its tag can still be read.

Each function raises `TrackingError` with one line where MLflow refuses, or does not answer.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.process import now
from kedro_mlflow_metrics.tracking import runs
from kedro_mlflow_metrics.tracking.connect import open_store
from kedro_mlflow_metrics.tracking.store import OLDEST_FIRST, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_mlflow_metrics.tracking.address import Server
    from kedro_mlflow_metrics.tracking.store import Experiment, RunInfo, Store

__all__ = ["RUN_KEY_TAG", "SESSION_TAG", "find", "find_or_elect", "overrule", "set_status", "word"]

RUN_KEY_TAG = "kedro.run_key"
SESSION_TAG = "kedro.session."  # what the tag of each session begins with
_ELECTED_TAG = "kedro_mlflow_metrics.run_id"
_STRONGEST_FIRST = ("FAILED", "KILLED", "RUNNING", "FINISHED")
_MOST_RUNS = 10  # with one key that are looked at, where there can be no election
_ATTEMPTS = 20  # sessions that end together change it in turns


def find_or_elect(  # noqa: PLR0913 - what is known of a run that is to be
    server: Server, wanted: RunInfo, tags: Mapping[str, str], by: str, key: str, *, new: bool
) -> RunInfo:
    """Return the one run of a run key, and have it RUNNING with one more Kedro session.

    Args:
        server: Where.
        wanted: Experiment, name and start of the run that is made if there is none.
        tags: Its tags, the Kedro session's own among them.
        by: The tag that no run of another Kedro session has.
        key: The run key.
        new: Whether no run can have been made with that tag before.
    """
    store = open_store(server, create=True)
    run = find(server, wanted.experiment_id, "", key)
    if run is not None and not new:
        runs.delete_twins(server, run.experiment_id, run.run_id, by, tags[by])
    if run is None and _has_unique_names(server):
        mine = runs.find_or_create(server, wanted, tags, by, new=new)
        if mine.lifecycle_stage == "deleted":  # it lost an election, and the run that won it has been deleted since
            mine = store.create_run(wanted.experiment_id, wanted.run_name, tags, wanted.start_time)
        run = _elect(store, mine, key)
    if run is None:
        run = _create_or_join_oldest(server, wanted, tags, key)
    if run.tags.get(by) != tags[by]:  # else it was made with the session's tag
        for tag in tags:
            if tag.startswith(SESSION_TAG):
                set_status(server, run.run_id, "RUNNING", wanted.start_time, tag)
    return run


def find(server: Server, ident: str, name: str, key: str) -> RunInfo | None:
    """Return the run that is tagged with a run key, of several the oldest, and leave it as it is; None without one.

    Args:
        server: Where.
        ident: The id of its experiment, and
        name: its name, as `runs.asked_for` returns them.
        key: The run key.
    """
    where = f"tags.`{RUN_KEY_TAG}` = {quoted(key)}"
    found = runs.search(server, ident, name, _MOST_RUNS, where=where, order=OLDEST_FIRST)
    return min((run for run, _ in found), key=lambda run: (run.start_time, run.run_id), default=None)


def _has_unique_names(server: Server) -> bool:
    """Tell whether of two experiments of one name MLflow refuses one, though both are created at the same instant."""
    folder = server.local is not None and server.database is None
    return not (folder or server.uri.startswith("databricks"))


def _elect(store: Store, mine: RunInfo, key: str) -> RunInfo | None:
    """Return the run that is elected; if it is not the session's own, that is deleted.

    None if this user may not create experiments, or not read what another has created.
    """
    name = f"{mine.experiment_id}/{key}"
    while True:
        hidden = f"{RUN_KEY_TAG}.{blake2b(name.encode(), digest_size=16).hexdigest()}"
        refusal = None
        try:
            store.create_experiment(hidden, {_ELECTED_TAG: mine.run_id, RUN_KEY_TAG: key})
        except TrackingError as exc:
            refusal = exc  # another session was faster, or so was this one, and the answer was lost
        seat = _seat(store, hidden)
        if seat is None:
            if refusal is not None and refusal.outage:
                raise refusal
            runs.throw_away(store, mine.run_id)
            return None
        ident = seat.tags[_ELECTED_TAG]
        run = mine if ident == mine.run_id else _active(store, ident)
        if run is not None:
            break
        name = f"{name}/{ident}"  # of a run that somebody has deleted: they elect another
    if run is not mine:
        runs.throw_away(store, mine.run_id)
    if seat.lifecycle_stage == "active":  # whoever joins does what the elected one may not have come to
        for settle in (
            partial(store.set_tag, run.run_id, RUN_KEY_TAG, key),
            partial(store.delete_experiment, seat.experiment_id),
        ):
            with suppress(TrackingError):  # another session did it, or will
                settle()
    return run


def _seat(store: Store, name: str) -> Experiment | None:
    """Return the experiment that says who is elected; None if there is none, or none that says so to this user.

    A server on a folder writes the tags later than the name.
    """
    try:
        seat = store.experiment(name)
    except TrackingError as exc:
        if exc.credentials:
            return None
        raise
    return None if seat is None or _ELECTED_TAG not in seat.tags else seat


def _active(store: Store, ident: str) -> RunInfo | None:
    """Return a run, None if it is deleted."""
    try:
        run = store.get_run(ident)[0]
    except TrackingError as exc:
        if exc.code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return None if run.lifecycle_stage == "deleted" else run


def _create_or_join_oldest(server: Server, wanted: RunInfo, tags: Mapping[str, str], key: str) -> RunInfo:
    """Create a run, and return the oldest that has the run key, where there can be no election.

    Another session may have joined a younger one meanwhile: it stays, as KILLED.
    """
    store, tags = open_store(server, create=True), {**tags, RUN_KEY_TAG: key}
    mine = store.create_run(wanted.experiment_id, wanted.run_name, tags, now())
    run = find(server, wanted.experiment_id, "", key) or mine
    if run.run_id != mine.run_id:
        store.end_run(mine.run_id, "KILLED", now())
    return run


def word(status: str, time: int) -> str:
    """Return what a session says in its tag: its status, and since when."""
    moment = datetime.fromtimestamp(time / 1000, timezone.utc).isoformat(timespec="milliseconds")
    return f"{status.lower()} {moment}"


def set_status(server: Server, run_id: str, status: str, time: int, session: str) -> bool:
    """Set the status of a run; of one that sessions share, what one of them says and what they then say together.

    That is FAILED if one of them is, else KILLED if one is, else RUNNING if one is, else FINISHED. What a session has
    said at a later time stays: then it was tried again, and this comes from before. What it says already is not said
    once more: whoever repeats it for the session could undo what that says itself in the same moment.

    Args:
        server: Where.
        run_id: The run.
        status: RUNNING, FINISHED, FAILED or KILLED.
        time: Since when, in milliseconds since the epoch.
        session: The session's tag; empty for a run that is not shared.

    Returns:
        Whether the session says so now.
    """
    store = open_store(server)
    if not session:
        store.end_run(run_id, status, time)
        return True
    now_says, said = store.get_run(run_id)[0].tags.get(session, ""), word(status, time)
    latest = _since(now_says) <= _since(said)
    if latest and now_says != said:
        store.set_tag(run_id, session, said)
    end_time = 0 if status == "RUNNING" else time
    for _ in range(_ATTEMPTS):  # as others do the same, look again after each change
        run = store.get_run(run_id)[0]
        all_say = {text.partition(" ")[0].upper() for tag, text in run.tags.items() if tag.startswith(SESSION_TAG)}
        together = next((each for each in _STRONGEST_FIRST if each in all_say), status)
        if run.status == together and (together == "RUNNING" or run.end_time >= end_time):
            break
        if together == "RUNNING":
            store.resume_run(run_id)
        else:
            store.end_run(run_id, together, max(run.end_time, end_time))
    return latest


def _since(said: str) -> str:
    return said.partition(" ")[2]


def overrule(server: Server, run_id: str, status: str, end_time: int) -> bool:
    """Set a run and all its sessions to a status, whatever they say; return whether that changed anything.

    It changes nothing in a run without sessions of a run key.
    """
    store = open_store(server)
    run = store.get_run(run_id)[0]
    own = {tag: text.partition(" ")[0] for tag, text in run.tags.items() if tag.startswith(SESSION_TAG)}
    others = [tag for tag, state in own.items() if state != status.lower()]
    for tag in others:
        store.set_tag(run_id, tag, word(status, end_time))
    if others:
        store.end_run(run_id, status, end_time)
    return bool(others)
