"""What every store of MLflow does alike: over HTTP on a real server, in SQLite and in PostgreSQL."""

from __future__ import annotations

import gc
import math
import shutil
from uuid import uuid4

import mlflow
import pytest
from mlflow import MlflowClient

from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.points.curves import Curve
from kedro_mlflow_metrics.points.forms import unclamped
from kedro_mlflow_metrics.tracking import rest, runs
from kedro_mlflow_metrics.tracking.address import Server
from kedro_mlflow_metrics.tracking.connect import open_store
from kedro_mlflow_metrics.tracking.store import NEWEST_FIRST, OLDEST_FIRST, RunInfo

NOW = 1_700_000_000_000
NOBODY = "0" * 32
HOLDS = [
    Curve("loss", [0.5, -0.25, 1e-300], [0, 1, 2], [NOW, NOW + 1, NOW + 2]),
    Curve("nan", [math.nan], [0], [NOW]),
    Curve("infinities", [math.inf, -math.inf], [0, 1], [NOW, NOW]),
    Curve("größe/精度 :1", [1.0], [7], [0]),
    Curve("é" * 250, [2.0], [0], [NOW]),
    Curve("edges", [3.0, 4.0], [-(2**63), 2**63 - 1], [0, 2**63 - 1]),
    Curve("a step twice", [5.0, 6.0], [3, 3], [NOW, NOW + 1]),
]


