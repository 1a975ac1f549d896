"""Tables for a notebook: plain HTML, without scripts or styles of its own but for alignment."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.views.tables import Best

if TYPE_CHECKING:
    from kedro_mlflow_metrics.views.tables import Table

__all__ = ["table"]

_LEFT, _RIGHT = ' style="text-align:left"', ' style="text-align:right"'


def table(shown: Table) -> str:
    """Return a table; the best of a row is bold."""
    sides = [_LEFT if at < shown.left else _RIGHT for at in range(len(shown.heads))]
    heads = "".join(f"<th{side}>{escape(head)}</th>" for head, side in zip(shown.heads, sides, strict=True))
    rows = "".join(
        f"<tr>{''.join(f'<td{side}>{_cell(cell)}</td>' for cell, side in zip(row, sides, strict=True))}</tr>"
        for row in shown.rows
    )
    title = f"<caption{_LEFT}>{escape(shown.title)}</caption>" if shown.title else ""
    return f"<table>{title}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(text: str) -> str:
    return f"<b>{escape(text)}</b>" if isinstance(text, Best) else escape(text)
