"""Steps, timestamps and keys: what ``to_curves`` adds to the values it was given."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_mlflow_metrics.errors import InvalidMetricsError
from kedro_mlflow_metrics.points.curves import Curve, MetricPoint
from kedro_mlflow_metrics.points.stamp import Progress, Remarks, to_curves

NOW = 1_700_000_000_000
MAX = 2**63 - 1
UTC = timezone.utc


def save(data, progress=None, *, prefix="", now=NOW, where=""):
    """Return the points of one save, flat."""
    made = to_curves(data, prefix=prefix, now=now, progress=Progress() if progress is None else progress, where=where)
    return [point for points in made for point in points]


def steps(data, progress=None):
    return [point.step for point in save(data, progress)]


def times(data, progress=None, now=0):
    return [point.timestamp for point in save(data, progress, now=now)]


def test_a_number_becomes_one_point():
    """A number is one point at step 0, at the time of the save, under the prefix."""
    assert save({"acc": 0.93}, prefix="m.") == [MetricPoint("m.acc", 0.93, 0, NOW)]


def test_metrics_come_in_the_order_given():
    """One ``Curve`` per metric, in the order of the dict, groups flattened with a dot."""
    made = to_curves({"b": 1, "a": {"z": 2, "y": [3]}}, prefix="", now=NOW, progress=Progress())
    assert [points.key for points in made] == ["b", "a.z", "a.y"]


def test_points_are_columns_of_equal_length():
    """The columns of a ``Curve`` can be counted, indexed and sliced like lists."""
    (points,) = to_curves({"a": [5, 6, 7]}, prefix="", now=NOW, progress=Progress())
    assert isinstance(points, Curve)
    columns = (points.values, points.steps, points.timestamps)  # noqa: PD011
    assert [len(column) for column in columns] == [3, 3, 3]
    assert [list(column[1:]) for column in columns] == [[6.0, 7.0], [1, 2], [NOW, NOW]]
    assert points.timestamps[-3] == NOW
    with pytest.raises(IndexError):
        points.timestamps[3]


@pytest.mark.parametrize("empty", [{}, {"a": []}, {"a": ()}, {"a": {}}, {"a": np.array([])}, pd.DataFrame()])
def test_empty_containers_log_nothing(empty):
    """An empty dict, list, group, array or frame gives no points and no error."""
    assert save(empty) == []


def test_a_frame_may_take_the_place_of_the_dict():
    """A frame's columns get the prefix too."""
    assert save(pd.DataFrame({"a": [1.0]}), prefix="m.") == [MetricPoint("m.a", 1.0, 0, NOW)]


# --- steps


def test_the_next_step_goes_on_over_saves():
    """A node that yields numbers draws a curve; each key counts for itself."""
    progress = Progress()
    assert steps({"a": 1}, progress) == [0]
    assert steps({"a": [1, 2], "b": 1}, progress) == [1, 2, 0]
    assert steps({"a": 1, "b": 1}, progress) == [3, 1]


def test_the_next_step_counts_per_prefixed_key():
    """The same name under another prefix is another key."""
    progress = Progress()
    save({"a": 1}, progress, prefix="m.")
    assert [point.step for point in save({"a": 1}, progress, prefix="n.")] == [0]
    assert progress == {"m.a": (0, NOW), "n.a": (0, NOW)}


def test_a_new_progress_starts_again_at_0():
    """A retried task writes its steps again."""
    assert steps({"a": [1, 2]}, Progress()) == steps({"a": [1, 2]}, Progress()) == [0, 1]


def test_a_given_step_moves_the_next_one():
    """The next step follows the highest so far, not the last given."""
    progress = Progress()
    save({"a": {"value": 1, "step": 10}}, progress)
    save({"a": {"value": 1, "step": 4}}, progress)
    assert steps({"a": 1}, progress) == [11]


def test_a_point_without_a_step_takes_the_next_one_in_its_list():
    """Points with and without steps, and bare numbers, mix in one list."""
    assert steps({"a": [1, {"value": 2, "step": 7}, {"value": 3}, 4, {"value": 5, "step": None}]}) == [
        0,
        7,
        8,
        9,
        10,
    ]


@pytest.mark.parametrize("first", [-5, -1])
def test_the_step_after_a_negative_one_is_one_more(first):
    """Negative steps are steps like any other."""
    progress = Progress()
    save({"a": {"value": 1, "step": first}}, progress)
    assert steps({"a": 1}, progress) == [first + 1]


def test_empty_values_do_not_move_the_step():
    """A save without points of a key leaves that key where it was."""
    progress = Progress()
    save({"a": []}, progress)
    assert progress == {}


