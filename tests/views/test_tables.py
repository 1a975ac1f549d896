"""Tables of runs and metrics, as they look."""

from __future__ import annotations

import io
import math
from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.looks import NOW, run
from support.snapshots import is_as_before

from kedro_mlflow_metrics.points.curves import MetricPoint
from kedro_mlflow_metrics.points.series import summary
from kedro_mlflow_metrics.views.comparison import Comparison
from kedro_mlflow_metrics.views.tables import Display, Table, common, labels, of_metrics, of_runs
from kedro_mlflow_metrics.views.terminal import pieces, plain
from kedro_mlflow_metrics.views.text import markdown

ODD = {
    "tiny": 5e-324,
    "huge": 1.7e308,
    "sum": 0.1 + 0.2,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "größe/mittel": -0.0,
    "精度": 2.0,
    "steps": 123_456_789.0,
    "a" * 60: 0.5,
}
THREE = {"test.accuracy": 0.875, "test.log_loss": 0.25, "training_metrics.loss": 0.0625}


def runs(number: int, metrics: int) -> list:
    some = THREE if metrics == 3 else {f"group.metric_{at:03}": at / 8 for at in range(metrics)}
    return [run(at + 1, {key: value + at / 16 for key, value in some.items()}) for at in range(number)]


def shown(table: Table, width: int, *, colours: bool) -> str:
    """Return what a terminal of that width shows."""
    system = "truecolor" if colours else None
    options = {"force_terminal": True, "color_system": system, "highlight": False, "legacy_windows": False}
    console = Console(file=io.StringIO(), width=width, **options)
    for piece in pieces(table, console):
        console.print(piece)
    return console.file.getvalue()


@pytest.mark.newest  # the pictures are those of the newest rich
@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize(
    ("number", "metrics", "colours"),
    [each for each in product((1, 2, 60), (0, 3, 500), (False, True)) if each != (60, 500, True)],  # that takes seconds
)
class TestSnapshots:
    def test_runs(self, number, metrics, width, colours):
        """A row per run, in pieces where the metrics are too many for the width."""
        found = runs(number, metrics)
        keys = common((each.metrics for each in found), None if metrics == 500 else 2)
        table = of_runs(found, NOW, Display(), keys)
        text = shown(table, width, colours=colours)
        assert all(len(line) <= width for line in text.splitlines()) or colours
        assert is_as_before(f"runs-{number}-{metrics}-{width}{'-colours' * colours}", text)

    def test_compare(self, number, metrics, width, colours):
        """A row per metric, in pieces where the runs are too many for the width."""
        table = Comparison.of(runs(number, metrics), Display(higher=["*accuracy"], lower=["*loss"])).table()
        text = shown(table, width, colours=colours) if table.rows else ""
        assert all(len(line) <= width for line in text.splitlines()) or colours
        assert is_as_before(f"compare-{number}-{metrics}-{width}{'-colours' * colours}", text)

    def test_show(self, number, metrics, width, colours):
        """A row per metric of one run, with its curve."""
        some = runs(1, metrics)[0]
        histories = {
            key: [MetricPoint(key, value / (step + 1), step, step) for step in range(number)]
            for key, value in some.metrics.items()
        }
        table = of_metrics(some, {key: summary(points) for key, points in histories.items()}, Display())
        text = shown(table, width, colours=colours) if table.rows else ""
        assert is_as_before(f"show-{number}-{metrics}-{width}{'-colours' * colours}", text)


@pytest.mark.newest
@pytest.mark.parametrize("width", [80, 160])
def test_odd_values_and_names(width):
    """No digit that the value does not have, no value without its sign, every name whole."""
    other = {**ODD, "only here": 1.0, "sum": 0.7}
    table = Comparison.of([run(1, ODD, "größe"), run(2, other, "精度 2")], Display()).table()
    text = shown(table, width, colours=False)
    assert "0.30000000000000004" not in text
    assert is_as_before(f"odd-{width}", text)
    assert is_as_before("odd-plain", plain(table))
    assert is_as_before("odd-markdown", markdown(table))


@pytest.mark.parametrize("width", [30, 80])
def test_a_short_name(width):
    """The heading above it is whole."""
    text = shown(
        Comparison.of([run(1, {"a": 1.0}, "x"), run(2, {"a": 2.0}, "a\x1b[2Jb\nc")], Display()).table(),
        width,
        colours=False,
    )
    assert text.splitlines()[-1 if width == 30 else 1].strip() and " metric " in text
    assert "\x1b[2J" not in text and "a [2Jb c" in " ".join(text.split())


