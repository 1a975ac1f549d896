"""Points to Kubeflow's two forms; `kubeflow.rules`, written from its decoders, is the judge."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kedro_mlflow_metrics.errors import InvalidMetricsError, SettingsError
from kedro_mlflow_metrics.kubeflow import log_metrics, to_json
from kedro_mlflow_metrics.kubeflow.rules import check
from kedro_mlflow_metrics.kubeflow.v1 import names_of
from kedro_mlflow_metrics.kubeflow.v2 import executor_output
from kedro_mlflow_metrics.points.names import suggestion

# What MLflow takes as a name: whatever text, made one that it takes, many of them close to each other.
keys = st.one_of(
    st.text(min_size=1, max_size=80).map(suggestion),
    st.text("aA1._-/ é", min_size=1, max_size=4).map(suggestion),
    st.integers(50, 80).map(lambda length: "a" * length),
)
numbers = st.floats() | st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308, math.nan, math.inf])
steps = st.integers(-(2**63), 2**62)
times = st.integers(0, 253_402_300_799_999)
points = st.fixed_dictionaries({"value": numbers, "step": steps}, optional={"timestamp": times})
metrics = st.dictionaries(keys, numbers | st.lists(numbers | points, max_size=4), max_size=60)


def read(text):
    """Return name, value and format of each metric, by strict JSON."""
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return [(row["name"], row["numberValue"], row.get("format")) for row in document["metrics"]]


def flat(key):
    """Tell a key that makes no group and no field of a point."""
    return key not in ("value", "step", "timestamp")


@given(metrics, st.sampled_from(["", "my_model_metrics", "ns.métrics"]))
@example({"a": 1, "A": 2, "a-": 3, "a.": 4, "é": 5}, "")
@example({f"metric.{number}": number for number in range(60)}, "my_model_metrics")
def test_no_version_drops_anything(data, prefix):
    """Whatever MLflow takes becomes a file of which Kubeflow drops nothing; legacy names do so before 1.0 too."""
    data = {key: value for key, value in data.items() if flat(key)}
    for names, legacy in (("modern", False), ("legacy", True)):
        text = to_json(data, prefix=prefix, names=names, percentage="*a*", raw="*1*")
        assert check(text.encode(), legacy=legacy) == []
        finite = sum(last_finite(value) is not None for value in data.values())
        assert len(read(text)) == min(finite, 50)


def last_finite(value):
    """Work out the last finite value anew: by step, then timestamp, then value; numbers have consecutive steps."""
    rows, step, latest = [], 0, -1
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            step, number = item["step"], item["value"]
            when = item.get("timestamp")
        else:
            step, number, when = (max(taken for taken, *_ in rows) + 1 if rows else 0), item, None
        if when is None:
            higher = not rows or step > max(taken for taken, *_ in rows)
            when = 0 if higher else max(0, latest + 1)
        latest = max(latest, when)
        rows.append((step, when, number))
    finite = [row for row in rows if math.isfinite(row[2]) and abs(row[2]) < 1.7976931348623157e308]
    return max(finite)[2] if finite else None


@given(st.lists(numbers | points, max_size=6))
def test_the_last_finite_value_is_taken(values):
    """A metric stands in the file as its last finite value by step, then timestamp, then value; or not at all."""
    expected = last_finite(values)
    found = read(to_json({"loss": values}))
    assert found == ([] if expected is None else [("loss", expected, None)])


@given(st.lists(keys, unique=True, max_size=30), st.sampled_from(["modern", "legacy"]), st.randoms())
def test_the_same_keys_have_the_same_names(given_keys, names, random):
    """No two keys share a name, not even but for capitals, and their order changes nothing."""
    found = names_of(dict.fromkeys(given_keys, names))
    shuffled = list(given_keys)
    random.shuffle(shuffled)
    assert found == names_of(dict.fromkeys(shuffled, names))
    assert len({name.lower() for name in found.values()}) == len(given_keys)


@pytest.mark.parametrize(
    ("key", "modern", "legacy"),
    [
        ("my_model_metrics.metric1", "my_model_metrics-metric1", "my-model-metrics-metric1"),
        ("a", "a", "a"),
        ("A", "A", "a"),
        ("9", "m-9", "m-9"),
        ("a-", "a", "a"),
        ("a_", "a", "a"),
        ("-a", "a", "a"),
        ("a b/c:d", "a-b-c-d", "a-b-c-d"),
        ("précision", "precision", "precision"),
        ("損失", "metric", "metric"),
        ("a" * 63, "a" * 63, "a" * 63),
        ("a" * 64, "a" * 64, "a" * 64),
        ("a" * 65, "a" * 55 + "-11655326", "a" * 55 + "-11655326"),
        ("a" * 63 + "-", "a" * 63, "a" * 63),
        ("1" * 62, "m-" + "1" * 62, "m-" + "1" * 62),
        ("1" * 63, "m-" + "1" * 53 + "-cf06dd92", "m-" + "1" * 53 + "-cf06dd92"),
    ],
)
def test_a_name(key, modern, legacy):
    """A name is brought to each pattern, at its limits too; one that fits is left alone."""
    assert names_of({key: "modern"}) == {key: modern}
    assert names_of({key: "legacy"}) == {key: legacy}


def test_names_that_collide():
    """Who has its name already keeps it; the others end in a hash, those that differ in capitals too."""
    names = names_of(dict.fromkeys(["m.a", "m-a", "m a", "Acc", "acc"], "modern"))
    assert names == {"m-a": "m-a", "m.a": "m-a-d1e524e2", "m a": "m-a-8370bd10", "Acc": "Acc", "acc": "acc-5e942a22"}


def test_a_name_that_looks_like_a_hash():
    """A key that is already what another's hash would give gets its own name all the same."""
    keys = ["m.a", "m-a", "m-a-d1e524e2"]
    names = names_of(dict.fromkeys(keys, "modern"))
    assert names["m-a-d1e524e2"] == "m-a-d1e524e2"
    assert names["m.a"] == "m-a-d1e524e26"


