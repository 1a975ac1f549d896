"""Which metric names are taken, which are refused, and what is suggested instead."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from kedro_mlflow_metrics.errors import InvalidMetricsError
from kedro_mlflow_metrics.points.names import MAX_LENGTH, check_prefix, logged_as, suggestion

TAKES = "MLflow does not take this name; it takes letters, digits, spaces and _ - . : /, as in"
LONG = "x" * MAX_LENGTH
NAMES = st.text(st.sampled_from("ab.é/_- [\n:*"), max_size=12) | st.text(max_size=300)


@pytest.mark.parametrize(
    "name",
    ["loss", "val.loss", "val/loss", "top 5", "a-b_c", "größe", "精度", ".a", "a..b", "a/...", LONG],
    ids=[
        "plain",
        "dot",
        "slash",
        "space",
        "dashes",
        "umlaut",
        "chinese",
        "leading-dot",
        "dots",
        "tail",
        "250",
    ],
)
def test_a_name_that_mlflow_takes_is_accepted(name):
    """Letters of any script, digits, spaces and ``_ - . /`` are taken, up to 250 characters."""
    assert logged_as(name, exact=True) == name


@pytest.mark.parametrize(
    ("name", "shown", "instead"),
    [
        ("a%", "'a%'", "'a_'"),
        ("a[0]", "'a(0)'", "'a_0_'"),
        ("a\n", r"'a\n'", "'a_'"),
        ("a\tb", r"'a\tb'", "'a_b'"),
        (".", "'.'", "'metric'"),
        ("..", "'..'", "'metric'"),
        ("../a", "'../a'", "'a'"),
        ("...", "'...'", "'metric'"),
        ("..a", "'..a'", "'a'"),
        ("/a", "'/a'", "'a'"),
        ("a/", "'a/'", "'a'"),
        ("a//b", "'a//b'", "'a/b'"),
        ("a/./b", "'a/./b'", "'a/b'"),
        ("a/../b", "'a/../b'", "'b'"),
        ("\U0001f600", "'\U0001f600'", "'_'"),
    ],
    ids=str,
)
def test_a_name_that_mlflow_refuses_is_logged_as_one_it_takes(name, shown, instead):
    """A name of other characters, or that as a path is another path, has a nearest one; ``exact`` refuses it."""
    assert repr(logged_as(name)) == instead
    with pytest.raises(InvalidMetricsError) as exc:
        logged_as(name, exact=True)
    assert str(exc.value) == f"metric {shown}: {TAKES} {instead}"


@pytest.mark.parametrize(
    ("name", "logged"), [("f1@0.5", "f1_0.5"), ("hits@10", "hits_10"), ("25%", "25_"), ("C++ recall", "C_ recall")]
)
def test_names_of_the_field(name, logged):
    """A scores's threshold, a rank or a percentile in a name costs nobody a training."""
    assert logged_as(name, "m.") == logged


def test_the_empty_name_is_refused():
    """A metric needs a name, also where a prefix would make the key one that MLflow takes."""
    with pytest.raises(InvalidMetricsError) as exc:
        logged_as("", "model.")
    assert str(exc.value) == "a metric has the empty name ''; give it a name such as 'loss'"


@pytest.mark.parametrize(("prefix", "length", "over"), [("", 251, 1), ("model.", 250, 6)], ids=["bare", "prefix"])
def test_the_length_counts_with_the_prefix(prefix, length, over):
    """The whole key has at most 250 characters; the message says how many are too many."""
    with pytest.raises(InvalidMetricsError) as exc:
        logged_as("x" * length, prefix)
    assert str(exc.value) == (
        f"metric '{'x' * 40}...': the name has {250 + over} characters with its prefix, "
        f"MLflow takes 250; shorten it by {over}"
    )


def test_a_name_is_judged_under_its_prefix():
    """``..a`` alone is another name, ``m...a`` is a name like any other; ``m//a`` is not."""
    assert logged_as("..a") == "a"
    assert logged_as("..a", "m.") == "..a"
    assert logged_as("/a", "m/") == "a"


def test_a_long_bad_name_is_cut_in_the_message():
    """A message shows at most 80 characters of a name."""
    with pytest.raises(InvalidMetricsError) as exc:
        logged_as("%" + "x" * 99, exact=True)
    assert str(exc.value) == f"metric '%{'x' * 79}': {TAKES} '_{'x' * 99}'"


@pytest.mark.parametrize(("prefix", "separator"), [("", "."), ("ns.model", "."), ("a b", "/")], ids=str)
def test_a_good_prefix_is_accepted(prefix, separator):
    """No prefix, or one that MLflow takes with its separator."""
    check_prefix(prefix, separator)


@pytest.mark.parametrize(
    ("prefix", "separator", "shown", "instead"),
    [
        ("m[1]", ".", "'m(1)'", "m_1_"),
        ("m@x", ".", "'m@x'", "m_x"),
        ("m/", "/", "'m/'", "m"),
        ("/m", ".", "'/m'", "m"),
        ("x" * 249, ".", f"'{'x' * 80}'", "x" * 249),
    ],
    ids=["brackets", "at", "double-slash", "leading-slash", "no-room"],
)
def test_a_prefix_under_which_nothing_could_be_logged_is_refused(prefix, separator, shown, instead):
    """A prefix that MLflow refuses, or that leaves no room for a name, is refused."""
    with pytest.raises(InvalidMetricsError) as exc:
        check_prefix(prefix, separator)
    assert str(exc.value) == (
        f"MLflow does not take the prefix {shown}; give the entry one that it takes, such as prefix: {instead}"
    )


@given(name=NAMES, prefix=st.sampled_from(["", "model.", "model/", "a b:"]))
@example(name="a\n", prefix="")
@example(name="..", prefix="model/")
def test_what_is_logged_mlflow_accepts(name, prefix):
    """Any name that is not empty or too long becomes one that passes MLflow's own check and its length."""
    if not name or len(prefix + name) > MAX_LENGTH:
        with pytest.raises(InvalidMetricsError):
            logged_as(name, prefix)
        return
    key = prefix + logged_as(name, prefix)
    _validate_metric_name(key)
    assert len(key) <= MAX_LENGTH


@given(name=NAMES.filter(bool))
@example(name="a" * 249 + "/b")
@example(name="..a/" + "b" * 300)
def test_what_is_suggested_is_accepted(name):
    """A suggestion is itself a name that MLflow takes."""
    assert logged_as(suggestion(name), exact=True) == suggestion(name)


@given(name=NAMES)
def test_a_refusal_is_one_line(name):
    """No message about a name breaks the line or holds a square bracket, whatever the name."""
    try:
        logged_as(name, exact=True)
    except InvalidMetricsError as exc:
        assert str(exc).isprintable()  # noqa: PT017
        assert not set(str(exc)) & set("[]")  # noqa: PT017
