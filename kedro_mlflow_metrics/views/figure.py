"""Curves as a figure of Plotly, as a page that opens offline, and as a PNG."""

from __future__ import annotations

import io
import logging
import math
import warnings
from html import escape
from typing import TYPE_CHECKING, Any

from kedro_mlflow_metrics.errors import MetricsError
from kedro_mlflow_metrics.views.drawing import runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_mlflow_metrics.views.drawing import Drawing
    from kedro_mlflow_metrics.views.tables import Table

__all__ = ["as_page", "as_png", "figure", "note"]

log = logging.getLogger("kedro.mlflow_metrics")
PALETTE = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5")
_MARKED = 50  # points of a line that have a mark each
_CHART, _GAP, _LINE, _TOP, _BOTTOM = 220, 76, 28, 80, 40  # pixels: heights of a chart, between two, of a table's line
_BETWEEN = 0.08  # of the width
_PICTURE, _MARGIN = 60, 1000  # charts in one PNG; by how much matplotlib multiplies distances, at the most
# Kedro-Viz draws the first axes its own way, and those only
_UNUSED = {"xaxis": {"visible": False}, "yaxis": {"visible": False}}
_GRID = {"showgrid": True, "gridcolor": "rgba(128,128,128,0.25)", "zeroline": False}


def figure(drawings: Sequence[Drawing], columns: int = 2, single: Table | None = None) -> dict[str, Any]:
    """Return data and layout of a Plotly figure: a chart per metric, a colour per run.

    Args:
        drawings: The charts.
        columns: How many stand beside each other.
        single: A table that stands below them.
    """
    columns = max(1, min(columns, len(drawings)))
    rows = -(-len(drawings) // columns)
    table_height = _LINE * (len(single.rows) + 2) if single else 0
    inner = max(1, rows * (_CHART + _GAP) - _GAP * (not single) + table_height)
    runs = runs_of(drawings)
    top = _TOP if len(runs) > 1 else _TOP // 2
    layout: dict[str, Any] = {
        "height": inner + top + _BOTTOM,
        "margin": {"t": top, "b": _BOTTOM, "l": 56, "r": 24},
        "hovermode": "x unified",
        "legend": {"orientation": "h", "y": 1 + _LINE / inner, "yanchor": "bottom", "x": 0},
        "annotations": [],
        **_UNUSED,
    }
    data: list[dict[str, Any]] = []
    named: set[str] = set()
    width = (1 - _BETWEEN * (columns - 1)) / columns
    for at, drawing in enumerate(drawings):
        row, column = divmod(at, columns)
        axis, left = at + 2, column * (width + _BETWEEN)
        high = 1 - row * (_CHART + _GAP) / inner
        low = max(0.0, high - _CHART / inner)
        lowest = len(drawings) + 1
        shared = {"matches": f"x{lowest}", "showticklabels": False} if columns == 1 and axis < lowest else {}
        layout[f"xaxis{axis}"] = {"domain": [left, left + width], "anchor": f"y{axis}", **shared, **_GRID}
        shown_as = {"tickformat": ".1%"} if drawing.share else {}
        layout[f"yaxis{axis}"] = {"domain": [low, high], "anchor": f"x{axis}", **shown_as, **_GRID}
        layout["annotations"].append(_heading(drawing, left, high))
        for label, line in drawing.lines:
            colour, first = PALETTE[runs.index(label) % len(PALETTE)], label not in named
            named.add(label)
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if len(line.values) <= _MARKED else "lines",
                    "x": list(line.steps),
                    "y": list(line.values),
                    "name": escape(label),
                    "legendgroup": label,
                    "showlegend": first and len(runs) > 1,
                    "line": {"color": colour, "width": 2},
                    "marker": {"size": 5},
                    "xaxis": f"x{axis}",
                    "yaxis": f"y{axis}",
                }
            )
    if single:
        data.append(_table(single, table_height / inner))
    return {"data": data, "layout": layout}


def _heading(drawing: Drawing, left: float, high: float) -> dict[str, Any]:
    remark = f"  <span style='font-size:11px'>{escape(drawing.remark)}</span>" if drawing.remark else ""
    place = {"x": left, "xref": "paper", "xanchor": "left", "y": high, "yref": "paper", "yanchor": "bottom"}
    return {"text": f"<b>{escape(drawing.key)}</b>{remark}", "showarrow": False, **place}


