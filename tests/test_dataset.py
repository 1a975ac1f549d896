"""The dataset alone, on real stores: what is saved comes back."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import mlflow
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kedro.io import CachedDataset, DataCatalog, DatasetError

from kedro_mlflow_metrics import MlflowMetricsDataSet, MlflowMetricsDataset
from kedro_mlflow_metrics.project import catalog as catalogs
from kedro_mlflow_metrics.project.binding import Binding


@pytest.fixture
def run(store) -> Iterator[mlflow.ActiveRun]:
    """An active MLflow run on a fresh SQLite store."""
    mlflow.set_tracking_uri(store.uri)
    with mlflow.start_run(experiment_id="0") as active:
        yield active
    mlflow.set_tracking_uri(None)


class Scores(NamedTuple):
    accuracy: float
    f1: float


def saved(data, prefix="m", **load_args):
    MlflowMetricsDataSet(prefix=prefix).save(data)
    return MlflowMetricsDataSet(prefix=prefix, load_args=load_args or None).load()


def with_separator(separator):
    """Return a dataset as the hook of a project with this setting would bind it."""
    dataset = MlflowMetricsDataSet(prefix="m")
    dataset.bind(Binding(given="m", separator=separator))
    return dataset


class TestLoad:
    def test_auto(self, run):
        """One point at step 0 is the number, one elsewhere a point, several a list."""
        assert saved({"one": 0.5, "at": {"value": 1, "step": 7}, "two": [1, 2]}) == {
            "one": 0.5,
            "at": {"value": 1.0, "step": 7},
            "two": [{"value": 1.0, "step": 0}, {"value": 2.0, "step": 1}],
        }

    @pytest.mark.parametrize(
        ("form", "expected"),
        [
            (
                "points",
                {
                    "a": [{"value": 3.0, "step": 0}],
                    "b": [{"value": 1.0, "step": 0}, {"value": 2.0, "step": 1}],
                },
            ),
            ("values", {"a": [3.0], "b": [1.0, 2.0]}),
            ("last", {"a": 3.0, "b": 2.0}),
        ],
    )
    def test_forms(self, run, form, expected):
        """`as` chooses the form."""
        assert saved({"a": 3, "b": [1, 2]}, **{"as": form}) == expected

    @pytest.mark.parametrize(("logged", "read"), [("/", "."), (".", "/")])
    def test_the_other_separator(self, run, logged, read):
        """What was logged before the setting changed loads all the same; what stands under the new one comes first."""
        with_separator(logged).save({"a": 0.5})
        dataset = with_separator(read)
        assert dataset.load() == {"a": 0.5}
        assert dataset.exists()
        dataset.save({"a": 0.7})
        assert dataset.load() == {"a": 0.7}

    def test_frame(self, run):
        """`frame` has all points, a step that was logged twice too."""
        frame = saved({"a": [{"value": 1, "step": 0}, {"value": 2, "step": 0}]}, **{"as": "frame"})
        assert list(frame.columns) == ["key", "step", "value", "timestamp"]
        assert frame[["key", "step", "value"]].values.tolist() == [["a", 0, 1.0], ["a", 0, 2.0]]
        assert frame["timestamp"].diff().iloc[1] == 1

    def test_a_step_logged_twice_loads_as_its_latest(self, run):
        """The later one counts, also where it is smaller."""
        assert saved({"a": [{"value": 0.9, "step": 3}, {"value": 0.1, "step": 3}]}) == {"a": {"value": 0.1, "step": 3}}

    def test_infinities_and_nan(self, run):
        """They come back as they went."""
        back = saved({"up": math.inf, "down": -math.inf, "nan": math.nan})
        assert (back["up"], back["down"]) == (math.inf, -math.inf)
        assert math.isnan(back["nan"])

    def test_prefixes_do_not_mix(self, run):
        """Prefix `a` never sees `ab.x`; dataset `model` never sees those of `model.metrics`."""
        pair = {
            "model": MlflowMetricsDataSet(),
            "model.metrics": MlflowMetricsDataSet(),
            "rest": MlflowMetricsDataSet(prefix=""),
        }
        catalog = DataCatalog(pair)
        catalogs.remember(catalog)
        MlflowMetricsDataSet(prefix="ab").save({"x": 1})
        MlflowMetricsDataSet(prefix="a").save({"y": 2})
        catalog.save("model", {"acc": 1})
        catalog.save("model.metrics", {"acc": 2})
        assert MlflowMetricsDataSet(prefix="a").load() == {"y": 2.0}
        assert catalog.load("model") == {"acc": 1.0}
        assert catalog.load("model.metrics") == {"acc": 2.0}
        assert catalog.load("rest") == {"ab.x": 1.0, "a.y": 2.0}

    def test_by_run_id(self, run):
        """An entry with a run_id reads and writes that run, active or not."""
        other = mlflow.MlflowClient().create_run("0").info.run_id
        dataset = MlflowMetricsDataSet(prefix="m", run_id=other)
        assert not dataset.exists()
        dataset.save({"a": 1})
        assert dataset.exists()
        assert dataset.load() == {"a": 1.0}
        assert mlflow.get_run(run.info.run_id).data.metrics == {}

    def test_nothing_there(self, run, store):
        """No such metrics: the error says what was looked for, and where."""
        with pytest.raises(DatasetError) as error:
            MlflowMetricsDataSet(prefix="m").load()
        assert str(error.value) == (
            f"the run {run.info.run_id} in MLflow at {store.uri} has no metrics that start with 'm.'"
        )

    def test_no_run(self, store):
        """No run: nothing is created."""
        mlflow.set_tracking_uri(store.uri)
        with pytest.raises(DatasetError) as error:
            MlflowMetricsDataSet(prefix="m").load()
        assert str(error.value) == (
            "there is no MLflow run to load from; give the entry a run_id, start the pipeline with "
            "--params mlflow_run_id=..., or save metrics first"
        )
        assert not MlflowMetricsDataSet(prefix="m").exists()
        assert store.runs == []
        mlflow.set_tracking_uri(None)


class TestSave:
    def test_a_bad_last_key_logs_nothing(self, run, store):
        """All of a save is checked before any of it is written."""
        with pytest.raises(DatasetError) as error:
            MlflowMetricsDataSet(prefix="m").save([{"a": list(range(3000))}, {"b": 1, "c": "bad"}])
        assert str(error.value).startswith("dict 1, metric 'c': got 'bad' (str); accepted: a number; ")
        assert store.points() == {}

    def test_steps_go_on(self, run, store):
        """From save to save; a fresh object, as in a retried task, begins again."""
        dataset = MlflowMetricsDataSet(prefix="m")
        dataset.save({"a": [1, 2]})
        with pytest.raises(DatasetError):
            dataset.save({"a": 9, "b": None})
        dataset.save({"a": 3})
        dataset.save([{"a": 4}, {"a": 5}])
        assert store.points() == {"m.a": [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0), (4, 5.0)]}
        pickle.loads(pickle.dumps(dataset)).save({"a": 6})
        assert store.points()["m.a"][:2] == [(0, 1.0), (0, 6.0)]

    def test_iterator(self, run, store):
        """Each mapping is logged as it comes; what came before an error stays."""

        def epochs():
            yield {"a": 1}
            assert store.points() == {"m.a": [(0, 1.0)]}
            yield {"a": 2}
            raise RuntimeError("boom")

        with pytest.raises(DatasetError, match="boom") as error:
            MlflowMetricsDataSet(prefix="m").save(epochs())
        assert isinstance(error.value.__cause__, RuntimeError)
        assert store.points() == {"m.a": [(0, 1.0), (1, 2.0)]}

    def test_on_invalid_warn(self, run, store, caplog):
        """The bad mapping is left out and named in one warning."""
        dataset = MlflowMetricsDataSet(prefix="m", save_args={"on_invalid": "warn"})
        dataset.save(iter([{"a": 1}, {"a": 2, "b": "x"}, {"a": 3}]))
        assert store.points() == {"m.a": [(0, 1.0), (1, 3.0)]}
        (record,) = [record for record in caplog.records if record.name == "kedro.mlflow_metrics"]
        assert record.getMessage().startswith("metric 'b': got 'x' (str)")
        assert record.getMessage().endswith("; nothing of this dict is logged")

    def test_a_name_that_mlflow_does_not_take(self, run, store, caplog):
        """It is logged as the nearest one and said once, however often it is saved; ``names: exact`` refuses it."""
        dataset = MlflowMetricsDataSet(prefix="m")
        dataset.save(iter([{"hits@10": 0.5}, {"hits@10": 0.6}]))
        dataset.save({"hits@10": 0.7})
        assert store.points() == {"m.hits_10": [(0, 0.5), (1, 0.6), (2, 0.7)]}
        (record,) = [record for record in caplog.records if record.name == "kedro.mlflow_metrics"]
        assert record.getMessage() == (
            "metric 'hits@10' is logged as 'm.hits_10': MLflow takes letters, digits, spaces and _ - . : / in a name; "
            "'save_args: {names: exact}' refuses such a name instead"
        )
        with pytest.raises(DatasetError) as error:
            MlflowMetricsDataSet(prefix="m", save_args={"names": "exact"}).save({"hits@10": 0.8})
        assert str(error.value) == (
            "metric 'hits@10': MLflow does not take this name; it takes letters, digits, spaces and _ - . : /, as in "
            "'hits_10'"
        )
        with pytest.raises(DatasetError, match="names has no 'exactly'; accepted: nearest, exact; did you"):
            MlflowMetricsDataSet(save_args={"names": "exactly"})

    def test_a_name_of_a_dict_that_is_left_out(self, run, store, caplog):
        """Of a dict that is left out nothing is said but that, and its names take no other's place."""
        dataset = MlflowMetricsDataSet(prefix="m", save_args={"on_invalid": "warn"})
        dataset.save([{"hits@10": 1, "bad": None}, {"hits_10": 2}])
        assert store.points() == {"m.hits_10": [(0, 2.0)]}
        (record,) = [record for record in caplog.records if record.name == "kedro.mlflow_metrics"]
        assert record.getMessage().startswith("dict 0, metric 'bad': got None")

    def test_a_named_tuple(self, run, store):
        """In place of the dict it is one, not a list of dicts."""
        MlflowMetricsDataSet(prefix="m").save(Scores(0.9, 0.8))
        assert store.points() == {"m.accuracy": [(0, 0.9)], "m.f1": [(0, 0.8)]}

    def test_empty(self, store):
        """Empty containers log nothing and open no run."""
        mlflow.set_tracking_uri(store.uri)
        for empty in ({}, [], {"a": []}, {"a": {}}, iter(())):
            MlflowMetricsDataSet(prefix="m").save(empty)
        assert store.runs == []
        mlflow.set_tracking_uri(None)

    def test_without_a_run_opens_one(self, store):
        """MLflow's fluent rule: a new run becomes active."""
        mlflow.set_tracking_uri(store.uri)
        dataset = MlflowMetricsDataSet()
        dataset.save({"a": 1})
        assert mlflow.active_run().info.run_id == store.run["run_uuid"]
        mlflow.end_run()
        assert dataset.load() == {"a": 1.0}
        assert store.points() == {"a": [(0, 1.0)]}
        mlflow.set_tracking_uri(None)

    def test_batches(self, run, store):
        """More points than one batch, of several keys, all arrive."""
        MlflowMetricsDataSet(prefix="m").save([{"a": 1, "b": [1, 2]} for _ in range(1500)])
        points = store.points()
        assert [step for step, _ in points["m.a"]] == list(range(1500))
        assert [step for step, _ in points["m.b"]] == list(range(3000))

    def test_server(self, server):
        """The same over http, with NaN, infinities, non-ASCII names of full length and more than one batch."""
        uri, store = server
        mlflow.set_tracking_uri(uri)
        with mlflow.start_run(experiment_id="0") as active:
            dataset = MlflowMetricsDataSet(prefix="m")
            long = "é" * 248
            dataset.save({"a": list(range(2500)), "n": [math.nan, math.inf, -math.inf], long: list(range(1200))})
            back = dataset.load()
        mlflow.set_tracking_uri(None)
        assert [point["value"] for point in back["a"]] == list(range(2500))
        assert math.isnan(back["n"][0]["value"])
        assert [point["value"] for point in back["n"][1:]] == [math.inf, -math.inf]
        assert len(back[long]) == 1200
        assert sum(map(len, store.points(active.info.run_id).values())) == 3703

    def test_cached(self, run, store):
        """In a CachedDataset it saves and loads; an iterator is refused before its first item."""
        catalog = DataCatalog({"c": CachedDataset(MlflowMetricsDataSet())})
        catalogs.remember(catalog)
        catalog.save("c", {"a": 1})
        assert store.points() == {"c.a": [(0, 1.0)]}
        items = iter([{"a": 2}])
        with pytest.raises(DatasetError, match="an iterator cannot be cached"):
            catalog.save("c", items)
        assert next(items) == {"a": 2}


