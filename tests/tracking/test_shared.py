"""Sessions with one run key: they agree on one run, and its status is what they say together."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from itertools import product
from threading import Barrier
from uuid import uuid4

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from support.proxy import Proxy

from kedro_mlflow_metrics.delivery.target import JOURNAL_TAG, create
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.journal.folder import Record
from kedro_mlflow_metrics.points.curves import Curve
from kedro_mlflow_metrics.tracking import shared
from kedro_mlflow_metrics.tracking.address import Server
from kedro_mlflow_metrics.tracking.connect import open_store

NOW = 1_700_000_000_000
MANY = 16


@pytest.fixture(params=["sqlite_server", "postgres_server", "sqlite", "postgresql"])
def address(request, tmp_path, empty_store):
    """A server on each kind of database, and each kind of database without a server."""
    if request.param == "sqlite":
        shutil.copy(empty_store, tmp_path / "mlflow.db")
        return f"sqlite:///{tmp_path}/mlflow.db"
    if request.param == "postgresql":
        return request.getfixturevalue("database")[0]
    return request.getfixturevalue(request.param)[0].uri


class Key:
    """A run key that nobody else uses, in an experiment of its own."""

    def __init__(self, uri):
        self.server, self.text, self.client = Server(uri, timeout=30), uuid4().hex, MlflowClient(uri)
        self.experiment = self.client.create_experiment(f"experiment {self.text}")

    def record(self, session=None):
        """Return what a session writes down of the run that it wants."""
        tags = {f"{shared.SESSION_TAG}{session or uuid4().hex[:12]}": shared.word("RUNNING", NOW)}
        about = {"name": "a run", "experiment_id": self.experiment, "start_time": NOW, "tags": tags}
        return Record(self.server.uri, local_id=uuid4().hex, run_key=self.text, **about)

    def join(self, record=None, *, new=True):
        return create(self.server, record or self.record(), new=new)

    def join_together(self, number):
        """Join as so many sessions that start at the same instant, and ask again as those do that began offline."""
        start = Barrier(number)

        def session(_):
            record, outages = self.record(), []
            start.wait()
            while len(outages) < 20:
                try:
                    return self.join(record, new=not outages).run_id
                except TrackingError as exc:
                    if not exc.outage:
                        raise
                    outages.append(exc)
            raise outages[-1]

        with ThreadPoolExecutor(number) as pool:
            return set(pool.map(session, range(number)))

    def runs(self, kind=ViewType.ACTIVE_ONLY):
        return self.client.search_runs([self.experiment], run_view_type=kind)

    @property
    def experiments(self):
        return {found.name for found in self.client.search_experiments()}


OWN, OTHER, THIRD = (f"{shared.SESSION_TAG}{name}" for name in ("own", "other", "third"))


@pytest.fixture
def key(address):
    return Key(address)


@pytest.fixture
def run(key):
    """The run of the key, in which the session `OWN` is RUNNING."""
    return key.join(key.record("own")).run_id


@pytest.fixture
def proxy(sqlite_server):
    proxy = Proxy(sqlite_server[0].uri)
    yield proxy
    proxy.close()


def joins_the_oldest(key):
    """Two that come one after the other are in the first run, and no other is seen."""
    first, second = key.join(), key.join()
    assert first.run_id == second.run_id
    assert [run.info.run_id for run in key.runs()] == [first.run_id]


def test_whoever_starts_at_the_same_instant(key):
    """One run is elected, all are in it, and nothing else is seen: no empty run, no experiment."""
    before = key.experiments
    found = key.join_together(MANY)
    (run,) = key.runs()
    assert found == {run.info.run_id}
    assert run.data.tags[shared.RUN_KEY_TAG] == key.text
    assert [tag.startswith(shared.SESSION_TAG) for tag in run.data.tags].count(True) == MANY
    assert key.experiments == before


def test_who_comes_later(key):
    """It joins, makes nothing, and has the run RUNNING again."""
    first = key.join(key.record("first"))
    shared.set_status(key.server, first.run_id, "FINISHED", NOW, f"{shared.SESSION_TAG}first")
    assert key.runs()[0].info.status == "FINISHED"
    later = key.join()
    assert later.run_id == first.run_id
    assert len(key.runs(ViewType.ALL)) == 1
    assert key.runs()[0].info.status == "RUNNING"


def test_a_deleted_run(key):
    """After the run of a key was deleted another is elected, once more only one."""
    first = key.join()
    key.client.delete_run(first.run_id)
    second, third = key.join(), key.join()
    assert first.run_id != second.run_id == third.run_id
    assert [run.info.run_id for run in key.runs()] == [second.run_id]


@pytest.mark.parametrize("lost", range(8))
def test_a_lost_answer(proxy, lost):
    """Whichever it is, of the first session or of a second that stood for election too, one run is seen."""
    key, counts = Key(proxy.uri), iter(range(10**6))
    proxy.plan = lambda _, __: "lose" if next(counts) % 8 == lost else "pass"
    found = key.join_together(2)
    proxy.plan = lambda path, _: "pass"
    assert found == {run.info.run_id for run in key.runs()}
    assert len(found) == 1


def test_who_may_not_create_experiments(proxy):
    """The oldest run is the one; a younger one stays as KILLED, for others may have joined it meanwhile."""
    key = Key(proxy.uri)
    proxy.plan = lambda path, _: "403" if "experiments/create" in path else "pass"
    joins_the_oldest(key)


def test_the_status_of_all(key, run):
    """FAILED is stronger than KILLED, that than RUNNING, and only what all have finished is FINISHED."""
    states = ("FAILED", "KILLED", "RUNNING", "FINISHED")
    for at, (first, second) in enumerate(product(states, states)):
        shared.set_status(key.server, run, first, NOW + at, OWN)
        shared.set_status(key.server, run, second, NOW + at, OTHER)
        assert key.client.get_run(run).info.status == min(first, second, key=states.index), (first, second)


def test_the_end_is_that_of_the_last(key, run):
    """Though another session had failed before."""
    shared.set_status(key.server, run, "RUNNING", NOW, OTHER)
    shared.set_status(key.server, run, "FAILED", NOW + 1, OTHER)
    shared.set_status(key.server, run, "FINISHED", NOW + 2, OWN)
    info = key.client.get_run(run).info
    assert (info.status, info.end_time) == ("FAILED", NOW + 2)


def test_what_was_said_before(key, run):
    """A session that was tried again has the last word, whenever MLflow hears of what it said first."""
    assert shared.set_status(key.server, run, "FINISHED", NOW + 9, OWN)
    for status in ("RUNNING", "FAILED", "KILLED"):
        assert not shared.set_status(key.server, run, status, NOW + 5, OWN)
    assert key.client.get_run(run).info.status == "FINISHED"
    assert shared.set_status(key.server, run, "FAILED", NOW + 10, OWN)
    assert key.client.get_run(run).info.status == "FAILED"


def test_what_is_repeated_for_a_session(key, run, mocker):
    """Another process that says once more that it runs does not undo its end, though that is said at this moment."""
    store = type(open_store(key.server))
    real = store.get_run

    def get_run(own, run_id):
        found = real(own, run_id)
        mocker.stopall()
        shared.set_status(key.server, run, "FINISHED", NOW + 1, OWN)
        return found

    mocker.patch.object(store, "get_run", get_run)
    assert shared.set_status(key.server, run, "RUNNING", NOW, OWN)
    assert key.client.get_run(run).data.tags[OWN] == shared.word("FINISHED", NOW + 1)
    assert key.client.get_run(run).info.status == "FINISHED"


def test_overruled(key, run):
    """What somebody says by hand holds for all sessions; it says nothing of a run that is not shared."""
    shared.set_status(key.server, run, "FAILED", NOW, OTHER)
    assert shared.overrule(key.server, run, "FINISHED", NOW + 1)
    assert key.client.get_run(run).info.status == "FINISHED"
    assert not shared.overrule(key.server, run, "FINISHED", NOW + 2)
    shared.set_status(key.server, run, "FINISHED", NOW + 3, THIRD)
    assert key.client.get_run(run).info.status == "FINISHED"
    alone = key.client.create_run(key.experiment).info.run_id
    assert not shared.overrule(key.server, alone, "KILLED", NOW)
    assert key.client.get_run(alone).info.status == "RUNNING"


def test_an_own_run_with_points_is_not_thrown_away(key):
    """A run with the session's own tag is deleted only if it is empty."""
    record = key.record()
    mine = key.client.create_run(key.experiment, tags={JOURNAL_TAG: record.local_id}).info.run_id
    open_store(key.server).log_batch(mine, [Curve("a", [1.0], [0], [NOW])])
    elected = key.join().run_id
    assert key.join(record, new=False).run_id == elected
    assert {run.info.run_id for run in key.runs()} == {mine, elected}