def test_a_frame_without_steps_counts_rows_from_the_next_step():
    """A missing cell is no point but keeps its row's step free; the next frame goes on."""
    progress = Progress()
    frame = pd.DataFrame({"a": [1.0, None, 3.0]})
    assert steps(frame, progress) == [0, 2]
    assert steps(frame, progress) == [3, 5]


@pytest.mark.parametrize(
    "data",
    [{"a": 1}, {"a": [1, 2]}, {"a": [{"value": 1}]}, pd.DataFrame({"a": [1.0]})],
    ids=["number", "list", "point", "frame"],
)
def test_a_next_step_beyond_64_bits_is_refused(data):
    """After the highest step that 64 bits hold there is no next one."""
    progress = Progress()
    save({"a": {"value": 1, "step": MAX}}, progress)
    with pytest.raises(InvalidMetricsError) as exc:
        save(data, progress)
    assert str(exc.value) == "metric 'a': its next step leaves 64 bits; give steps of its own"


# --- timestamps


def test_all_points_of_a_save_share_its_time():
    """Steps that go up need no timestamps of their own."""
    assert times({"a": [1, 2], "b": 1}, now=NOW) == [NOW, NOW, NOW]


def test_a_given_timestamp_is_never_changed():
    """Timestamps of the user stand, also where they go backwards on one step."""
    points = [{"value": 1, "step": 0, "timestamp": 9}, {"value": 2, "step": 0, "timestamp": 3}]
    assert times({"a": points}, now=NOW) == [9, 3]


def test_a_repeated_step_is_a_millisecond_later():
    """Of two points on one step MLflow must call the later one the latest."""
    points = [{"value": value, "step": 5} for value in (1, 2, 3)]
    assert times({"a": points}, now=NOW) == [NOW, NOW + 1, NOW + 2]


def test_a_lower_step_is_a_millisecond_later():
    """A step below the highest one counts as repeated."""
    assert times({"a": {5: 1, 4: 1, 6: 1}}, now=NOW) == [NOW, NOW + 1, NOW]


def test_a_step_repeated_in_another_save_is_a_millisecond_later():
    """The rule holds over saves within one millisecond, and not where the clock went on."""
    progress = Progress()
    data = {"a": 1, "step": 3}
    seen = [times(data, progress, now=now) for now in (NOW, NOW, NOW, NOW + 50, NOW - 1000)]
    assert seen == [[NOW], [NOW + 1], [NOW + 2], [NOW + 50], [NOW + 51]]


def test_a_repeated_step_follows_a_given_timestamp():
    """The millisecond counts from the highest timestamp, given or not."""
    progress = Progress()
    save({"a": {"value": 1, "step": 0, "timestamp": NOW + 500}}, progress)
    assert times({"a": {"value": 2, "step": 0}}, progress, now=NOW) == [NOW + 501]


@pytest.mark.parametrize(
    ("timestamp", "stored"),
    [
        (1234, 1234),
        (0, 0),
        (np.int64(1234), 1234),
        (None, NOW),
        (datetime(2024, 1, 1, tzinfo=UTC), 1_704_067_200_000),
        (datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 1_704_067_200_000),
        (datetime(2024, 1, 1, 0, 0, 0, 1500, tzinfo=UTC), 1_704_067_200_002),
        (datetime(2024, 1, 1), int(datetime(2024, 1, 1).timestamp() * 1000)),  # noqa: DTZ001
        (pd.Timestamp("2024-01-01", tz="UTC"), 1_704_067_200_000),
        (pd.Timestamp("2024-01-01"), int(datetime(2024, 1, 1).timestamp() * 1000)),  # noqa: DTZ001
        (pd.Timestamp("2024-01-01T00:00:00.001499999", tz="UTC"), 1_704_067_200_001),
        (253_402_300_799_999, 253_402_300_799_999),
    ],
    ids=["int", "epoch", "numpy", "none", "utc", "zone", "rounded", "naive", "pandas", "naive pandas", "ns", "9999"],
)
def test_a_timestamp_is_milliseconds_or_a_datetime(timestamp, stored):
    """A datetime is rounded to milliseconds; a naive one is local time, as in Python; ``None`` is none."""
    (point,) = save({"a": {"value": 1, "timestamp": timestamp}})
    assert point.timestamp == stored
    assert type(point.timestamp) is int


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 12))
def test_the_last_written_point_of_a_step_is_the_latest(given_steps, cut):
    """Whatever the order of steps and saves, no later point of a step has an equal or lower timestamp."""
    progress = Progress()
    points = [{"value": at, "step": step} for at, step in enumerate(given_steps)]
    written = save({"a": points[:cut]}, progress) + save({"a": points[cut:]}, progress)
    for step in set(given_steps):
        own = [point.timestamp for point in written if point.step == step]
        assert own == sorted(set(own))


