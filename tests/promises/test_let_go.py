"""Outside a pipeline nothing grows with the number of runs, and a curve goes on where it was in each."""

from __future__ import annotations

import gc
import os
import threading
from contextlib import nullcontext
from pathlib import Path

import mlflow
import pytest
from support.bench import until
from support.project import Store

from kedro_mlflow_metrics import MlflowMetricsDataSet, process
from kedro_mlflow_metrics.delivery import clock, outbox, stream
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.journal.folder import Journal
from kedro_mlflow_metrics.points.curves import Curve

FILES = Path("/proc/self/fd")


@pytest.fixture
def here(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(store.uri)
    yield store
    mlflow.set_tracking_uri(None)


def open_journals() -> list[str]:
    found = [str(path.readlink()) for path in FILES.iterdir() if path.exists()]
    return [path for path in found if path.endswith(".jsonl")]


@pytest.mark.skipif(not FILES.exists(), reason="counts open files as Linux shows them")
def test_many_nested_runs(here, monkeypatch, tmp_path):
    """Streams into nested runs leave no file open, nor anything in the journal; what is remembered is bounded."""
    monkeypatch.setattr(stream, "MOST_RUNS", 10)
    monkeypatch.setattr(clock, "MOST_IDLE", 10)
    metrics = MlflowMetricsDataSet(prefix="m")
    with mlflow.start_run():
        for number in range(40):
            with mlflow.start_run(nested=True) as run:
                metrics.save(iter([{"a": number}, {"a": number + 1}, {"a": number + 2}]))
                assert here.points(run.info.run_id) == {"m.a": [(0, number), (1, number + 1), (2, number + 2)]}
            assert open_journals() == []
    assert Journal(str(tmp_path)).runs() == []
    assert len(clock._clock.value.boxes) <= 12
    assert len(metrics._stream._progress) == 10


def test_parent_child_parent(here):
    """Steps are counted per run."""
    metrics = MlflowMetricsDataSet(prefix="m")
    with mlflow.start_run() as parent:
        metrics.save({"a": 1})
        with mlflow.start_run(nested=True) as child:
            metrics.save({"a": 10})
        metrics.save({"a": 2})
    assert here.points(parent.info.run_id) == {"m.a": [(0, 1), (1, 2)]}
    assert here.points(child.info.run_id) == {"m.a": [(0, 10)]}


def test_what_waits_is_forced_to_disk(here, mocker):
    """Once a second, by the clock, also while MLflow does not answer; a save does not wait for it."""
    metrics = MlflowMetricsDataSet(prefix="m")
    with mlflow.start_run():
        metrics.save({"a": 0})
        mocker.patch.object(outbox.Sender, "send", side_effect=TrackingError("away", code=""))
        forced = mocker.spy(os, "fsync")
        metrics.save({"a": 1})
        assert forced.call_count == 0
        until(lambda: forced.call_count, 5)
        before = forced.call_count
        metrics.save({"a": 2})
        until(lambda: forced.call_count > before, 5)
        (path,) = open_journals()
        assert all(call.args[0] > 2 for call in forced.call_args_list)
        assert path.startswith(str(Path.cwd()))
        mocker.stopall()
    metrics.load()


def test_an_outbox_that_sends_is_kept(here, mocker, monkeypatch):
    """However many other runs are saved to meanwhile, what it then puts into the journal is sent."""
    monkeypatch.setattr(clock, "MOST_IDLE", 1)
    metrics, others = MlflowMetricsDataSet(prefix="m"), MlflowMetricsDataSet(prefix="n")
    begun, may_fail, send = threading.Event(), threading.Event(), outbox.Sender.send

    def slow(sender, curves, **options):
        if curves[0].key != "m.slow":
            return send(sender, curves, **options)
        begun.set()
        may_fail.wait(20)
        mocker.stopall()
        raise TrackingError("away", code="")

    with mlflow.start_run() as run:
        metrics.save({"a": 0})
        target = metrics._stream.last
        mocker.patch.object(outbox.Sender, "send", slow)
        curve = Curve("m.slow", [1.0], [0], [7])
        thread = threading.Thread(target=clock.outbox(target).save, args=([curve], nullcontext))
        thread.start()
        begun.wait(20)
        for _ in range(3):
            with mlflow.start_run(nested=True):
                others.save({"b": 1})
        may_fail.set()
        thread.join()
        until(lambda: "m.slow" in here.points(run.info.run_id))
    until(lambda: open_journals() == [])


def test_a_save_that_comes_when_its_run_is_closed(here):
    """Another thread may hold the outbox still: what it puts into the journal is sent, and its file let go."""
    metrics = MlflowMetricsDataSet(prefix="m")
    with mlflow.start_run() as run:
        metrics.save({"a": 0})
        box = clock.outbox(metrics._stream.last)
        clock.close(box.target)
        box.save([Curve("m.late", [1.0], [0], [7])], nullcontext, collect=True)
        assert box.waiting
        until(lambda: "m.late" in here.points(run.info.run_id))
        clock._close(box)
    assert open_journals() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_fork_while_a_thread_reads():
    """Python looks for garbage in the child, though the thread that had stopped that is not there."""
    begun, may_end = threading.Event(), threading.Event()

    def reads():
        with process.uncollected():
            begun.set()
            may_end.wait(20)

    thread = threading.Thread(target=reads)
    thread.start()
    begun.wait(20)
    assert not gc.isenabled()
    if not (child := os.fork()):
        os._exit(0 if gc.isenabled() else 1)
    may_end.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_fork_waits_for_an_outbox_that_is_being_closed(here, mocker, monkeypatch):
    """Otherwise the child would inherit a request that is half way."""
    monkeypatch.setattr(outbox, "PATIENCE_SECONDS", 60)
    metrics, send_file = MlflowMetricsDataSet(prefix="m"), outbox.send_file
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(*arguments, **options):
        begun.set()
        may_end.wait(20)
        yield from send_file(*arguments, **options)
        ended.set()

    with mlflow.start_run() as run:
        metrics.save({"a": 0})
        box = clock.outbox(metrics._stream.last)
        mocker.patch.object(outbox, "send_file", slow)
        box.save([Curve("m.b", [1.0], [0], [7])], nullcontext, collect=True)
        thread = threading.Thread(target=clock.close, args=(box.target,))
        thread.start()
        begun.wait(20)
        threading.Timer(0.5, may_end.set).start()
        if not (child := os.fork()):
            os._exit(0)
        assert ended.is_set()
        os.waitpid(child, 0)
        thread.join()
        assert here.points(run.info.run_id)["m.b"] == [(0, 1.0)]
