"""What a run prints: nothing of others that it would not print without us, and not a line per yield."""

from __future__ import annotations

import pytest
from support.project import ENTRY

PIPELINES = """
from kedro.pipeline import node, pipeline

def epochs():
    for epoch in range(1200):
        yield {"loss": 1 / (epoch + 1)}

def both():
    for epoch in range(3):
        yield {"loss": epoch}, epoch

def register_pipelines():
    return {
        "__default__": pipeline([node(epochs, None, "m")]),
        "both": pipeline([node(both, None, ["m", "other"])]),
        "plain": pipeline([node(lambda: 1, None, "other")]),
    }
"""


@pytest.fixture
def yielding(project):
    project.catalog(ENTRY)
    project.pipeline(PIPELINES)
    return project


def told(out, what):
    return [line for line in out.splitlines() if what in line]


def test_a_line_per_entry_not_per_yield(yielding):
    """Kedro's first line of an entry is shown, the others are counted; what is not ours is shown as ever."""
    out = yielding.kedro("run").stdout
    assert len(told(out, "Saving data to m ")) == 1
    assert told(out, "dicts to m") == ["INFO kedro.mlflow_metrics Saved 1,200 dicts to m"]
    assert len(yielding.store.points()["m.loss"]) == 1200
    out = yielding.kedro("run", "--pipeline", "both").stdout
    assert len(told(out, "Saving data to m ")) == 1
    assert len(told(out, "Saving data to other ")) == 3


def test_at_debug_every_yield_is_shown(yielding):
    """Who wants to see everything does."""
    path = yielding.root / "conf/logging.yml"
    path.write_text(path.read_text().replace("INFO", "DEBUG"))
    out = yielding.kedro("run", "--pipeline", "both").stdout
    assert len(told(out, "Saving data to m ")) == 3
    assert not told(out, "dicts to m")


def test_no_more_warnings_of_others(yielding):
    """Our settings are read without a word, and what Python has shown once is not shown again because of us."""
    ours, none = (yielding.kedro("run", *more, cold=True).stdout for more in ((), ("--pipeline", "plain")))
    assert len(told(ours, "UserWarning")) == len(told(none, "UserWarning"))


def test_mlflow_makes_its_tables_without_a_word(yielding):
    """The first run in a fresh project prints nothing of alembic and tables."""
    yielding.store.path.unlink()
    out = yielding.kedro("run", cold=True).stdout
    assert not told(out, "mlflow.store")
    assert not told(out, "alembic")
    assert yielding.store.run["status"] == "FINISHED"
