"""How often MLflow is asked: counted at the store, on a real one."""

from __future__ import annotations

import mlflow
import pytest
from kedro.io import DatasetError

from kedro_mlflow_metrics import MlflowMetricsDataSet
from kedro_mlflow_metrics.points.curves import count
from kedro_mlflow_metrics.tracking.client import ClientStore


@pytest.fixture
def run(store):
    """An active run on a fresh SQLite store; its id."""
    mlflow.set_tracking_uri(store.uri)
    with mlflow.start_run(experiment_id="0") as active:
        yield active.info.run_id
    mlflow.set_tracking_uri(None)


@pytest.fixture
def metrics(run):
    return MlflowMetricsDataSet(prefix="m")


@pytest.fixture
def batches(mocker):
    """Return how many points each request so far had."""
    spy = mocker.spy(ClientStore, "log_batch")
    return lambda: [count(batch) for _store, _run_id, batch in (call.args for call in spy.call_args_list)]


@pytest.fixture
def reads(mocker):
    """Return how often the run was read, and how many histories."""
    spies = [mocker.spy(ClientStore, name) for name in ("get_run", "history")]
    return lambda: tuple(spy.call_count for spy in spies)


def held(run):
    """Ask MLflow's own client for the steps of the curve."""
    return sorted(point.step for point in mlflow.MlflowClient().get_metric_history(run, "m.a"))


def test_a_dict_is_one_request(run, metrics, batches):
    """Each save is one, and what it saved is in MLflow when it returns."""
    for number in range(5):
        metrics.save({"a": number, "b": {"c": number}})
        assert batches() == [2] * (number + 1)
        assert held(run) == list(range(number + 1))


def test_an_iterator_is_a_few(run, metrics, batches):
    """The first dict is sent at once, the rest together; all of it is in MLflow when the save returns."""

    def epochs():
        for number in range(200):
            if number == 1:
                assert (batches(), held(run)) == ([1], [0])
            yield {"a": number}

    metrics.save(epochs())
    first, *rest = batches()
    assert (first, sum(rest)) == (1, 199)
    assert 1 <= len(rest) < 10  # one a second
    assert held(run) == list(range(200))


def test_a_list_is_one(run, metrics, batches):
    """A list of dicts is there as a whole, so it is sent as one."""
    metrics.save([{"a": number} for number in range(200)])
    assert batches() == [200]
    assert held(run) == list(range(200))


def test_many_points_are_as_many_as_mlflow_needs(run, metrics, batches):
    """It takes 1,000 points in a request, whatever their keys."""
    metrics.save({"a": list(range(2500))})
    assert batches() == [1000, 1000, 500]
    assert held(run) == list(range(2500))
    metrics.save({"b": list(range(600)), "c": list(range(600))})
    assert batches()[3:] == [1000, 200]


@pytest.mark.parametrize("empty", [{}, [], {"a": []}, iter(())], ids=["dict", "list", "curve", "iterator"])
def test_nothing_is_none(metrics, batches, empty):
    """Where there is no point, MLflow is not asked."""
    metrics.save(empty)
    assert batches() == []


def test_a_refused_dict_is_none(metrics, batches):
    """All of a save is checked before any of it is sent."""
    with pytest.raises(DatasetError, match="metric 'b': got 'text'"):
        metrics.save([{"a": list(range(2500))}, {"b": "text"}])
    assert batches() == []


def test_a_save_reads_nothing(metrics, reads):
    """It knows its steps itself."""
    metrics.save({"a": [1, 2]})
    metrics.save({"a": 3})
    assert reads() == (0, 0)


@pytest.mark.parametrize(("form", "histories"), [("last", 0), ("auto", 3), ("points", 3), ("values", 3), ("frame", 3)])
def test_a_load_is_one_request_and_one_for_each_history(metrics, reads, form, histories):
    """The last values come with the run; every other form needs the history of each metric, of its own prefix alone."""
    metrics.save({"a": [1, 2], "b": 3, "c": 4})
    MlflowMetricsDataSet(prefix="other").save({"d": [5, 6]})
    loaded = MlflowMetricsDataSet(prefix="m", load_args={"as": form}).load()
    assert reads() == (1, histories)
    if form == "last":
        assert loaded == {"a": 2.0, "b": 3.0, "c": 4.0}


def test_to_look_whether_there_are_metrics_is_one(metrics, reads):
    """No history is asked for."""
    assert not metrics.exists()
    metrics.save({"a": [1, 2]})
    assert metrics.exists()
    assert reads() == (2, 0)
