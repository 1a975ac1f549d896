"""Whatever is killed, and whenever: what a save accepted is in MLflow once, after the run or after a sync.

``FAULTS=50 pytest tests/promises/test_killed.py`` tries 50 random moments instead of a few; ``FAULTS_SEED`` repeats
a try.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from support.kedro_cli import Command, WarmKedro
from support.project import PIPELINES, Project, Store
from support.server import MlflowServer

from kedro_mlflow_metrics.journal.disk import unsealed
from kedro_mlflow_metrics.journal.folder import Journal, Record, RunFolder
from kedro_mlflow_metrics.journal.session import Note, notes_in

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.minutes
FAULTS = int(os.environ.get("FAULTS", "2"))
SEED = os.environ.get("FAULTS_SEED", str(time.time_ns()))
START = 1_700_000_000_000
CATALOG = "".join(f"{name}: {{type: kedro_mlflow_metrics.MlflowMetricsDataSet}}\n" for name in ("m", "n", "seen"))
SETTINGS = """
from kedro.framework.hooks import hook_impl

catalogs = []

class Keep:
    @hook_impl
    def after_catalog_created(self, catalog):
        catalogs.append(catalog)

HOOKS = (Keep(),)
"""
SAVERS = """
import multiprocessing, random, sys, time
import mlflow, requests
from kedro_mlflow_metrics import MlflowMetricsDataSet
from kedro_mlflow_metrics.tracking import rest