def test_plain_text_has_a_line_per_row():
    """Whatever its width, so that other programs can read it; no colour, no line, no blank at the end."""
    text = plain(of_runs(runs(2, 500), NOW, Display(), [f"group.metric_{at:03}" for at in range(500)]))
    lines = text.splitlines()
    assert len(lines) == 3 and "\x1b" not in text
    assert lines[0].split()[:5] == ["run", "id", "age", "took", "status"]
    assert lines[1].split()[-1] == "62.375"
    assert all(line == line.rstrip() for line in lines)


METRICS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=3),
    st.sampled_from([0.0, 1.0, math.nan, math.inf]),
    max_size=6,
)


@given(st.lists(METRICS, max_size=6), st.one_of(st.none(), st.integers(0, 4)))
def test_the_columns_of_runs(found, top):
    """By the number of runs that have the metric, then by name in code-point order; NaN counts as missing."""
    columns = common(found, top)
    counts = Counter(key for metrics in found for key in metrics if not math.isnan(metrics[key]))
    expected = sorted(sorted(counts), key=counts.__getitem__, reverse=True)
    assert columns == expected[:top]


class TestComparison:
    def test_the_best_of_a_row(self):
        """Where the direction is known, and there is a difference; a NaN is never the best."""
        display = Display(higher=["*accuracy", "same"], lower=["*loss"])
        values = (
            {"accuracy": 0.5, "loss": math.nan, "same": 1.0, "free": 1.0},
            {"accuracy": 0.75, "loss": 2.0, "same": 1.0, "free": 2.0},
        )
        third = {"accuracy": 0.625, "loss": 1.0, "same": 1.0, "free": 3.0}
        text = plain(Comparison.of([run(at, each) for at, each in enumerate((*values, third))], display).table())
        marked = {
            line.split()[0]: [line.split()[at - 1] for at, word in enumerate(line.split()) if word == "*"]
            for line in text.splitlines()
        }
        assert marked["accuracy"] == ["0.75"] and marked["loss"] == ["1"]
        assert marked["same"] == marked["free"] == []

    def test_what_only_some_have(self):
        """It is shown as missing, and has no change."""
        text = plain(Comparison.of([run(1, {"a": 1.0}, "one"), run(2, {"b": 2.0}, "two")], Display()).table())
        assert [line.split() for line in text.splitlines()] == [
            ["metric", "one", "two", "change", "in", "%"],
            ["a", "1", "missing"],
            ["b", "missing", "2"],
        ]

    def test_changed(self):
        """``--changed`` leaves out what is the same everywhere, NaN in both too."""
        one, two = {"a": 1.0, "b": 1.0, "n": math.nan}, {"a": 1.0, "b": 2.0, "n": math.nan, "c": 0.0}
        assert list(Comparison.of([run(1, one), run(2, two)], Display(), changed=True).metrics) == ["b", "c"]

    def test_percentages(self):
        """Values times 100 with three decimals, changes in points of them."""
        display = Display(share=lambda key: key == "acc")
        text = plain(
            Comparison.of([run(1, {"acc": 0.5, "n": 0.5}), run(2, {"acc": 0.625, "n": 0.625})], display).table()
        )
        assert text.splitlines()[1].split() == ["acc", "50.000%", "62.500%", "+12.500", "pp", "+25.0%"]
        assert text.splitlines()[2].split() == ["n", "0.5", "0.625", "+0.125", "+25.0%"]

    def test_in_a_notebook(self):
        """It is an HTML table in which names cannot do harm, the best in bold."""
        html = Comparison.of([run(1, {"<b>": 1.0}), run(2, {"<b>": 2.0})], Display(higher=["*"]))._repr_html_()
        assert "&lt;b&gt;" in html and "<b>2</b>" in html and html.startswith("<table>")


def test_runs_of_one_name():
    """Their ids tell them apart."""
    found = [run(1, {}, "a"), run(2, {}, "a"), run(3, {}, "b"), run(4, {}, "")]
    assert labels(found) == ["a 00000001", "a 00000002", "b", "00000004"]


def test_a_name_that_begins_a_line():
    """MLflow takes a line break at the end of a metric's name; no table breaks on it."""
    one = run(1, {"acc\n": 0.5})
    for table in (
        of_runs([one], NOW, Display(), ["acc\n"]),
        of_metrics(one, {"acc\n": summary([MetricPoint("acc\n", 0.5, 0, 0)])}, Display()),
        Comparison.of([one, one], Display()).table(),
    ):
        assert not any("\n" in text for row in (table.heads, *table.rows) for text in row)


def test_a_comparison_shows_itself():
    """As a table, at a prompt too."""
    two = runs(2, 3)
    assert repr(Comparison.of(two, Display())) == plain(Comparison.of(two, Display()).table())
