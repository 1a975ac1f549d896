"""A pipeline in a cell of a notebook, here of IPython's own shell."""

from __future__ import annotations

import json

import pytest
from support.project import ENTRY

PIPELINE = """
import threading
from kedro.pipeline import node, pipeline

waits, goes_on = threading.Event(), threading.Event()

def interrupted():
    yield {"a": 1}
    yield {"a": 2}
    raise KeyboardInterrupt

def slow():
    waits.set()
    assert goes_on.wait(30)
    return {"a": 1}

def quick():
    return {"a": 1}

def register_pipelines():
    return {each.__name__: pipeline([node(each, None, "m")]) for each in (interrupted, slow, quick)}
"""
BEGIN = """
import os, threading
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
bootstrap_project(os.getcwd())
def run(name):
    with KedroSession.create() as session:
        session.run(name)
"""
SHELL = """
import json, os, signal, sqlite3, sys
from IPython.core.interactiveshell import InteractiveShell
import mlflow
shell = InteractiveShell.instance()
for cell in json.loads(sys.argv[1]):
    shell.run_cell(cell)
    with sqlite3.connect("mlflow.db") as database:
        found = [status for status, in database.execute("SELECT status FROM runs ORDER BY start_time")]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if "RUNNING" not in found:
        assert mlflow.active_run() is None
        assert "MLFLOW_TRACKING_URI" not in os.environ
    left = [each for each in shell.events.callbacks["post_run_cell"] if each.__module__.startswith("kedro_mlflow")]
    print("FOUND", *found, len(left), flush=True)
"""


@pytest.fixture
def notebook(project):
    """Run cells, and return after each of them the states of all runs and how many callbacks IPython still has."""
    project.catalog(ENTRY)
    project.pipeline(PIPELINE)

    def run(*cells):
        out = project.python(
            f"import sys; sys.argv[1:] = {[json.dumps([BEGIN, *cells])]!r}\n{SHELL}",
            env={"IPYTHONDIR": str(project.root / "ipython")},
        )
        begun, *found = [line.split()[1:] for line in out.splitlines() if line.startswith("FOUND")]
        assert begun == ["0"]
        return found

    return run


def test_ctrl_c(project, notebook):
    """It ends the run when the cell ends, whatever comes later; what was yielded is there."""
    assert notebook("run('interrupted')", "1 + 1", "run('quick')") == [
        ["KILLED", "0"],
        ["KILLED", "0"],
        ["KILLED", "FINISHED", "0"],
    ]
    first = project.store.runs[0]["run_uuid"]
    assert project.store.points(first) == {"m.a": [(0, 1.0), (1, 2.0)]}


def test_a_run_in_another_thread(notebook):
    """Cells that have nothing to do with it, interrupted ones too, leave it alone."""
    assert notebook(
        "from proj.pipeline_registry import goes_on, waits\n"
        "thread = threading.Thread(target=run, args=('slow',))\nthread.start()\nassert waits.wait(30)",
        "1 + 1",
        "run('interrupted')",
        "goes_on.set()\nthread.join()",
    ) == [
        ["RUNNING", "0"],
        ["RUNNING", "0"],
        ["RUNNING", "KILLED", "0"],
        ["FINISHED", "KILLED", "0"],
    ]


@pytest.mark.newest  # a catalog of Kedro 0.19.9 has no entries by subscript
def test_the_newest_run_loads(project):
    """Though Kedro makes a catalog of its own for each run; what is shown of an entry says which run that is."""
    project.catalog(ENTRY)
    project.pipeline("""
        from kedro.pipeline import node, pipeline

        def register_pipelines():
            return {"__default__": pipeline([node(lambda lr: {"a": lr}, "params:lr", "m")])}
    """)
    project.write("conf/base/parameters.yml", "lr: 1\n")
    cells = [
        "%load_ext kedro.ipython",
        "print('SHOWN', catalog['m'])",
        "_ = session.run()",
        "print('LOADED', catalog.load('m'))",
        "print('SHOWN', catalog['m'])",
        "open('conf/base/parameters.yml', 'w').write('lr: 2')",
        "%reload_kedro",
        "print('LOADED', catalog.load('m'))",
        "_ = session.run()",
        "print('LOADED', catalog.load('m'), catalog.exists('m'))",
        "%reload_kedro",
        "catalog['m'].save({'a': 3})",
        "print('LOADED', catalog.load('m'))",
    ]
    code = f"""
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        for cell in {cells!r}:
            shell.run_cell(cell).raise_error()
    """
    out = project.python(code, env={"IPYTHONDIR": str(project.root / "ipython")})
    assert [line for line in out.splitlines() if line.startswith("LOADED")] == [
        "LOADED {'a': 1.0}",
        "LOADED {'a': 1.0}",
        "LOADED {'a': 2.0} True",
        "LOADED {'a': 3.0}",
    ]
    first, second = [line for line in out.splitlines() if line.startswith("SHOWN")]
    assert "(name='m', prefix='m', load_args=" in first
    run = project.store.runs[0]["run_uuid"]
    assert f"(name='m', prefix='m', run='{run}', where='{project.store.uri}', load_args=" in second