ONE = [
    (0.93, "auto", 0.93),
    ([0.7, 0.4], "values", [0.7, 0.4]),
    ({0: 0.1, 20: 0.01}, "points", [{"value": 0.1, "step": 0}, {"value": 0.01, "step": 20}]),
    ({"value": 0.5, "step": 3}, "auto", {"value": 0.5, "step": 3}),
    ([{"value": 0.5, "step": 3, "timestamp": 7}, {"value": 0.4, "step": 5}], "last", 0.4),
    (Fraction(1, 2), "last", 0.5),
    (iter([0.5, {"value": 0.25, "step": 4}, [0.1]]), "values", [0.5, 0.25, 0.1]),
]


class TestKey:
    @pytest.mark.parametrize(("data", "form", "loaded"), ONE)
    def test_one_metric(self, run, store, data, form, loaded):
        """With `key` the data is one metric of that name, in each form that a metric may have, and loads as such."""
        metric = MlflowMetricsDataSet(key="test.r2", load_args={"as": form})
        assert not metric.exists()
        MlflowMetricsDataSet(prefix="test.r2").save({"other": 7})
        MlflowMetricsDataSet(prefix="").save({"test.r22": 8})
        assert not metric.exists()
        metric.save(data)
        assert pickle.loads(pickle.dumps(metric)).load() == loaded
        assert set(store.points()) == {"test.r2", "test.r2.other", "test.r22"}
        assert set(MlflowMetricsDataSet(key="test.r2", load_args={"as": "frame"}).load()["key"]) == {"test.r2"}

    def test_nothing_there(self, run):
        """It names the metric."""
        with pytest.raises(DatasetError, match=r"the run \w+ in MLflow at .* has no metric 'a'$"):
            MlflowMetricsDataSet(key="a").load()

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (
                {"a": 1},
                "the entry is one metric, 'r2', and got a dict of several; return a number or a list of numbers, ",
            ),
            ([None], "metric 'r2', position 0: got None; accepted: a number"),
            (pl.DataFrame({"a": [1, 2]}), "metric 'r2': "),
            ({"value": 1, "stpe": 2}, "metric 'r2': a point has no field 'stpe' (str); "),
        ],
    )
    def test_refused(self, run, store, data, message):
        """What is no metric is refused, and nothing is logged."""
        with pytest.raises(DatasetError) as error:
            MlflowMetricsDataSet(key="r2").save(data)
        assert str(error.value).startswith(message)
        assert store.points() == {}


