"""One MLflow run for a pipeline that is spread over processes which know nothing of each other but a key."""

from __future__ import annotations

import os
import signal

import pytest
from support.bench import said, until
from support.pipelines.tasks import POINTS
from support.project import PIPELINES
from support.proxy import always

pytestmark = pytest.mark.minutes
both = pytest.mark.parametrize("bench", ["sqlite_server", "postgres_server"], indirect=True)
SESSIONS = "SELECT value FROM tags WHERE run_uuid = ? AND substr(key, 1, 14) = 'kedro.session.'"
AIRFLOW = {"AIRFLOW_CTX_DAG_ID": "churn", "AIRFLOW_CTX_DAG_RUN_ID": "manual__2026-11-30T09:00:00+00:00"}

LOADING = """
from pathlib import Path

from kedro.pipeline import node, pipeline

def save():
    return {"sum": 3}

def load(metrics):
    Path("loaded").write_text(str(metrics))
    return 1

def register_pipelines():
    return {"__default__": pipeline([node(save, None, "task_0", name="t0"), node(load, "task_0", "done", name="load")])}
"""


@pytest.fixture(autouse=True)
def tasks(bench):
    """Each node is a task that an orchestrator starts as a Kedro session of its own."""
    bench.project.catalog('"task_{number}": {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n')
    bench.project.pipeline(PIPELINES / "tasks.py")
    bench.task = lambda number, env=AIRFLOW: bench.kedro.start(bench.root, "run", "--nodes", f"t{number}", env=env)


def expected(*numbers):
    """Return how many points such tasks save, by key."""
    return {f"task_{number}.{key}": count for number in numbers for key, count in (("value", 1), ("loss", POINTS - 1))}


def stored(bench):
    """Return how many points are in MLflow, by key."""
    found = {}
    for (key, *_), number in bench.stored.items():
        found[key] = found.get(key, 0) + number
    return found


def states(bench):
    """Return the run's status and what its sessions say."""
    ((run, _, status, *_),) = bench.runs
    return status, sorted(said.partition(" ")[0] for (said,) in bench.store.rows(SESSIONS, run))


@both
def test_tasks_that_start_at_the_same_instant(bench):
    """One run has all points of all of them, and says which key it goes by."""
    commands = [bench.task(number) for number in range(5)]
    assert [command.wait() for command in commands] == [0] * 5, [command.output for command in commands]
    assert stored(bench) == expected(*range(5))
    assert states(bench) == ("FINISHED", ["finished"] * 5)
    key, ((run, *_),) = "/".join(AIRFLOW.values()), bench.runs
    for command in commands:
        (line,) = (line for line in said(command.output, "INFO") if "Run key" in line)
        assert f"Run key '{key}', from AIRFLOW_CTX_DAG_ID and AIRFLOW_CTX_DAG_RUN_ID: run " in line
        assert run in line
    assert bench.folders == []


@both
def test_a_task_that_is_tried_again(bench):
    """While it has failed the run is FAILED, though others went well; after it has done better the run is FINISHED."""
    (bench.root / "fail-1").touch()
    assert [bench.task(0).wait(), bench.task(1).wait(), bench.task(2).wait()] == [0, 1, 0]
    assert states(bench) == ("FAILED", ["failed", "finished", "finished"])
    (bench.root / "fail-1").unlink()
    assert bench.task(1).wait() == 0
    assert states(bench) == ("FINISHED", ["finished"] * 3)
    assert stored(bench) == expected(0, 1, 2)


