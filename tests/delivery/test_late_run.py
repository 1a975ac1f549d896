"""A run that began offline, seen by processes that did not begin it."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from support.bench import until
from support.journal import save

from kedro_mlflow_metrics.delivery import clock, leftovers, read
from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.journal.folder import Journal, Record
from kedro_mlflow_metrics.tracking.address import Server


@pytest.fixture
def begun(tmp_path, store):
    """What a worker process gets of a run that began offline: its own copy."""
    journal = Journal(str(tmp_path / "here"))
    server = Server(store.uri)
    record = Record(server.portable(journal.base), local_id=uuid4().hex, name="late", experiment="late", start_time=7)
    target = Target(server, journal, record)
    target.folder.write(record)
    return target


def copy(target: Target, root: str = "") -> Target:
    return Target(target.server, replace(target.journal, root=root or target.journal.root), target.record)


def test_a_worker_on_the_same_disk_learns_of_it(begun, store):
    """It sends what waited, and goes on live; the run keeps the identity that it had."""
    worker = copy(begun)
    clock.outbox(worker).save(save(0), print)
    assert (worker.offline, store.points()) == (True, {})
    begun.make(begun.server)
    until(lambda: len(store.points()) == 2)
    assert (worker.run.run_id, worker.key) == (begun.run.run_id, copy(begun).key)
    clock.outbox(worker).save(save(1), print)
    assert len(store.points()["train/loss"]) == 4
    assert clock.close(worker) is None
    assert store.run["name"] == "late"


def test_a_worker_elsewhere_keeps_its_points_until_sync(begun, store, tmp_path):
    """And then they go into the same run."""
    begun.make(begun.server)
    worker = copy(begun, str(tmp_path / "elsewhere"))
    worker.record = replace(worker.record, run_id="", experiment_id="", artifact_uri="")
    clock.outbox(worker).save(save(0), print)
    assert sum(map(len, dict(read.load(worker, bool)).values())) == 3
    assert clock.close(worker) is not None
    assert store.points() == {}
    assert sum(leftovers.deliver_all(begun.server, worker.journal)) == 3
    assert len(store.points(begun.run.run_id)) == 2
    assert len(store.runs) == 1
    assert worker.journal.runs() == []
