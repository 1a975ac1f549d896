"""What MLflow or a database says, as one line of ours."""

from __future__ import annotations

import pytest

from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.tracking.address import Server

WORDS = "the database said something long " * 20


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("first; second\nthird", "first; second"),
        ("\n  first [x]. \n", "first (x)"),
        ("no answer from http://ann:s3cret@host/ml", "no answer from http://host/ml"),
        ("the password s3cret is wrong", "the password *** is wrong"),
    ],
)
def test_one_line(text, line):
    """The first line of it, without square brackets, full stop or password."""
    assert Server("http://ann:s3cret@host/ml").one_line(text) == line


def test_a_long_one_is_cut_between_words():
    """Never inside a word."""
    line = Server("http://host").one_line(WORDS)
    assert line.endswith(" ...") and len(line) <= 310
    assert WORDS.startswith(line.removesuffix("...")) and line.split()[-2] in WORDS.split()


def test_the_reason_is_what_came_before_the_advice():
    """Also where the text of somebody else has semicolons of its own."""
    error = TrackingError("MLflow refused: a; b", "try c")
    assert (str(error), error.reason, error.advice) == ("MLflow refused: a; b; try c", "MLflow refused: a; b", "try c")