def test_formats_and_order():
    """A format stands only where a glob names it; the declared order comes first, the rest by name."""
    data = {"zeta": 1, "loss": 2, "accuracy": 0.9, "alpha": 3}
    text = to_json(data, prefix="m", percentage=["accuracy"], raw="m.l*", order=["*loss", "acc*"])
    assert read(text) == [
        ("m-loss", 2, "RAW"),
        ("m-accuracy", 0.9, "PERCENTAGE"),
        ("m-alpha", 3, None),
        ("m-zeta", 1, None),
    ]


def test_fifty_are_kept(caplog):
    """Of more than 50 metrics the declared ones and then the first by name are kept; the others are named."""
    data = {f"metric_{number:02}": number for number in range(53)}
    found = read(to_json(data, order="metric_52"))
    assert [value for _, value, _ in found] == [52, *range(49)]
    assert "keeps 50 metrics of a run: metric_49, metric_50, metric_51;" in caplog.text


def test_what_is_not_finite_is_left_out(caplog):
    """A metric without a finite value stands in neither form, and one warning names it."""
    artifact = SimpleNamespace(metadata={"kept": 1})
    log_metrics({"nan": math.nan, "inf": [math.inf], "loss": [0.5, math.nan]}, artifact, prefix="m")
    assert artifact.metadata == {"kept": 1, "m.loss": 0.5}
    assert caplog.text.count("finite numbers only: m.nan, m.inf") == 1
    assert read(to_json({"nan": math.nan, "loss": 1})) == [("loss", 1, None)]


@given(metrics)
def test_metadata_is_what_kubeflow_takes(data):
    """Every value of a v2 artifact's metadata is a finite number, and no name is one of Kubeflow's own."""
    artifact = SimpleNamespace(metadata={})
    log_metrics({key: value for key, value in data.items() if flat(key)}, artifact)
    assert all(type(value) is float and math.isfinite(value) for value in artifact.metadata.values())
    assert not {"display_name", "store_session_info", "_kfp_workspace"} & set(artifact.metadata)
    json.dumps(artifact.metadata, allow_nan=False)


