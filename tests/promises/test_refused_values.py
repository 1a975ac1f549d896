"""What ``kedro run`` shows of a value that is not accepted: one line of ours, and no way through our code."""

from __future__ import annotations

import re

import pytest
from support.project import ENTRY

PIPELINES = """
    import pandas as pd
    from kedro.pipeline import node, pipeline

    def text():
        return {"model": "xgboost"}

    def number():
        return 0.93

    def column():
        return pd.DataFrame({"class": ["cat"], "recall": [0.9]})

    def none():
        metrics = {"a": 1}

    def late():
        yield {"a": 1}
        yield {"a": "x"}

    def broken():
        yield {"a": 1}
        raise RuntimeError("on purpose")

    def circular():
        yield {"a": 1}
        error = RuntimeError("its own cause")
        raise error from error

    def both():
        return iter([{"a": 1}, {"a": "x"}]), None

    def register_pipelines():
        functions = (text, number, column, none, late, broken, circular)
        found = {each.__name__: pipeline([node(each, None, "m")]) for each in functions}
        found["both"] = pipeline([node(both, None, ["m", "n"])])
        return {"__default__": found["text"], **found}
"""


@pytest.fixture
def refusing(project):
    """A project whose nodes return what is not accepted."""
    project.catalog(ENTRY + ENTRY.replace("m:", "n:"))
    project.pipeline(PIPELINES)
    return project


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (
            "text",
            "dataset 'm', metric 'model': got 'xgboost' (str); accepted: a number; log text with mlflow.log_param or "
            "mlflow.set_tag inside the node",
        ),
        ("number", """dataset 'm', the data: got 0.93 (float), which has no name; return {"accuracy": 0.93}"""),
        (
            "column",
            "dataset 'm', column 'class', row 0: got 'cat' (str); accepted: a number; drop the column, or with pandas "
            "make it the index",
        ),
        (
            "late",
            "dataset 'm', metric 'a': got 'x' (str); accepted: a number; log text with mlflow.log_param or "
            "mlflow.set_tag inside the node",
        ),
        ("none", "dataset 'm': 'none' returned None for it; is its 'return' missing?"),
        ("both", "dataset 'n': 'both' returned None for it; is its 'return' missing?"),
    ],
)
def test_one_line_and_none_of_our_frames(refusing, pipeline, message):
    """The last line says where, what came and what to do; the traceback ends in Kedro."""
    out = refusing.kedro("run", "--pipeline", pipeline, fails=True).stdout
    *_, line = (line for line in out.splitlines() if "DatasetError: " in line)
    assert line.split(": ", 1)[1].removeprefix("m: ") == message
    assert "kedro/runner" in out
    assert not re.findall(r'File ".*(?:kedro_mlflow_metrics|pluggy|contextlib)\b.*"', out)


@pytest.mark.parametrize(
    ("pipeline", "line"), [("broken", 'raise RuntimeError("on purpose")'), ("circular", "raise error from error")]
)
def test_an_error_of_the_user_is_shown_with_the_way_to_it(refusing, pipeline, line):
    """Of what a generator raises, the line in it is shown."""
    assert line in refusing.kedro("run", "--pipeline", pipeline, fails=True).stdout