def save(key):
    metrics = MlflowMetricsDataSet(prefix=f"p{key}", run_id=sys.argv[1])
    for step in range(300):
        metrics.save({"a": {"value": step / 7, "step": step, "timestamp": 1_700_000_000_000 + step // 3}})
        time.sleep(random.uniform(0, 0.03))

children = [multiprocessing.get_context("fork").Process(target=save, args=(key,)) for key in range(8)]
[child.start() for child in children]
[child.join() for child in children]
sys.exit(any(child.exitcode for child in children))
"""
few = pytest.mark.parametrize("moment", range(max(1, FAULTS // 6)))
begins = pytest.mark.parametrize("begins", ["online", "offline"])
context = pytest.mark.parametrize("context", ["fork", "spawn"])


def orphans(root: Path) -> list[int]:
    """Return the processes that were started in a project's folder and still live."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (each / "cwd").readlink() == root and (each / "stat").read_text().split()[2] != "Z":
                found.append(int(each.name))
    return found


def rows(key: str, steps: range) -> Counter:
    """Return what MLflow holds of a curve when all of it is there."""
    return Counter((key, step, START + step // 3, step / 7) for step in steps)


BIG = rows("m.first", range(1)) + sum((rows(f"m.a{key}", range(key, 30_000, 3)) for key in range(3)), Counter())


def make_run(store: Store) -> str:
    """Put a run into a store."""
    ident = uuid4().hex
    names = "run_uuid, name, status, experiment_id, start_time, lifecycle_stage, user_id"
    with contextlib.closing(sqlite3.connect(store.path)) as database, database:
        query = f"INSERT INTO runs ({names}) VALUES (?,?,?,?,?,?,?)"
        database.execute(query, (ident, "shared", "RUNNING", 0, START, "active", "me"))
    return ident


def until(happens: Callable[..., object], *arguments: object) -> None:
    """Wait until something happens."""
    deadline = time.monotonic() + 60
    while not happens(*arguments):
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Case:
    """A project, its MLflow, and the `kedro` command."""

    def __init__(self, project: Project, warm: WarmKedro, server: MlflowServer | None, store: Store) -> None:
        self.root, self.warm, self.server, self.store = project.root, warm, server, store
        self._journal = project.root / ".kedro_mlflow_metrics/runs"

    def run(self, pipeline: str, *arguments: str, **env: str) -> Command:
        return self.warm.start(self.root, "run", "--pipeline", pipeline, *arguments, env=env)

    def start_sync(self) -> Command:
        return self.warm.start(self.root, "metrics", "sync")

    def sync(self) -> None:
        """Send what waits, and find nothing left."""
        self.warm.run(self.root, "metrics", "sync")
        assert self.left == []

    def asked(self, name: str = "m") -> int:
        """Return the number that was asked for last; what comes before it was accepted."""
        with contextlib.suppress(OSError, IndexError):
            return int((self.root / f"asked-{name}").read_bytes().split()[-1])
        return -1

    def wait(self, step: int, command: Command) -> None:
        """Wait until a step was asked for."""
        until(lambda: self.asked() >= step or not command.alive)
        assert self.asked() >= step, command.output

    def has_more_than(self, number: int) -> bool:
        return bool(self.store.runs) and self.store.rows("SELECT COUNT(*) FROM metrics")[0][0] > number

    def rows(self, like: str = "%") -> Counter:
        query = "SELECT key, step, timestamp, value FROM metrics WHERE run_uuid = ? AND key LIKE ?"
        return Counter(self.store.rows(query, self.store.runs[0]["run_uuid"], like))

    def accepted(self, name: str = "m") -> int:
        """Check that a curve has every point whose successor was asked for, and no other; return how many."""
        last, found = self.asked(name), self.rows(f"{name}.a")
        assert last >= 0
        assert found - rows(f"{name}.a", range(last + 1)) == Counter()
        assert rows(f"{name}.a", range(last)) - found == Counter()
        return last

    @property
    def left(self) -> list[Path]:
        """The folders of runs in the journal."""
        return [path for path in self._journal.glob("*") if path.is_dir()]


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Chance, and how to repeat it."""
    print(f"FAULTS_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(params=["server", "sqlite"])
def where(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def case(project: Project, kedro: WarmKedro, request: pytest.FixtureRequest) -> Case:
    """Against a server with an empty store; a test that asks `where` meets a database in process too."""
    project.catalog(CATALOG)
    project.pipeline(PIPELINES / "killed.py")
    project.write("src/proj/settings.py", SETTINGS)
    quiet = "loggers: {kedro.io.data_catalog: {level: WARNING}, "
    logging = project.root / "conf/logging.yml"
    logging.write_text(logging.read_text().replace("loggers: {", quiet))
    if "where" in request.fixturenames and request.getfixturevalue("where") == "sqlite":
        return Case(project, kedro, None, project.store)
    server, store = request.getfixturevalue("dead_server")
    project.settings(f"tracking_uri: {server.start().uri}\n")
    return Case(project, kedro, server, store)


@pytest.mark.parametrize("moment", range((FAULTS + 1) // 2))
def test_a_pipeline(case, where, moment, dice):
    """Every point whose successor was asked for is in MLflow, whenever `kedro run` is killed."""
    run = case.run("short")
    case.wait(dice.randrange(4900), run)
    time.sleep(dice.random() / 100)
    run.signal(signal.SIGKILL)
    killed = run.wait() is None
    case.sync()
    print(f"killed: {killed}, points: {case.accepted()}")
    assert killed or case.asked() == 5000


@few
def test_the_server_in_a_big_save(case, moment, dice):
    """A save of 30,000 points goes on where the server was killed, or waits for the sync."""
    run, goal = case.run("big"), dice.randrange(1, 28_000)
    until(case.has_more_than, 0)
    (case.root / "go").touch()
    until(case.has_more_than, goal)
    time.sleep(dice.random() / 50)
    case.server.kill()
    assert not case.has_more_than(30_000)
    time.sleep(dice.uniform(0.2, 1))
    case.server.start()
    assert run.wait() == 0, run.output
    case.sync()
    assert case.rows() == BIG
    assert case.store.run["status"] == "FINISHED"


def waiting(case: Case, begins: str) -> tuple[Record, int]:
    """Leave 30,000 points in the journal, of a run that MLflow knows or does not know yet."""
    if begins == "offline":
        case.server.kill()
    run = case.run("big")
    until(lambda: case.left if begins == "offline" else case.has_more_than(0))
    case.server.kill()
    (case.root / "go").touch()
    assert run.wait() == 0, run.output
    folder = RunFolder(Journal(), *case.left)
    record, (found,) = folder.read(), notes_in(folder)
    assert (found.note.status, bool(record.run_id)) == ("FINISHED", begins == "online")
    assert not case.has_more_than(1)
    case.server.start()
    return record, found.note.end_time


def check(case: Case, record: Record, end_time: int) -> None:
    """Check that all of it is in MLflow, in one run with the true start and end."""
    assert case.rows() == BIG
    assert (case.store.run["status"], case.store.run["end_time"]) == ("FINISHED", end_time)
    assert record.run_id or case.store.rows("SELECT start_time FROM runs") == [(record.start_time,)]
    assert case.left == []


@begins
@few
def test_a_sync(case, begins, moment, dice):
    """A sync that is killed, twice, is made good by the next one."""
    left = waiting(case, begins)
    first = dice.randrange(5000) if moment % 2 else -1  # as soon as there is a run
    for goal in (first, dice.randrange(5000, 25_000)):
        sync = case.start_sync()
        until(case.has_more_than, goal)
        sync.signal(signal.SIGKILL)
        assert sync.wait() is None, sync.output
        assert not case.has_more_than(30_000)
    case.sync()
    check(case, *left)


@begins
@few
def test_two_syncs(case, begins, moment):
    """Two syncs at once make one run, send each point once and leave nothing."""
    left = waiting(case, begins)
    both = case.start_sync(), case.start_sync()
    codes = {sync.wait() for sync in both}
    assert 0 in codes and codes <= {0, 1}, [sync.output for sync in both]
    check(case, *left)


@begins
def test_sync_beside(case, begins):
    """A sync disturbs no pipeline that still streams."""
    if begins == "offline":
        case.server.kill()
    run = case.run("endless")
    case.wait(200, run)
    if begins == "offline":
        case.server.start()
    for _ in range(3):
        assert case.start_sync().wait() in (0, 1)
        assert run.alive and case.left
    last = case.start_sync()
    time.sleep(0.2)
    (case.root / "stop").touch()
    assert run.wait() == 0, run.output
    assert last.wait() in (0, 1)
    assert case.rows() == rows("m.a", range(case.asked()))
    assert case.store.run["status"] == "FINISHED"
    case.sync()


def test_the_server_under_eight_processes(case, dice):
    """Eight processes stream into one run while the server is killed and restarted three times."""
    ident = make_run(case.store)
    env = {**os.environ, "MLFLOW_TRACKING_URI": case.server.uri}
    savers = subprocess.Popen([sys.executable, "-c", SAVERS, ident], cwd=case.root, env=env)
    until(case.has_more_than, 0)
    for _ in range(3):
        time.sleep(dice.uniform(0.2, 1))
        case.server.kill()
        time.sleep(dice.uniform(0.1, 0.7))
        assert savers.poll() is None and case.left
        case.server.start()
    assert savers.wait(60) == 0
    case.sync()
    assert case.rows() == sum((rows(f"p{key}.a", range(300)) for key in range(8)), Counter())
    assert case.store.run["status"] == "RUNNING"


@context
def test_a_worker(case, context):
    """A worker that dies fails the run; what it and its neighbour had accepted is in MLflow."""
    run = case.run("dies", "--runner", "ParallelRunner", KEDRO_MP_CONTEXT=context)
    assert run.wait(60) == 1, run.output
    assert (case.store.run["status"], case.left) == ("FAILED", [])
    assert case.accepted("m") == 1200
    case.accepted("n")


@context
def test_workers(case, context):
    """What workers stream is in MLflow at the end of the run, and seen by a node in another worker before."""
    run = case.run("workers", "--runner", "ParallelRunner", KEDRO_MP_CONTEXT=context)
    assert run.wait(60) == 0, run.output
    assert (case.root / "seen").read_text() == "1500"
    assert case.rows() == rows("m.a", range(1500)) + rows("n.a", range(3000)) + rows("seen.seen", range(1500, 1501))
    assert (case.store.run["status"], case.left) == ("FINISHED", [])


@pytest.mark.parametrize("moment", range(FAULTS))
@pytest.mark.parametrize("how", ["SequentialRunner", "fork", "spawn"])
def test_the_opener(case, how, moment, dice):
    """The next `kedro run`, or a sync, sets its run to KILLED, with all points, though orphaned workers live."""
    runner = ["--runner", "SequentialRunner" if how == "SequentialRunner" else "ParallelRunner"]
    run = case.run("workers", *runner, KEDRO_MP_CONTEXT=how if how != "SequentialRunner" else "fork")
    until(lambda: bool(case.store.runs) or not run.alive)
    time.sleep(dice.random() * 2)
    run.signal(signal.SIGKILL)
    assert run.wait() is None, run.output
    killed_at = time.time_ns() // 1_000_000
    assert case.store.run["status"] == "RUNNING"
    if moment % 4 >= 2:
        kill_all(orphans(case.root))
    if moment % 2:
        said = case.warm.run(case.root, "metrics", "sync", code=None)
    else:
        said = case.warm.run(case.root, "run", "--pipeline", "other")
    assert said.count("was left RUNNING by a process that is gone; it is KILLED now") == 1
    first, *others = case.store.runs
    assert (first["status"], [other["status"] for other in others]) == ("KILLED", ["FINISHED"] * (1 - moment % 2))
    start, end = case.store.rows("SELECT start_time, end_time FROM runs ORDER BY start_time")[0]
    assert start <= end <= killed_at + (10_000 if how != "SequentialRunner" else 0)
    kill_all(orphans(case.root))
    case.sync()
    for name in ("m", "n"):
        if case.asked(name) >= 0:
            case.accepted(name)
    assert case.store.runs[0]["status"] == "KILLED"


def kill_all(pids: list[int]) -> None:
    """Kill processes and wait until they are gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        until(lambda pid=pid: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()[:99])


@pytest.mark.parametrize("command", [("run", "--pipeline", "other"), ("metrics", "sync")])
def test_a_living_run_is_not_touched(case, command):
    """Neither one that computes for long, nor one of another machine, nor of another start of this one."""
    run = case.run("endless")
    case.wait(100, run)
    (folder,) = case.left
    (note,) = folder.glob("*.session")
    record, foreign = RunFolder(Journal(str(case.root)), folder), []
    for change in ({"host": "elsewhere"}, {"boot": "another"}):
        ident = make_run(case.store)
        other = record.journal.of(replace(record.read(), run_id=ident))
        other.write(replace(record.read(), run_id=ident))
        stated = Note(**{**json.loads(unsealed(note.read_bytes().rstrip(b"\n"))), **change})
        (other.path / note.name).write_bytes(stated.line)
        foreign.append(ident)
    case.warm.run(case.root, *command, code=None)
    status = {each["run_uuid"]: each["status"] for each in case.store.runs if not each["name"].startswith("other ")}
    assert set(status.values()) == {"RUNNING"}
    assert len(status) == 3
    for ident in foreign:
        assert "RUNNING" in case.warm.run(case.root, "metrics", "sync", "--dry-run", code=None)
        assert "is KILLED now" in case.warm.run(case.root, "metrics", "end", ident[:8])
    (case.root / "stop").touch()
    assert run.wait() == 0, run.output
    assert Counter(each["status"] for each in case.store.runs if not each["name"].startswith("other ")) == {
        "FINISHED": 1,
        "KILLED": 2,
    }
    case.sync()


@pytest.mark.parametrize("state", ["alive", "dead", "hung"])
@pytest.mark.parametrize(("number", "codes"), [(signal.SIGTERM, {143}), (signal.SIGINT, {1, 130})])
def test_a_signal(case, state, number, codes):
    """SIGTERM and Ctrl-C end a stream in time; what it had accepted is in MLflow, or waits until MLflow answers."""
    run = case.run("endless")
    case.wait(300, run)
    if state != "alive":
        case.server.signal(signal.SIGSTOP)
    if state == "dead":
        case.server.kill()
    case.wait(1000, run)
    begun = time.monotonic()
    run.signal(number)
    assert run.wait(60) in codes, run.output
    assert time.monotonic() - begun < (20 if state == "hung" else 8), run.output
    if state == "hung":
        case.server.go_on()
    elif state == "dead":
        case.server.start()
    if state != "alive":
        assert case.left
        case.sync()
    case.accepted()
    assert (case.store.run["status"], case.left) == ("KILLED", [])


def test_a_fork(case, where):
    """A node forks while it streams; its children save into the same run, one of them until it is killed."""
    run = case.run("forks")
    assert run.wait(60) == 0, run.output
    children = sum((rows("m.b", range(start, start + 300)) for start in (300, 900, 1500)), Counter())
    assert case.rows() == rows("m.a", range(3000)) + children
    assert (case.store.run["status"], case.left) == ("FINISHED", [])