def _table(table: Table, height: float) -> dict[str, Any]:
    """Return a table as Plotly has it, in the lowest part of a figure."""
    sides = ["left" if at < table.left else "right" for at in range(len(table.heads))]
    cells = [[escape(row[at]) for row in table.rows] for at in range(len(table.heads))]
    line = {"color": "rgba(128,128,128,0.3)"}
    common = {"align": sides, "height": _LINE, "line": line, "fill": {"color": "rgba(0,0,0,0)"}}
    heads = [f"<b>{escape(head)}</b>" for head in table.heads]
    return {
        "type": "table",
        "header": {"values": heads, **common},
        "cells": {"values": cells, **common},
        "columnwidth": [2, *[1] * (len(table.heads) - 1)],
        "domain": {"x": [0, 1], "y": [0, min(1.0, height)]},
    }


def note(text: str) -> dict[str, Any]:
    """Return a figure that says something instead of showing something."""
    said = {"text": escape(text), "showarrow": False, "x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper"}
    return {"data": [], "layout": {"height": 120, **_UNUSED, "annotations": [said]}}


def as_page(drawings: Sequence[Drawing], title: str) -> str:
    """Return a page that needs nothing beside it."""
    try:
        from plotly.io import to_html
    except ImportError:
        needed = "pip install 'kedro-mlflow-metrics[charts]'"
        raise MetricsError(
            "a page of charts needs plotly, which is not installed", f"{needed}, or write a .png"
        ) from None

    made = figure(drawings)
    made["layout"]["template"] = "plotly_white"
    page: str = to_html(made, include_plotlyjs=True, config={"displaylogo": False, "responsive": True})
    page = page.replace("<head>", f"<head><title>{escape(title)}</title>", 1)
    several = len(runs_of(drawings)) > 1  # then the legend names them
    heading = "" if several else f"<h3 style='font-family:sans-serif;margin:1em'>{escape(title)}</h3>"
    return page.replace("<body>", f"<body>{heading}", 1)


def as_png(drawings: Sequence[Drawing], columns: int = 2) -> bytes:
    """Return a picture for a report; matplotlib comes with MLflow."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MetricsError("a .png needs matplotlib, which mlflow-skinny lacks", "pip install matplotlib") from None

    if len(drawings) > _PICTURE:
        reason = f"{len(drawings)} charts are too many for one picture, which has {_PICTURE} at most"
        raise MetricsError(reason, "choose with --only, or write a page: .html")
    _refuse_extremes(drawings)
    columns = min(columns, len(drawings))
    rows = -(-len(drawings) // columns)
    drawn = Figure(figsize=(6.4 * columns, 3.4 * rows + 0.6), dpi=120, layout="constrained")
    runs = runs_of(drawings)
    grid = list(drawn.subplots(rows, columns, squeeze=False).flat)
    handles: dict[str, Any] = {}
    for axes, drawing in zip(grid, drawings, strict=False):
        for label, line in drawing.lines:
            colour, scale = PALETTE[runs.index(label) % len(PALETTE)], 100 if drawing.share else 1
            values = [value * scale for value in line.values]
            mark = "." if len(values) <= _MARKED else ""
            (handles[label],) = axes.plot(list(line.steps), values, color=colour, marker=mark, linewidth=1.6)
        title = axes.set_title(drawing.key, loc="left", fontsize=11, fontweight="bold")
        title.set_parse_math(False)  # a name with a dollar sign is no formula
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel(f"step   ({drawing.remark})" if drawing.remark else "step", fontsize=9)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if drawing.share:
            axes.yaxis.set_major_formatter("{x:g}%")
    for axes in grid[len(drawings) :]:
        axes.set_axis_off()
    legend = drawn.legend(handles.values(), handles, loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
    picture = io.BytesIO()
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        try:
            drawn.savefig(picture, format="png")
        except (ValueError, OverflowError) as exc:
            raise MetricsError(f"a picture cannot show these values: {exc}", "choose others with --only") from exc
    if any("missing from font" in str(doubt.message) for doubt in doubts):
        log.warning("The picture's font lacks some characters of the names; a page, .html, has them")
    return picture.getvalue()


def _refuse_extremes(drawings: Sequence[Drawing]) -> None:
    """Refuse, by name, a metric whose values are farther apart than a float can say: matplotlib fails on it."""
    for drawing in drawings:
        values = [value for _, line in drawing.lines for value in line.values]
        if values and not math.isfinite((max(values) - min(values)) * _MARGIN):
            reason = f"a picture cannot show metric {drawing.key!r}, from {min(values):g} to {max(values):g}"
            raise MetricsError(reason, "choose others with --only, or write a page: .html")