def test_reserved_names_are_left_out(caplog):
    """A metric under a name that Kubeflow uses itself is left out with a warning."""
    artifact = SimpleNamespace(metadata={})
    log_metrics({"display_name": 1, "loss": 2}, artifact)
    assert artifact.metadata == {"loss": 2}
    assert "uses these names itself: display_name; rename them" in caplog.text


@pytest.mark.parametrize("shape", [list, tuple, iter])
def test_what_save_takes(shape):
    """Several dicts are taken as `save` takes them: a number goes on at the next step."""
    assert read(to_json(shape([{"loss": 3}, {"loss": 2}, {"acc": {"val": 1}}]))) == [
        ("acc-val", 1, None),
        ("loss", 2, None),
    ]


def test_a_group_with_names():
    """A NamedTuple is a group, as for `save`, and no list."""

    class Scores(NamedTuple):
        acc: float
        loss: float

    assert read(to_json(Scores(0.5, 0.25))) == [("acc", 0.5, None), ("loss", 0.25, None)]


def test_bad_data_adds_nothing():
    """What is no metrics is refused as `save` refuses it, and the artifact stays as it was."""
    artifact = SimpleNamespace(metadata={})
    with pytest.raises(InvalidMetricsError, match="metric 'b': got 'text'"):
        log_metrics({"a": 1, "b": "text"}, artifact)
    assert artifact.metadata == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percent": "a"}, "there is no setting 'percent'; did you mean 'percentage'"),
        ({"names": "old"}, "'names': Input should be 'modern' or 'legacy'"),
        ({"order": 3}, "'order' is 3; accepted: a list"),
    ],
)
def test_refused_options(options, message):
    """A wrong option is one line that says what is accepted."""
    with pytest.raises(SettingsError, match=message) as caught:
        to_json({"a": 1}, **options)
    assert "\n" not in str(caught.value)


EXECUTOR_INPUT = {
    "outputs": {
        "outputFile": "output.json",
        "artifacts": {
            "model": {"artifacts": [{"name": "m", "uri": "gs://m", "type": {"schemaTitle": "system.Model"}}]},
            "scores": {"artifacts": [{"name": "s", "uri": "gs://s", "type": {"schemaTitle": "system.Metrics"}}]},
        },
    }
}


def test_executor_output_is_merged():
    """Parameters, other artifacts and earlier metadata of the executor's file stay."""
    known = {
        "parameterValues": {"epochs": 3},
        "artifacts": {
            "model": {"artifacts": [{"name": "m"}]},
            "scores": {"artifacts": [{"name": "s", "uri": "gs://t", "metadata": {"old": 1.0}}]},
        },
    }
    merged = executor_output(known, EXECUTOR_INPUT, None, {"loss": 0.5})
    assert merged == {
        "parameterValues": {"epochs": 3},
        "artifacts": {
            "model": {"artifacts": [{"name": "m"}]},
            "scores": {"artifacts": [{"name": "s", "uri": "gs://t", "metadata": {"old": 1.0, "loss": 0.5}}]},
        },
    }


def test_executor_output_begins():
    """Without a file yet, the artifact is the one that Kubeflow named."""
    assert executor_output({}, EXECUTOR_INPUT, "scores", {"loss": 0.5}) == {
        "artifacts": {"scores": {"artifacts": [{"name": "s", "uri": "gs://s", "metadata": {"loss": 0.5}}]}}
    }


@pytest.mark.parametrize(
    ("asked", "output", "message"),
    [
        (EXECUTOR_INPUT, "metrics", "no output artifact 'metrics'; accepted: model, scores"),
        ({}, "metrics", "accepted: it has none at all"),
        ({}, None, "has 0 outputs of type system.Metrics; name one with --output-name: it has no output artifacts"),
    ],
)
def test_executor_output_without_such_an_artifact(asked, output, message):
    """A task without the output is told which it has."""
    with pytest.raises(InvalidMetricsError, match=message):
        executor_output({}, asked, output, {})