def test_a_message_names_the_dataset():
    """What stands in ``where`` comes before the message, and the message comes once."""
    with pytest.raises(InvalidMetricsError) as exc:
        save({"a": [1, None]}, where="my_metrics: ")
    assert str(exc.value) == "my_metrics: metric 'a', position 1: got None; accepted: a number"


@pytest.mark.parametrize(
    "data",
    [{"v": {"a.b": 1}, "v.a": {"b": 2}}, pd.DataFrame([[1, 2]], columns=["v.a.b", "v.a.b"])],
    ids=["groups", "frame"],
)
def test_a_name_that_stands_twice_is_refused(data):
    """Two ways to one key in one mapping would mix two curves."""
    with pytest.raises(InvalidMetricsError) as exc:
        save(data)
    assert str(exc.value) == "metric 'v.a.b': the name stands twice in this dict; give each metric its own"


def test_a_bad_name_is_refused_even_without_points():
    """Names are checked where the values are empty too: the first full save would fail."""
    with pytest.raises(InvalidMetricsError) as exc:
        to_curves({"a%": []}, prefix="", now=NOW, progress=Progress(), exact=True)
    assert str(exc.value) == (
        "metric 'a%': MLflow does not take this name; it takes letters, digits, spaces and _ - . : /, as in 'a_'"
    )


# --- what the user is told


def remarks(*saves, prefix="m."):
    """Return what is said of each of several saves of one dataset object."""
    progress, known, said = Progress(), Remarks(), []
    for data in saves:
        found = known.copy()
        to_curves(data, prefix=prefix, now=NOW, progress=progress, remarks=found)
        said.append(list(found.since(known)))
        known = found
    return said


def test_a_name_that_mlflow_does_not_take_is_logged_as_the_nearest():
    """The steps count on under the new name, and the user is told once per name."""
    of_one = {"prefix": "m.", "now": NOW, "progress": Progress(), "remarks": Remarks()}
    points = [list(*to_curves({"hits@10": value}, **of_one)) for value in (0.5, [0.6, 0.7])]
    assert points[0] == [MetricPoint("m.hits_10", 0.5, 0, NOW)]
    assert points[1][1] == MetricPoint("m.hits_10", 0.7, 2, NOW)
    told = (
        "metric {!r} is logged as {!r}: MLflow takes letters, digits, spaces and _ - . : / in a name; "
        "'save_args: {{names: exact}}' refuses such a name instead"
    )
    assert remarks({"hits@10": 1, "loss": 1}, {"hits@10": 2}, {"hits@10": 3, "val": {"25%": 1}}) == [
        [told.format("hits@10", "m.hits_10")],
        [],
        [told.format("val.25%", "m.val.25_")],
    ]


@pytest.mark.parametrize(
    "saves",
    [
        [{"hits@10": 1, "hits_10": 2}],
        [{"hits_10": 1, "hits@10": 2}],
        [{"hits@10": 1, "hits#10": 2}],
        [{"hits@10": 1}, {"hits_10": 2}],
        [{"hits_10": 1}, {"hits@10": 2}],
        [{"hits#10": 1}, {"loss": 1}, {"hits@10": 2}],
    ],
    ids=["before", "after", "both", "later-plain", "later-other", "later-both"],
)
def test_two_names_that_come_to_the_same_are_refused(saves):
    """Two metrics would become one curve, in one dict or over the saves of a dataset object."""
    with pytest.raises(InvalidMetricsError, match=r"both are 'm\.hits_10'; rename one") as exc:
        remarks(*saves)
    first, last = [name for data in saves for name in data if name != "loss"]
    assert (
        str(exc.value) == f"metric {last!r}: MLflow does not tell it from {first!r}, both are 'm.hits_10'; rename one"
    )


def test_a_timestamp_that_looks_like_seconds_is_said_once():
    """One before 1980 is logged as given, with one warning for the whole dataset."""
    told = (
        "metric 'a' has a timestamp before 1980; if that is in seconds, multiply it by 1000: MLflow counts milliseconds"
    )
    point = {"value": 1, "timestamp": 1_700_000_000}
    assert remarks({"a": point}, {"a": point, "b": [point]}) == [[told], []]
    assert remarks({"a": {"value": 1, "timestamp": 315_532_800_000}, "b": {"value": 1}}) == [[]]
    assert times({"a": point}) == [1_700_000_000]


# --- refusals


@pytest.mark.parametrize("beside", [{}, {"step": 1}], ids=["alone", "with-step"])
def test_groups_without_end_are_refused(beside):
    """A dict that holds itself is refused as any other bad data."""
    data = dict(beside)
    data["a"] = data if not beside else {"b": data}
    with pytest.raises(InvalidMetricsError) as exc:
        save(data)
    assert str(exc.value) in (
        "the data: the groups stand too deep in each other",
        "metric 'a.b': a point has no field 'a' (str); its fields are value, step, timestamp",
    )
