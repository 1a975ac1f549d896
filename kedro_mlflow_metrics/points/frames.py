"""Frames and Series of pandas and polars: each column a metric."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from kedro_mlflow_metrics.points.values import (
    Given,
    fail,
    integer_of,
    loaded,
    number_of,
    numbers_of,
    shown,
    timestamp_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["frame_of", "labelled", "series_of"]

_ADVICE = "; drop the column, or with pandas make it the index"
_Columns = list[tuple[object, list[object]]]


def frame_of(data: Any) -> Iterator[Given] | None:  # noqa: ANN401 - a frame of an optional library
    """Read each column of a frame as a metric, a missing cell as no point; None for anything else.

    An index of text names its rows: each column is then a group.
    """
    if isinstance(data, loaded("polars", "DataFrame")):
        return _read([(column.name, column.to_list()) for column in data.get_columns()], None)
    if not isinstance(data, loaded("pandas", "DataFrame")):
        return None
    columns: _Columns = []
    for position, name in enumerate(data.columns):
        column = data.iloc[:, position]
        cells = zip(column.tolist(), column.isna().tolist(), strict=True)
        columns.append((name, [None if missing else cell for cell, missing in cells]))
    if data.index.name == "step" and data.index.dtype.kind in "iu":
        columns.insert(0, ("step", data.index.tolist()))
    return _read(columns, _labels(data.index))


def _read(columns: _Columns, labels: Sequence[str] | None) -> Iterator[Given]:
    steps, times = _taken(columns, "step"), _taken(columns, "timestamp")
    if steps is not None:
        steps = [integer_of("step", f"column 'step', row {row}", cell) for row, cell in enumerate(steps)]
    if times is not None:
        times = [_time(row, cell) for row, cell in enumerate(times)]
    for name, cells in columns:
        if not isinstance(name, str):
            fail("the frame", f"got the column name {shown(name)}; accepted: text")
        metrics: dict[str, list[int]] = {} if labels else {name: []}
        for row, cell in enumerate(cells):
            if cell is not None:
                metrics.setdefault(f"{name}.{labels[row]}" if labels else name, []).append(row)
        for metric, rows in metrics.items():
            numbers = array("d", (number_of(f"column {name!r}, row {row}", cells[row], _ADVICE) for row in rows))
            yield Given(
                metric,
                numbers,
                steps and [steps[row] for row in rows],
                times and [times[row] for row in rows],
                None if steps or labels else rows,
            )


def _time(row: int, cell: object) -> int | None:
    if isinstance(cell, float) and cell.is_integer():  # so pandas keeps integers of which one is missing
        cell = int(cell)
    return None if cell is None else timestamp_of(f"column 'timestamp', row {row}", cell)


def _taken(columns: _Columns, name: str) -> list[Any] | None:
    """Take the first column of a name out of the others."""
    at = next((at for at, (other, _) in enumerate(columns) if other == name), None)
    return None if at is None else columns.pop(at)[1]


def series_of(where: str, value: Any) -> tuple[Sequence[float], Sequence[int] | None] | None:  # noqa: ANN401 - anything array-like
    """Return values and steps of a pandas or polars Series; None for anything else."""
    if isinstance(value, loaded("polars", "Series")):
        return numbers_of(where, value.to_list()), None
    if not isinstance(value, loaded("pandas", "Series")):
        return None
    numbers = numbers_of(where, value.tolist())
    if value.index.dtype.kind not in "iu":
        return numbers, None
    return numbers, [integer_of("step", where, step) for step in value.index.tolist()]


def labelled(where: str, value: Any) -> Mapping[str, object] | None:  # noqa: ANN401 - anything
    """Return a pandas Series whose index is text by its labels; None for anything else."""
    labels = _labels(value.index) if isinstance(value, loaded("pandas", "Series")) else None
    if labels is None:
        return None
    found = dict(zip(labels, value.tolist(), strict=True))
    if len(found) < len(labels):
        twice = next(label for label in found if labels.count(label) > 1)
        fail(where, f"the index of the Series has {twice!r} twice; its labels are names, give each its own")
    return found


def _labels(index: Any) -> list[str] | None:  # noqa: ANN401 - pandas' Index
    """Return the labels of an index of text, None of any other."""
    labels = index.tolist() if index.dtype.kind == "O" else ()
    return labels if labels and all(isinstance(label, str) for label in labels) else None