class TestConstructor:
    def test_aliases(self):
        """Both spellings are one class."""
        assert MlflowMetricsDataSet is MlflowMetricsDataset

    def test_pickles_and_describes(self):
        """It pickles, keeps metadata, and describes itself without network."""
        dataset = MlflowMetricsDataSet(prefix="p", metadata={"team": 1})
        copy = pickle.loads(pickle.dumps(dataset))
        assert copy.metadata == {"team": 1}
        assert "MlflowMetricsDataSet(" in str(copy)
        assert copy._describe() == {
            "name": None,
            "prefix": "p",
            "run_id": None,
            "run": None,
            "where": None,
            "filepath": None,
            "load_args": {"as": "auto"},
            "save_args": {"on_invalid": "raise", "names": "nearest", "kubeflow": {}},
        }

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"prefix": 3}, "'prefix' is 3 (int); accepted: text, or null"),
            ({"key": ""}, "'key' is ''; accepted: the whole name of a metric, and no 'prefix' beside it"),
            (
                {"key": "a", "prefix": ""},
                "'key' is 'a'; accepted: the whole name of a metric, and no 'prefix' beside it",
            ),
            (
                {"load_args": {"as": "value"}},
                "load_args: as has no 'value'; accepted: auto, points, values, last, frame; did you mean 'values'?",
            ),
            ({"load_args": {"has": 1}}, "load_args has no 'has'; accepted: as; did you mean 'as'?"),
            (
                {"save_args": {"on_invalid": "skip"}},
                "save_args: on_invalid has no 'skip'; accepted: raise, warn",
            ),
        ],
    )
    def test_refused(self, arguments, message):
        """A wrong argument is one line with a close match."""
        with pytest.raises(DatasetError) as error:
            MlflowMetricsDataSet(**arguments)
        assert str(error.value) == message

    def test_versioned(self):
        """`versioned: true` is refused with the reason."""
        entry = {"m": {"type": "kedro_mlflow_metrics.MlflowMetricsDataSet", "versioned": True}}
        with pytest.raises(DatasetError, match="every MLflow run is a version of its metrics; remove 'versioned'"):
            DataCatalog.from_config(entry).load("m")


