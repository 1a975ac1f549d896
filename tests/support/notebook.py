"""A notebook, run to its end and written as the page that Jupyter shows."""

from __future__ import annotations

from pathlib import Path

BEGIN = "%load_ext kedro.ipython"


def page_of(cells: list[str], folder: Path) -> str:
    """Run cells in a real kernel in a folder, and return them and what they show as HTML."""
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import ExecutePreprocessor
    from nbformat.v4 import new_code_cell, new_notebook

    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    ExecutePreprocessor(timeout=120, kernel_name="python3").preprocess(notebook, {"metadata": {"path": str(folder)}})
    html, _ = HTMLExporter().from_notebook_node(notebook)
    return html
