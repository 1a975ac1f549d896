"""Charts of characters, pages and pictures: every peak is in them."""

from __future__ import annotations

import io
import json
import re

import pytest
from support.snapshots import is_as_before

from kedro_mlflow_metrics.errors import MetricsError
from kedro_mlflow_metrics.points.series import Line
from kedro_mlflow_metrics.views.chart import draw
from kedro_mlflow_metrics.views.drawing import Drawing
from kedro_mlflow_metrics.views.figure import as_page, as_png, figure
from kedro_mlflow_metrics.views.tables import Table
from kedro_mlflow_metrics.views.terminal import charts


def line(values, left_out=0, count=None):
    return Line(range(len(values)), values, count or len(values), left_out)


DOWN, UP = line([1 / (step + 1) for step in range(50)]), line([step / 50 for step in range(40)])


def text(rows):
    return "".join(f"{row.plain.rstrip()}\n" for row in rows)


def test_a_chart():
    """Curves between their highest and lowest value, from the first step to the last."""
    rows = text(draw([(0, DOWN), (1, UP)], 80, 10))
    assert is_as_before("chart", rows)
    assert all(len(row) <= 80 for row in rows.splitlines())


@pytest.mark.parametrize("values", [[2.0, 2.0], [1e308, -1e308], [5e-324, 0.0], [1.0]])
def test_charts_of_odd_curves(values):
    """Flat, huge, tiny, a single point: each has its axis and its dots."""
    rows = text(draw([(0, line(values))], 40, 5))
    assert "inf" not in rows
    assert any("⠀" < character <= "⣿" for character in rows)
    assert len(rows.splitlines()) == 7


def test_a_spike_of_one_step_is_in_the_chart():
    """A column as high as the chart."""
    values = [0.0] * 2_000
    values[777] = 1.0
    rows = text(draw([(0, line(values))], 80, 10)).splitlines()
    column = next(at for at, character in enumerate(rows[0]) if "⠀" < character <= "⣿")
    assert all("⠀" < row[column] <= "⣿" for row in rows[:10])


def test_several_charts():
    """With a legend, a heading each, and what is left out."""
    drawings = [
        Drawing("loss", [("one", line([0.5, 0.25], left_out=3, count=1_000_000)), ("two", UP)]),
        Drawing("accuracy", [("two", UP)], share=True),
    ]
    rows = text(charts(drawings, 60, 6)).splitlines()
    assert rows[0] == "━ one  ━ two"
    assert rows[1] == "loss  42 of 1,000,040 points, peaks are kept, 3 not finite"
    assert rows[10] == "accuracy" and rows[11].startswith("78.000% ┤")


def test_a_figure():
    """Each curve in full, on axes of its own and not the first; a run has one colour and one place in the legend."""
    single = Table(("metric", "one"), [("<b>", "1")])
    made = figure([Drawing("<a>", [("one", DOWN), ("two", UP)]), Drawing("b", [("two", UP)], share=True)], 1, single)
    curves = [trace for trace in made["data"] if trace["type"] == "scatter"]
    assert [(trace["name"], trace["xaxis"], trace["showlegend"]) for trace in curves] == [
        ("one", "x2", True),
        ("two", "x2", True),
        ("two", "x3", False),
    ]
    assert curves[1]["line"] == curves[2]["line"] != curves[0]["line"]
    assert curves[0]["y"] == list(DOWN.values) and curves[0]["x"] == list(DOWN.steps)
    assert made["layout"]["yaxis3"]["tickformat"] == ".1%"
    assert made["layout"]["yaxis"] == made["layout"]["xaxis"] == {"visible": False}
    domains = [made["layout"][axis]["domain"] for axis in ("yaxis2", "yaxis3")] + [made["data"][-1]["domain"]["y"]]
    assert all(0 <= low < high <= 1 for low, high in domains)
    assert domains[0][0] > domains[1][1] > domains[1][0] > domains[2][1]  # one below the other
    assert "<b>&lt;a&gt;</b>" in json.dumps(made) and made["data"][-1]["cells"]["values"][0] == ["&lt;b&gt;"]


@pytest.mark.parametrize("columns", [1, 2])
def test_many_charts(columns):
    """Each has its place between 0 and 1, below the one before it."""
    for number in range(1, 80):
        single = Table(("metric", "one"), [("a", "1")]) if number % 2 else None
        made = figure([Drawing(f"m{at}", [("one", DOWN)]) for at in range(number)], columns, single)
        axes = [trace["yaxis"].replace("y", "yaxis") for trace in made["data"] if trace["type"] == "scatter"]
        domains = [made["layout"][axis]["domain"] for axis in axes]
        assert all(0 <= low < high <= 1 for low, high in domains)
        assert all(one[0] > other[1] for one, other in zip(domains, domains[columns:], strict=False))


def test_a_page():
    """It holds all that it needs, and a name in it can do no harm."""
    page = as_page([Drawing("loss", [("</script><script>alert(1)", DOWN)])], "<run>")
    assert "<title>&lt;run&gt;</title>" in page
    assert not re.search(r"<(script|link|img)[^>]+https?:", page)
    assert "</script><script>alert" not in page
    assert len(page) > 1_000_000  # the library is in it


def test_a_page_without_plotly(mocker):
    """One line says what to install, or to write a picture."""
    mocker.patch.dict("sys.modules", {"plotly.io": None})
    with pytest.raises(Exception, match=r"pip install 'kedro-mlflow-metrics\[charts\]', or write a \.png"):
        as_page([Drawing("loss", [("one", DOWN)])], "run")


def test_too_many_for_a_picture():
    """One line says how many are, and what to do."""
    with pytest.raises(MetricsError, match=r"61 charts are too many .* choose with --only, or write a page"):
        as_png([Drawing(f"m{at}", [("one", DOWN)]) for at in range(61)])


def test_a_picture(caplog):
    """A chart per metric, as wide as two of them; a dollar sign begins no formula; where no chart is, is nothing."""
    from matplotlib.image import imread

    made = as_png([Drawing(f"m{at} $\\frac$", [("$\\frac$", DOWN), ("two", UP)], share=at == 1) for at in range(3)])
    shown = imread(io.BytesIO(made), format="png")
    height, width, _ = shown.shape
    assert width > 1500 and 700 < height < width
    below = shown[height // 2 + 40 : height - 80, width // 2 + 40 :]
    assert below.min() == 1.0  # white
    assert caplog.text == ""
    as_png([Drawing("精度", [("one", DOWN)])])
    assert "lacks some characters of the names" in caplog.text


def test_what_no_picture_can_show():
    """The metric is named."""
    far = Drawing("m.huge", [("one", line([1e308, -1e308, 1e308]))])
    with pytest.raises(MetricsError, match=r"cannot show metric 'm\.huge', from -1e\+308 to 1e\+308; choose others"):
        as_png([Drawing("loss", [("one", DOWN)]), far])