def expected(value):
    """What the documentation says that load gives for what was saved."""
    points = {}
    top = -1
    for item in value if isinstance(value, list) else [value]:
        step = item.get("step", top + 1) if isinstance(item, dict) else top + 1
        points[step] = float(item["value"] if isinstance(item, dict) else item)
        top = max(points)
    listed = [{"value": points[step], "step": step} for step in sorted(points)]
    if len(listed) > 1:
        return listed
    return listed[0]["value"] if listed[0]["step"] == 0 else listed[0]


numbers = st.floats(width=64).filter(lambda x: abs(x) != 1.7976931348623157e308).map(lambda x: x + 0.0) | st.integers(
    -(2**60), 2**60
)
one_point = st.fixed_dictionaries({"value": numbers}, optional={"step": st.integers(0, 2**40)})
metrics = numbers | one_point | st.lists(numbers | one_point, min_size=1, max_size=6)
names = st.text("abcXYZ_09é", min_size=1, max_size=12).filter(lambda name: name not in ("step",))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.dictionaries(names, metrics, min_size=1, max_size=5))
def test_load_after_save(store, data):
    """load(save(x)) == x, under the rules of the table, NaN and infinities included."""
    mlflow.set_tracking_uri(store.uri)
    with mlflow.start_run(experiment_id="0"):
        dataset = MlflowMetricsDataSet(prefix="m")
        dataset.save(data)
        back = dataset.load()
    mlflow.set_tracking_uri(None)
    assert repr(back) == repr({name: expected(data[name]) for name in sorted(data)})