@both
def test_a_task_that_is_killed(bench):
    """What it had saved is there, the others go on, and the run says what happened until it was tried again."""
    for number in (0, 1):
        (bench.root / f"hold-{number}").touch()
    killed, living = bench.task(0), bench.task(1)
    until(lambda: all((bench.root / f"saved-{number}").exists() for number in (0, 1)))
    killed.signal(signal.SIGKILL)
    killed.wait()
    assert states(bench) == ("RUNNING", ["running", "running"])
    assert bench.task(2).wait() == 0
    assert states(bench) == ("KILLED", ["finished", "killed", "running"])
    (bench.root / "hold-1").unlink()
    assert living.wait() == 0
    assert states(bench) == ("KILLED", ["finished", "finished", "killed"])
    assert stored(bench) == expected(0, 1, 2)
    (bench.root / "hold-0").unlink()
    assert bench.task(0).wait() == 0
    assert states(bench)[0] == "FINISHED"
    assert bench.folders == []


@both
def test_sessions_that_began_offline(bench):
    """They agree on one run when MLflow is back, and with one that begins then."""
    bench.proxy.plan = always("500")
    commands = [bench.task(number) for number in range(3)]
    assert [command.wait() for command in commands] == [0] * 3
    assert bench.runs == []
    bench.proxy.plan = always("pass")
    assert bench.task(3).wait() == 0
    bench.sync()
    assert stored(bench) == expected(*range(4))
    assert states(bench) == ("FINISHED", ["finished"] * 4)
    assert bench.folders == []


@pytest.mark.parametrize("env", [AIRFLOW, {}], ids=["shared", "alone"])
def test_a_run_that_is_made_too_late(bench, env):
    """Its session had given up waiting and made another: the empty one is deleted when the session ends."""
    bench.settings(timeout=1)
    delays = iter(["delay 3"])
    bench.proxy.plan = lambda path, _: next(delays, "pass") if "runs/create" in path else "pass"
    (bench.root / "hold-0").touch()
    command = bench.task(0, env)
    until(lambda: len(bench.runs) == 2)
    (bench.root / "hold-0").unlink()
    assert command.wait() == 0
    ((*_, status, _, _),) = bench.runs
    assert status == "FINISHED"
    assert stored(bench) == expected(0)
    assert bench.folders == []


@both
def test_an_election_that_breaks_off(bench):
    """With `on_failure: fail` the session stops; the run that it may have made does not stay RUNNING."""
    bench.settings(on_failure="fail")
    bench.proxy.plan = lambda path, _, body: "500" if "experiments/create" in path and b"run_key" in body else "pass"
    assert bench.task(0).wait() == 1
    assert bench.runs[0][2] == "RUNNING"
    bench.proxy.plan = always("pass")
    *_, line = bench.sync().splitlines()
    assert line.endswith(": no points waited, its status was sent")
    assert states(bench) == ("FAILED", ["failed"])
    assert (bench.task(0).wait(), bench.task(1).wait()) == (0, 0)
    assert states(bench) == ("FINISHED", ["finished"] * 2)
    assert stored(bench) == expected(0, 1)
    assert bench.folders == []


@pytest.mark.parametrize("env", [AIRFLOW, {}], ids=["shared", "alone"])
def test_an_end_that_does_not_get_through(bench, env):
    """It is tried once more: the machine and its journal may be gone a moment later."""
    faults = iter(["503"])
    bench.proxy.plan = lambda _path, _, body: next(faults, "pass") if b"FINISHED" in body.upper() else "pass"
    command = bench.task(0, env)
    assert command.wait() == 0
    assert next(faults, None) is None
    assert said(command.output, "ERROR") == []
    assert bench.runs[0][2] == "FINISHED"
    assert bench.folders == []


def test_the_last_word(bench):
    """`kedro metrics end` overrules what sessions have said, for good."""
    (bench.root / "fail-1").touch()
    assert [bench.task(0).wait(), bench.task(1).wait()] == [0, 1]
    ((run, *_),) = bench.runs
    bench.kedro.run(bench.root, "metrics", "end", run, "--status", "FINISHED")
    assert bench.task(2).wait() == 0
    assert states(bench) == ("FINISHED", ["finished"] * 3)