def test_who_may_not_delete_runs(proxy):
    """Whoever loses the election, or a run by a lost answer, leaves that one empty and KILLED, and joins."""
    key = Key(proxy.uri)
    proxy.plan = lambda path, _: "403" if "runs/delete" in path else "pass"
    (found,) = key.join_together(4)
    record = key.record()
    key.client.create_run(key.experiment, tags={JOURNAL_TAG: record.local_id})
    assert key.join(record, new=False).run_id == found
    states = {run.info.run_id: run.info.status for run in key.runs()}
    assert states.pop(found) == "RUNNING"
    assert set(states.values()) == {"KILLED"}


@pytest.mark.parametrize("seat", ["403", "no tags"])
def test_an_election_that_cannot_be_read(proxy, seat):
    """The oldest run is the one, and no other is seen."""
    key = Key(proxy.uri)
    name = f"{key.experiment}/{key.text}".encode()
    key.client.create_experiment(f"{shared.RUN_KEY_TAG}.{blake2b(name, digest_size=16).hexdigest()}")
    if seat == "403":
        proxy.plan = lambda path, _: "403" if "get-by-name" in path else "pass"
    joins_the_oldest(key)


def test_a_loser_whose_winner_is_deleted(proxy):
    """It has deleted its own run, and asks again: it makes another, and does not write to the deleted one."""
    key, record, faster = Key(proxy.uri), None, []

    def plan(path, _):
        if "runs/create" in path and not faster:
            faster.append("")
            faster.append(key.join().run_id)
        return "500" if "runs/set-tag" in path and len(faster) == 2 else "pass"

    record, proxy.plan = key.record(), plan
    with pytest.raises(TrackingError):
        key.join(record)
    proxy.plan = lambda path, _: "pass"
    key.client.delete_run(faster[1])
    found = key.join(record, new=False).run_id
    assert [run.info.run_id for run in key.runs()] == [found]
    assert key.join().run_id == found
