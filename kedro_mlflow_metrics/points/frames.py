"""Frames and Series of pandas and polars: each column a metric."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_mlflow_metrics.points.values import Given, fail, integer_of, loaded, number_of, numbers_of, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["frame_of", "series_of"]


def frame_of(data: object) -> Iterator[Given] | None:
    """Read each column of a frame as a metric, a missing cell as no point; None for anything else."""
    frame = _columns(data)
    return None if frame is None else _read(frame)


class _Columns(NamedTuple):
    """A frame as lists, a missing cell being None."""

    columns: list[tuple[object, list[object]]]
    steps: list[object] | None


def _columns(data: Any) -> _Columns | None:  # noqa: ANN401 - a frame of an optional library
    if isinstance(data, loaded("polars", "DataFrame")):
        columns = [(column.name, column.to_list()) for column in data.get_columns()]
        steps = None
    elif isinstance(data, loaded("pandas", "DataFrame")):
        columns = []
        for position, name in enumerate(data.columns):
            column = data.iloc[:, position]
            cells = zip(column.tolist(), column.isna().tolist(), strict=True)
            columns.append((name, [None if missing else cell for cell, missing in cells]))
        index = data.index
        steps = index.tolist() if index.name == "step" and index.dtype.kind in "iu" else None
    else:
        return None
    if steps is None:
        steps = next((cells for name, cells in columns if name == "step"), None)
        columns = [(name, cells) for name, cells in columns if name != "step"]
    return _Columns(columns, steps)


def _read(frame: _Columns) -> Iterator[Given]:
    steps = frame.steps
    if steps is not None:
        steps = [integer_of("step", f"column 'step', row {row}", step) for row, step in enumerate(steps)]
    for name, cells in frame.columns:
        if not isinstance(name, str):
            fail("the frame", f"got the column name {shown(name)}; accepted: text")
        rows = [row for row, cell in enumerate(cells) if cell is not None]
        where = f"column {name!r}"
        numbers = array("d", (number_of(f"{where}, row {row}", cells[row]) for row in rows))
        if steps is not None:
            yield Given(name, numbers, [steps[row] for row in rows])  # type: ignore[misc]
        else:
            yield Given(name, numbers, rows=rows)


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