@pytest.fixture(scope="module", params=["rest", "sqlite", "postgresql"])
def address(request, tmp_path_factory, empty_store):
    """The address of each kind of store."""
    if request.param == "rest":
        return request.getfixturevalue("server")[0]
    if request.param == "postgresql":
        return request.getfixturevalue("database")[0]
    path = tmp_path_factory.mktemp("stores") / "mlflow.db"
    shutil.copy(empty_store, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def opened(address):
    return open_store(Server(address))


@pytest.fixture(scope="module")
def client(address):
    """MLflow's own client, for what ours does not do or say."""
    return MlflowClient(address)


@pytest.fixture
def experiment(opened):
    return opened.create_experiment(f"stores {uuid4().hex}")


@pytest.fixture
def run(opened, experiment):
    return opened.create_run(experiment, "a run", {}, NOW).run_id


def rows(points):
    """Return points in an order of their own; by repr, for NaN is not equal to itself."""
    return sorted(repr(point._replace(value=unclamped(point.value))) for point in points)


def refused(code, attempt, *arguments):
    """Expect a refusal of one line, for good."""
    with pytest.raises(TrackingError) as error:
        attempt(*arguments)
    assert error.value.code == code
    assert not error.value.outage
    assert not error.value.credentials
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def taken(opened, name):
    """Expect that no experiment of this name is created; who asks for it finds the one that is there."""
    before = opened.experiment(name)
    with pytest.raises(TrackingError) as error:
        opened.create_experiment(name)
    # Of a database in process MLflow 2 says no more than that a unique key is taken.
    assert error.value.code in ("RESOURCE_ALREADY_EXISTS", "")
    assert opened.experiment(name) == before


class TestStore:
    def test_an_experiment(self, opened):
        """One that is not there is None; one that was created has its id and is active."""
        name = f"expérience {uuid4().hex}"
        assert opened.experiment(name) is None
        ident = opened.create_experiment(name, {"größe": "2 m"})
        assert opened.experiment(name) == (ident, "active", {"größe": "2 m"})

    def test_an_experiment_that_is_there(self, opened):
        """Its name is taken."""
        name = uuid4().hex
        opened.create_experiment(name)
        taken(opened, name)

    def test_a_deleted_experiment(self, opened):
        """It is found as deleted; its name is taken, and runs in it are refused for good."""
        name = uuid4().hex
        ident = opened.create_experiment(name)
        opened.delete_experiment(ident)
        assert opened.experiment(name) == (ident, "deleted", {})
        taken(opened, name)
        refused("INVALID_PARAMETER_VALUE", opened.create_run, ident, "a run", {}, NOW)

    def test_a_new_run(self, opened, client, experiment):
        """It is running, has its name, start, user and tags, and no metrics."""
        tags = {"mlflow.user": "ann", "größe": "2 m", "empty": ""}
        made = opened.create_run(experiment, "ein Lauf", tags, NOW)
        assert (made.experiment_id, made.run_name, made.start_time) == (experiment, "ein Lauf", NOW)
        assert (made.status, made.user_id, made.lifecycle_stage) == ("RUNNING", "ann", "active")
        assert made.artifact_uri
        assert opened.get_run(made.run_id) == (made, [])
        assert client.get_run(made.run_id).data.tags.items() >= tags.items()

    def test_an_unknown_run(self, opened, address):
        """Whoever asks for it, or writes to it, is told where it is not."""
        for attempt in (
            lambda: opened.get_run(NOBODY),
            lambda: opened.end_run(NOBODY, "FINISHED", NOW),
            lambda: opened.delete_run(NOBODY),
            lambda: opened.log_batch(NOBODY, HOLDS),
        ):
            assert refused("RESOURCE_DOES_NOT_EXIST", attempt).startswith(f"{Server(address).where} refused: ")

    @pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
    def test_the_end_of_a_run(self, opened, client, run, status):
        """Status and end time are those given; the rest of the run stays as it was."""
        before, _ = opened.get_run(run)
        opened.end_run(run, status, NOW + 5)
        assert opened.get_run(run) == (before._replace(status=status, end_time=NOW + 5), [])
        assert client.get_run(run).info.end_time == NOW + 5

    def test_a_deleted_run(self, opened, run):
        """It is there still, as deleted, and takes no points."""
        opened.delete_run(run)
        assert opened.get_run(run)[0].lifecycle_stage == "deleted"
        refused("INVALID_PARAMETER_VALUE", opened.log_batch, run, HOLDS)
        assert opened.get_run(run)[1] == []

    def test_search(self, opened, experiment):
        """Runs of this experiment that the expression chooses, oldest or newest first, deleted ones only if asked."""
        opened.create_run(opened.create_experiment(uuid4().hex), "elsewhere", {"kedro.key": "a"}, NOW)
        for name, tag, start in (("second", "a", 2), ("third", "a", 3), ("first", "a", 1), ("other", "b", 0)):
            made = opened.create_run(experiment, name, {"kedro.key": tag}, NOW + start)
            if name == "second":
                opened.delete_run(made.run_id)

        def found(where, order, **options):
            return [each.run_name for each, _ in opened.search(experiment, where, order, **options)]

        where = "tags.`kedro.key` = 'a'"
        assert found(where, OLDEST_FIRST) == ["first", "third"]
        assert found(where, NEWEST_FIRST) == ["third", "first"]
        assert found(where, OLDEST_FIRST, deleted=True) == ["first", "second", "third"]
        assert found(where, NEWEST_FIRST, deleted=True) == ["third", "second", "first"]
        assert found("", OLDEST_FIRST) == ["other", "first", "third"]
        assert found("tags.`kedro.key` = 'c'", OLDEST_FIRST) == []
        stages = [each.lifecycle_stage for each, _ in opened.search(experiment, where, OLDEST_FIRST, deleted=True)]
        assert stages == ["active", "deleted", "active"]

    def test_a_search_gives_ten(self, opened, experiment):
        """The first ten, each as `get_run` has it."""
        made = [opened.create_run(experiment, f"run {number}", {}, NOW + number) for number in range(12)]
        assert opened.search(experiment, "", OLDEST_FIRST) == [(each, []) for each in made[:10]]
        assert opened.search(experiment, "", NEWEST_FIRST) == [(each, []) for each in made[:1:-1]]
        opened.log_batch(made[3].run_id, HOLDS)
        found = [{point.key for point in latest} for _, latest in opened.search(experiment, "", OLDEST_FIRST, 4)]
        assert found == [set(), set(), set(), {curve.key for curve in HOLDS}]

    def test_points(self, opened, run):
        """NaN, infinities, keys of any script and full length, and steps and times at their limits come back."""
        opened.log_batch(run, HOLDS)
        for curve in HOLDS:
            assert rows(opened.history(run, curve.key)) == rows(curve)
        latest = {point.key: point for point in opened.get_run(run)[1]}
        assert latest.keys() == {curve.key for curve in HOLDS}
        assert rows(latest.values()) == rows(list(curve)[-1] for curve in HOLDS)

    def test_tags_and_parameters(self, opened, experiment):
        """Those of a run, whatever is in them; a parameter that is written again with its value is no error."""
        tags, params = {"größe": "2 m\nzwei", "empty": ""}, {f"p {number}": f"größe\n{number}" for number in range(100)}
        made = opened.create_run(experiment, "a run", tags, NOW).run_id
        for _ in range(2):
            opened.log_params(made, params)
        found = opened.described(made)
        assert found[0].items() >= tags.items()
        assert found[1] == params

    def test_no_points(self, opened, run):
        """A metric that was never logged has none."""
        assert len(opened.history(run, "nothing")) == 0

    def test_the_largest_batch(self, opened, run):
        """1,000 points, of one key or of many."""
        one = Curve("one", [step / 3 for step in range(1000)], range(1000), [NOW] * 1000)
        many = [Curve(f"key {number}", [number / 7], [number], [NOW]) for number in range(1000)]
        opened.log_batch(run, [one])
        opened.log_batch(run, many)
        assert rows(opened.history(run, "one")) == rows(one)
        assert rows(opened.get_run(run)[1]) == rows([list(one)[-1], *(point for curve in many for point in curve)])

    def test_a_history_of_several_pages(self, opened, run, monkeypatch):
        """All of it comes, however many a request gives."""
        monkeypatch.setattr(rest, "_PAGE", 70)
        curve = Curve("loss", [step / 3 for step in range(280)], range(280), [NOW] * 280)
        opened.log_batch(run, [curve])
        assert rows(opened.history(run, "loss")) == rows(curve)

    @pytest.mark.parametrize("collects", [True, False])
    def test_garbage_is_not_looked_for(self, opened, experiment, run, mocker, collects):
        """Python does not search what is read for it; before and after, and after a refusal, it does what it did."""
        opened.log_batch(run, HOLDS)
        if not collects:
            gc.disable()
        try:
            stopped, started = mocker.spy(gc, "disable"), mocker.spy(gc, "enable")
            opened.search(experiment, "", NEWEST_FIRST)
            opened.history(run, HOLDS[0].key)
            with pytest.raises(TrackingError):
                opened.search(experiment, "nonsense.a = 5", NEWEST_FIRST)
            assert gc.isenabled() is collects
            assert stopped.call_count == started.call_count
            assert (stopped.call_count > 2) is collects
        finally:
            gc.enable()

    def test_a_batch_that_is_sent_twice(self, opened, run):
        """Its points are there once; a store that refuses them says that they are there."""
        batch = [curve for curve in HOLDS if curve.key != "nan"]
        opened.log_batch(run, batch)
        try:
            opened.log_batch(run, batch)
        except TrackingError as exc:
            assert exc.code == TrackingError.ALREADY_THERE  # noqa: PT017 - newer versions take it
        for curve in batch:
            assert rows(opened.history(run, curve.key)) == rows(curve)

    @pytest.mark.newest
    def test_a_model_that_is_active(self, opened, client, address, run):
        """Points are linked to no model, whatever `mlflow.set_active_model` or autologging says."""
        mlflow.set_tracking_uri(address)
        try:
            model = client.create_logged_model("0").model_id
            mlflow.set_active_model(model_id=model)
            opened.log_batch(run, HOLDS)
        finally:
            mlflow.clear_active_model()
            mlflow.set_tracking_uri(None)
        assert not client.get_logged_model(model).metrics

    def test_points_of_an_ended_run(self, opened, run):
        """They are taken: what waited is sent when the run is over, and its status stays."""
        opened.end_run(run, "FAILED", NOW)
        opened.log_batch(run, HOLDS[:1])
        info, latest = opened.get_run(run)
        assert info.status == "FAILED"
        assert rows(latest) == rows([list(HOLDS[0])[-1]])


@pytest.mark.parametrize("uri", ["sqlite:///{}/gone/mlflow.db", "file://{}/gone/mlruns"])
def test_a_store_that_is_not_there(tmp_path, monkeypatch, uri):
    """Only what is needed for a new run makes it; whatever else is asked leaves nothing anywhere."""
    monkeypatch.chdir(tmp_path)
    server = Server(uri.format(tmp_path))
    for ask in (
        lambda store: store.get_run(NOBODY),
        lambda store: store.experiment("x"),
        lambda store: store.log_batch(NOBODY, HOLDS),
        lambda store: store.end_run(NOBODY, "FINISHED", NOW),
    ):
        with pytest.raises(TrackingError) as error:
            ask(open_store(server))
        assert str(error.value).startswith(f"there is no store at {server.uri}; ")
        assert error.value.outage
    for look in (lambda: runs.look_at(server, NOBODY), lambda: runs.search(server, "", "x", 1)):
        with pytest.raises(TrackingError, match=r"^there is no store at "):
            look()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["sqlite:///{}/mlflow.db", "file://{}/mlruns"])
def test_a_store_that_is_deleted(tmp_path, monkeypatch, uri):
    """It is made for a run, and not made again by whatever is still to be sent to that run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    server = Server(uri.format(tmp_path / "there"))
    made = runs.find_or_create(server, RunInfo("", runs.experiment_id(server, "x"), "a run"), {"t": "1"}, "t", new=True)
    (tmp_path / "there").rename(tmp_path / "aside")
    before = sorted(tmp_path.iterdir())
    for _ in range(2):
        with pytest.raises(TrackingError, match=r"^there is no store at "):
            open_store(server).log_batch(made.run_id, HOLDS[:1])
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "aside").rename(tmp_path / "there")
    open_store(server).log_batch(made.run_id, HOLDS[:1])
    assert rows(open_store(server).history(made.run_id, "loss")) == rows(HOLDS[0])