def test_a_run_that_a_command_has_started(bench):
    """Its id is the answer; who is handed it joins and does not end the run."""
    options = ("--name", "nightly", "--tag", "team=churn", "-o", "id.txt")
    answer, _ = bench.kedro.answer(bench.root, "start", *options)
    run = answer.strip()
    assert (bench.root / "id.txt").read_text() == run
    commands = [bench.task(number, {"MLFLOW_RUN_ID": run}) for number in range(2)]
    assert [command.wait() for command in commands] == [0, 0]
    ((found, name, status, *_),) = bench.runs
    assert (found, name, status) == (run, "nightly", "RUNNING")
    assert bench.store.tags(run)["team"] == "churn"
    assert stored(bench) == expected(0, 1)
    bench.kedro.run(bench.root, "metrics", "end", run, "--status", "FINISHED")
    assert bench.runs[0][2] == "FINISHED"
    assert "accepted is NAME=TEXT" in bench.kedro.answer(bench.root, "start", "--tag", "x", code=2)[1]


@pytest.mark.parametrize("variable", ["KEDRO_MLFLOW_RUN_KEY", "KUBEFLOW_RUN_ID", "KEDRO_CONFIG_RUN_ID"])
def test_the_variables(bench, variable):
    """Each alone makes one run of two sessions; our own wins over an orchestrator's."""
    env = {variable: "a key", "AIRFLOW_CTX_DAG_ID": "half of a key"}
    assert [bench.task(number, env).wait() for number in range(2)] == [0, 0]
    if variable == "KEDRO_MLFLOW_RUN_KEY":
        assert bench.task(2, {**AIRFLOW, **env}).wait() == 0
    ((run, *_),) = bench.runs
    assert bench.store.tags(run)["kedro.run_key"] == "a key"


@pytest.mark.parametrize(
    ("key", "why"),
    [("""it's "quoted\"""", "has both kinds of quotes; leave one out"), ("\udc80", "is no Unicode; set another")],
)
def test_a_key_that_mlflow_cannot_look_for(bench, key, why):
    """It is refused before anything is computed."""
    command = bench.task(0, {"KEDRO_MLFLOW_RUN_KEY": key})
    assert command.wait() == 1
    assert why in command.output
    assert not os.path.lexists(bench.root / "saved-0")


def test_a_task_that_was_killed_here_and_tried_again_elsewhere(bench):
    """What the journal of the first machine still says of it does not undo that it has finished."""
    (bench.root / "hold-0").touch()
    killed = bench.task(0)
    until((bench.root / "saved-0").exists)
    killed.signal(signal.SIGKILL)
    killed.wait()
    (bench.root / "hold-0").unlink()
    bench.settings(journal={"path": "another-machine"})
    assert bench.task(0).wait() == 0
    assert states(bench) == ("FINISHED", ["finished"])
    bench.settings()
    bench.sync()
    assert states(bench) == ("FINISHED", ["finished"])
    assert bench.folders == []


def test_a_task_that_failed_while_nobody_answered_and_is_tried_again(bench):
    """The one that went well has the last word, though MLflow hears of both at the same time."""
    (bench.root / "fail-0").touch()
    bench.proxy.plan = always("500")
    assert bench.task(0).wait() == 1
    bench.proxy.plan = always("pass")
    (bench.root / "fail-0").unlink()
    assert bench.task(0).wait() == 0
    assert states(bench) == ("FINISHED", ["finished"])
    assert bench.folders == []


def test_a_task_that_only_loads(bench):
    """It loads from the run of the key, and leaves it as it is."""
    bench.project.pipeline(LOADING)
    first = bench.task(0)
    assert first.wait() == 0, first.output
    task = bench.kedro.start(bench.root, "run", "--nodes", "load", env=AIRFLOW)
    assert task.wait() == 0, task.output
    assert (bench.root / "loaded").read_text() == "{'sum': 3.0}"
    assert states(bench) == ("FINISHED", ["finished"])
    other = bench.kedro.start(bench.root, "run", "--nodes", "load", env={"KEDRO_MLFLOW_RUN_KEY": "of no run"})
    assert other.wait() == 1
    assert "there is no MLflow run to load from" in other.output
