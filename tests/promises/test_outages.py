"""Whatever fails on the way: exactly what was saved is in MLflow afterwards, or in the journal until it answers."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from support.bench import Bench, said, saved, until
from support.project import BIN
from support.proxy import always, from_batch, large, on_batches
from support.server import free_port
from support.terminal import on_a_terminal

pytestmark = pytest.mark.minutes
FAULTS = ["refuse", "delay 2.5", "cut", "lose", "redirect", "401", "404", "413", "429", "500", "503"]


def now() -> int:
    return time.time_ns() // 1_000_000


# Faults that pass


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_in_a_stream(bench, fault):
    """A fault that passes costs one warning; all is there at the end of the run."""
    bench.settings(timeout=1 if fault == "delay 2.5" else 5)
    hold, bench.proxy.plan = bench.hold(), large(5_000) if fault == "413" else on_batches(fault, range(1, 3))
    command = bench.start("stream", count=100, pause=0.01)
    until(lambda: len(bench.hit(fault)) >= 2)
    hold.unlink()
    assert command.wait() == 0, command.output
    bench.complete(saved(bench.yielded))
    assert said(command.output, "ERROR") == []
    warnings = said(command.output, "WARNING")
    assert len(warnings) == (fault != "413")  # smaller batches are no outage
    assert all(f"{bench.root}/.kedro_mlflow_metrics/" in each and "'kedro metrics sync'" in each for each in warnings)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_in_a_big_save(bench, fault):
    """One save of 5,000 points whose third batch fails: the rest of it comes from the journal."""
    bench.settings(timeout=2 if fault == "delay 2.5" else 5)
    bench.proxy.plan = large(30_000) if fault == "413" else on_batches(fault, range(2, 3))
    out = bench.run("big", count=5_000)
    bench.complete(saved(5_000, "big.loss"))
    assert bench.hit(fault)
    assert said(out, "ERROR") == []
    assert len(said(out, "WARNING")) == (fault != "413")


def test_faults_of_a_generator_node(bench):
    """A node that yields is saved chunk by chunk, and what waits is sent at the end of the run."""
    bench.proxy.plan = on_batches("500", range(1, 2))
    out = bench.run("chunks", count=150, pause=0.01)
    bench.complete(saved(150))
    assert len(said(out, "WARNING")) == 1


# Faults that last


@pytest.mark.parametrize("fault", ["lose", "redirect", "401"])
def test_lasting_fault(bench, fault):
    """The pipeline ends with 0 and says once what waits; sync sends it, and the run ended when it did."""
    bench.proxy.plan = from_batch(1, fault)
    begun = now()
    out = bench.run("stream", count=150, pause=0.01)
    ended = now()
    left = 150 - sum(len(metrics) for action, metrics in bench.batches if action == "pass")
    assert 0 < left < 150
    (error,) = said(out, "ERROR")
    assert re.search(rf" {left} points .*of run 'stream [0-9: -]+' wait in .*kedro metrics sync$", error)
    assert len(said(out, "WARNING")) == 1
    (row,) = bench.dry_run()
    assert row[1] == str(left) and bench.proxy.uri in row
    assert "0 points sent, the rest waits" in bench.sync(code=1)  # still out of reach
    assert len(bench.folders) == 1
    bench.proxy.plan = always("pass")
    sent = bench.sync()
    assert f"{left} points sent" in sent
    bench.complete(saved(150))
    ((_, _, _, start, end),) = bench.runs
    assert begun <= start <= end <= ended


# The server is down from the start


@pytest.mark.parametrize(("mode", "fails"), [("closed", False), ("hung", True), ("404", True), ("500", False)])
def test_offline_run(bench, mode, fails):
    """The whole pipeline runs without the server; sync makes its run, once, as it was."""
    night = {"name": "night", "tags": {"a": 7}}
    if stop := {"closed": bench.server.kill, "hung": bench.server.hang}.get(mode):
        stop()
    bench.settings(bench.server.uri if stop else None, run=night, timeout=1 if stop else 5)
    bench.proxy.plan = always(mode)
    begun = now()
    out = bench.run("follow", count=5, fails=fails, code=int(fails))
    ended = now()
    assert "ACTIVE None" in out
    loaded = json.loads(next(line for line in out.splitlines() if line.startswith("LOADED"))[7:])
    assert loaded == {"loss": [{"value": i / 4, "step": i} for i in range(5)]}
    assert len([line for line in said(out, "WARNING") if "go on in the same" not in line]) == 1
    (error,) = said(out, "ERROR")
    assert re.search(r" 5 points .*of run 'night' wait in .*kedro metrics sync$", error)
    bench.server.revive()
    bench.proxy.plan = always("pass")
    assert bench.stored == Counter()
    bench.sync()
    bench.complete(saved(5), status="FAILED" if fails else "FINISHED")
    ((run, name, _, start, end),) = bench.runs
    assert name == "night"
    assert begun <= start <= end <= ended
    tags = bench.store.tags(run)
    assert {"kedro.pipeline": "follow", "mlflow.user": getpass.getuser(), "a": "7"}.items() <= tags.items()
    assert "Nothing waits." in bench.sync()
    assert [row[0] for row in bench.runs] == [run]


@pytest.mark.parametrize("fault", ["lose", "cut"])
def test_lost_answer_of_a_new_run(bench, fault):
    """MLflow made the run and nobody learned of it: the next try finds it."""
    bench.proxy.plan = always("500")
    bench.run("one")
    bench.proxy.plan = lambda path, _: fault if "runs/create" in path else "pass"
    bench.sync(code=1)
    assert len(bench.runs) == 1
    bench.proxy.plan = always("pass")
    bench.sync()
    bench.complete(saved(1, "one.loss"))


def test_lost_answer_at_the_start(bench):
    """The same at the start of a pipeline: it runs offline, and ends in the run whose answer was lost."""
    bench.proxy.plan = lambda path, _: "lose" if "runs/create" in path else "pass"
    out = bench.run("one")
    assert said(out, "ERROR") == []
    bench.complete(saved(1, "one.loss"))


def test_server_comes_back_before_the_end(bench):
    """Then the run is made at its end, without sync."""
    bench.proxy.plan = lambda _path, number: "503" if number < 1 else "pass"
    out = bench.run("follow", count=5)
    assert "ACTIVE None" in out
    assert said(out, "ERROR") == []
    assert len(said(out, "WARNING")) == 1
    bench.complete(saved(5))


# Failures that are wanted


def test_fail_at_the_start(bench):
    """With ``on_failure: fail`` nothing is computed without MLflow."""
    bench.settings(on_failure="fail")
    bench.proxy.plan = always("500")
    out = bench.run("stream", code=1)
    assert out.splitlines()[-1].startswith(
        f"Error: MLflow at {bench.proxy.uri} did not answer as MLflow does (HTTP 500)"
    )
    assert not (bench.root / "yielded").exists()
    assert bench.folders == []


def test_fail_in_the_middle(bench):
    """With ``on_failure: fail`` an outage ends the pipeline; what was accepted before is not lost."""
    bench.settings(on_failure="fail")
    bench.proxy.plan = on_batches("404", range(1, 10**6))
    out = bench.run("stream", count=1_000, pause=0.01, code=1)
    assert 1 < bench.yielded < 1_000
    assert "did not answer as MLflow does (HTTP 404)" in out.splitlines()[-1]
    bench.proxy.plan = always("pass")
    bench.sync()
    assert bench.stored == saved(bench.yielded)  # without the one whose save raised
    assert [row[2] for row in bench.runs] == ["FAILED"]
    assert bench.folders == []


# A journal that takes no more


def test_no_journal_while_the_server_answers(bench):
    """Where the journal cannot be written each save is sent at once: slower, and nothing is lost."""
    (bench.root / "file").touch()
    bench.settings(journal={"path": "file/journal"})
    out = bench.run("stream", count=60, pause=0.01)
    (warning,) = said(out, "WARNING")
    assert f"the journal {bench.root}/file/journal cannot be written: Not a directory; make room or" in warning
    bench.complete(saved(60))


def test_neither_journal_nor_server(bench):
    """What can be neither kept nor sent raises, in one line; what was sent before stays."""
    (bench.root / "file").touch()
    bench.settings(journal={"path": "file/journal"})
    bench.proxy.plan = from_batch(20, "500")
    out = bench.run("stream", count=1_000, pause=0.01, code=1)
    *_, line = (line for line in out.splitlines() if "DatasetError" in line and "dataset 'curve'" in line)
    assert line.endswith(
        f"dataset 'curve', MLflow at {bench.proxy.uri} did not answer as MLflow does (HTTP 500), and the journal "
        f"{bench.root}/file/journal cannot be written: Not a directory; is it the address of a tracking server?; "
        "make room or set journal.path in kedro_mlflow_metrics.yml"
    )
    assert bench.stored == saved(bench.yielded)


@pytest.fixture(params=["limit", "disk"])
def small_journal(request, bench):
    """A journal that is soon full."""
    if request.param == "limit":
        bench.settings(journal={"max_bytes": 20_000})
        yield "has reached its limit of 20000 bytes"
        return
    folder = bench.root / ".kedro_mlflow_metrics"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield "cannot be written: No space left on device"
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("begins", ["online", "offline"])
def test_full_journal(bench, small_journal, begins):
    """It raises when it is full; all that it took before is sent later, and the run is FAILED, not KILLED."""
    bench.proxy.plan = from_batch(1, "500") if begins == "online" else always("500")
    out = bench.run("stream", count=5_000, code=1)
    *_, line = (line for line in out.splitlines() if "DatasetError" in line and "dataset 'curve'" in line)
    assert small_journal in line
    assert 50 < bench.yielded < 5_000
    bench.proxy.plan = always("pass")
    bench.sync()
    bench.complete(saved(bench.yielded), status="FAILED")


# Refusals


def test_refused_at_the_start(bench):
    """Who was never accepted is stopped, with one line and no journal."""
    bench.proxy.plan = always("401")
    out = bench.run("stream", code=1)
    assert out.splitlines()[-1].startswith(f"Error: MLflow at {bench.proxy.uri} refused the credentials (HTTP 401)")
    assert not (bench.root / "yielded").exists()
    assert bench.folders == []


def test_joined_run_deleted_in_the_middle(bench):
    """The points wait until the run is restored; its status stays as it was."""
    from mlflow import MlflowClient

    client = MlflowClient(bench.server.uri)
    run = client.create_run(client.create_experiment(bench.experiment)).info.run_id
    hold = bench.hold()
    command = bench.start("stream", "--params", f"mlflow_run_id={run}", count=100, pause=0.01)
    until(lambda: bench.stored)
    client.delete_run(run)
    until(lambda: said(command.output, "WARNING"))
    hold.unlink()
    assert command.wait() == 0
    (error,) = said(command.output, "ERROR")
    assert "deleted" in error
    assert bench.sync(code=1)
    client.restore_run(run)
    bench.sync()
    bench.complete(saved(bench.yielded), status="RUNNING")


def test_refused_content(bench):
    """What MLflow refuses for its content is set aside by name; all the rest arrives."""
    bench.proxy.plan = lambda _path, _number, body: "invalid" if b"curve.odd" in body else "pass"
    out = bench.run("stream", count=120, pause=0.01, odd=40)
    assert said(out, "ERROR") == []
    assert bench.stored == saved(120)
    (folder,) = bench.folders
    refused = [json.loads(line) for path in folder.glob("*.refused") for line in path.read_text().splitlines()]
    found = Counter((each["key"], each["step"], each["timestamp"], each["value"]) for each in refused)
    assert found == saved(120, "curve.odd", every=40)
    assert all("that is no metric" in each["reason"] for each in refused)
    (row,) = bench.dry_run()
    assert row[1] == "0" and "3 refused" in row[-1]
    options = {"cwd": bench.root, "env": bench.project.environment(None), "text": True, "capture_output": True}
    for answer, code in (("n\n", 1), ("y\n", 0)):
        assert bench.folders == [folder]
        command = [BIN / "kedro", "metrics", "sync", "--drop"]
        done = subprocess.run(command, input=answer, check=False, **options)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Throw away 3 points of 1 run for good?" in done.stdout
    assert bench.folders == []


def test_refused_content_is_sent_again(bench):
    """By `sync --refused`, when the server has learned better; until then it is set aside again."""
    bench.proxy.plan = lambda _path, _number, body: "invalid" if b"curve.odd" in body else "pass"
    bench.run("stream", count=120, pause=0.01, odd=40)
    assert "0 points sent; 3 refused by MLflow" in bench.sync(code=1)
    assert "3 points sent; 3 refused by MLflow" in bench.sync("--refused", code=1)
    bench.proxy.plan = always("pass")
    assert "3 points sent\n" in bench.sync("--refused")
    bench.complete(saved(120) + saved(120, "curve.odd", every=40))


# The server dies


@pytest.mark.parametrize(("number", "pause"), [(signal.SIGSTOP, 0), (signal.SIGKILL, 0.0016)])
def test_a_save_asks_nobody_while_the_server_is_dead(bench, number, pause):
    """After the first failure the saving thread makes no connection; only the clock tries, with pauses."""
    bench.settings(bench.server.uri, timeout=1)
    kill = [bench.server.pid, int(number)]
    if number == signal.SIGKILL:
        bench.server.pid = 0
    out = bench.run("stream", count=2_100, at=99, kill=kill, pause=pause)
    connects = json.loads(next(line for line in out.splitlines() if line.startswith("CONNECTS"))[9:])
    assert connects.keys() <= {"kedro-mlflow-metrics"}
    assert sum(connects.values()) <= 5
    assert len(said(out, "ERROR")) == 1
    bench.server.revive()
    bench.settings(bench.server.uri)
    bench.sync()
    bench.complete(saved(2_100))


@pytest.mark.parametrize("bench", ["sqlite_server", "postgres_server"], indirect=True)
def test_server_killed_again_and_again(bench):
    """Killed with -9 in the middle of batches, three times in one run."""
    chance, kills, due = random.Random(bench.store.uri), [], threading.Event()
    due.set()

    def kill() -> None:
        time.sleep(chance.uniform(0, 0.08))
        bench.server.kill()
        time.sleep(chance.uniform(0, 0.3))
        bench.server.start()
        kills.append(1)
        if len(kills) == 3:
            hold.unlink()
        else:
            due.set()

    def plan(path: str, number: int) -> str:
        if "log-batch" in path and number > 4 and due.is_set():
            due.clear()
            threading.Thread(target=kill).start()
        return "pass"

    hold, bench.proxy.plan = bench.hold(), plan
    out = bench.run("stream", count=500, pause=0.002)
    assert len(kills) == 3
    assert len(said(out, "WARNING")) <= len(kills)
    if bench.folders:
        bench.sync()
    bench.complete(saved(bench.yielded))


@pytest.mark.parametrize("bench", ["postgres_server"], indirect=True)
def test_database_behind_the_server_hangs(bench, database):
    """PostgreSQL stands still for three seconds under an MLflow server."""
    bench.settings(timeout=1)
    hold, main = bench.hold(), database[1].pid
    command = bench.start("stream", count=200, pause=0.01)
    until(lambda: bench.stored)
    processes = [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]
    for number, seconds in ((signal.SIGSTOP, 3), (signal.SIGCONT, 0)):
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):  # a backend that had just ended
                os.kill(pid, number)
        time.sleep(seconds)
    until(lambda: len(said(command.output, "WARNING")) == 1)
    hold.unlink()
    assert command.wait() == 0, command.output
    if bench.folders:
        bench.sync()
    bench.complete(saved(bench.yielded))


# Databases without a server


@pytest.mark.parametrize("bench", ["postgres_server"], indirect=True)
def test_postgres_without_a_server(bench, database):
    """An address of a database is as good as one of a server."""
    bench.settings(database[0])
    assert said(bench.run("stream", count=150, pause=0.01), "WARNING") == []
    bench.complete(saved(150))


@pytest.mark.parametrize("bench", ["postgres_server"], indirect=True)
def test_postgres_is_not_there(bench, database):
    """A closed port is an outage, and found out in seconds."""
    bench.settings(f"postgresql+psycopg2://mlflow@127.0.0.1:{free_port()}/mlflow")
    begun = time.monotonic()
    out = bench.run("one")
    assert time.monotonic() - begun < 15
    assert len(said(out, "ERROR")) == 1
    bench.sync("--to", database[0])
    bench.complete(saved(1, "one.loss"))


@pytest.fixture
def file_bench(project, kedro, sqlite_server):
    """A bench that logs to a SQLite file without a server."""
    bench = Bench(project, kedro, sqlite_server[0], project.store)
    bench.settings(project.store.uri)
    yield bench
    bench.proxy.close()


@contextlib.contextmanager
def locked(path: Path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield
        database.execute("ROLLBACK")


def test_sqlite_locked_at_the_start(file_bench):
    """The run begins in the journal, and sync makes it."""
    with locked(file_bench.store.path):
        out = file_bench.run("one")
        assert len(said(out, "ERROR")) == 1
    file_bench.sync()
    file_bench.complete(saved(1, "one.loss"))


def test_sqlite_locked_in_the_middle(file_bench):
    """Another process locks the file for a while: the pipeline goes on, and all is there at the end."""
    hold = file_bench.hold()
    command = file_bench.start("stream", count=100, pause=0.01)
    until(lambda: file_bench.stored)
    with locked(file_bench.store.path):
        time.sleep(1.5)
        before = file_bench.yielded
        time.sleep(1)
        assert file_bench.yielded > before + 10
    hold.unlink()
    assert command.wait() == 0, command.output
    assert said(command.output, "ERROR") == []
    file_bench.complete(saved(file_bench.yielded))


@pytest.mark.parametrize(("user", "name"), [("mlflow", "nothere"), ("nobody", "mlflow")])
def test_postgres_refuses(file_bench, database, user, name):
    """An unknown database or role stops the pipeline with one line."""
    file_bench.settings(database[0].replace("mlflow@", f"{user}@").removesuffix("mlflow") + name)
    out = file_bench.run("one", code=1)
    assert re.match(r"Error: MLflow at postgresql.* refused: .*does not exist", out.splitlines()[-1])
    assert "THREADS" not in out
    assert file_bench.folders == []


# Leftovers and addresses


def test_a_later_run_sends_leftovers(bench):
    """In the background, while it computes; the earlier run gets its end."""
    bench.proxy.plan = from_batch(1, "500")
    bench.run("stream", count=150, pause=0.01)
    (folder,), bench.proxy.plan = bench.folders, always("pass")
    hold = bench.hold()
    command = bench.start("chunks", count=1, pause=0.05)
    until(lambda: not folder.exists())
    assert command.alive
    assert [row[2] for row in bench.runs if folder.name.startswith(row[0])] == ["FINISHED"]
    hold.unlink()
    assert command.wait() == 0, command.output
    assert bench.stored == saved(150) + saved(bench.yielded)
    assert [row[2] for row in bench.runs] == ["FINISHED"] * 2
    assert bench.folders == []


@pytest.mark.parametrize("answer", ["500", "delay 60"])
def test_leftovers_do_not_hinder(bench, answer):
    """A later run neither fails nor waits for what cannot be sent."""
    bench.proxy.plan = from_batch(1, "500")
    bench.run("stream", count=150, pause=0.01)
    ((run, *_),) = bench.runs
    bench.settings(timeout=60)
    bench.proxy.plan = lambda _path, _number, body: answer if run.encode() in body else "pass"
    begun = time.monotonic()
    out = bench.run("stream", count=120, pause=0.01)
    assert said(out, "ERROR") == said(out, "WARNING") == []
    assert time.monotonic() - begun < 15
    assert answer in [action for action, _ in bench.batches]
    assert len(bench.folders) == 1
    assert [row[2] for row in bench.runs] == ["RUNNING", "FINISHED"]
    assert bench.stored == saved(1) + saved(120)


def test_refused_content_and_an_outage(bench):
    """A refused point is set aside once, also if an outage follows before its neighbours are sent."""
    alone = []

    def plan(_path, _number, body):
        if b"curve.odd" not in body:
            return "pass"
        single = body.count(b'"key"') == 1
        alone.extend([1] * single)
        return "500" if single and len(alone) == 3 else "invalid"

    bench.proxy.plan = plan
    bench.run("stream", count=120, pause=0.01, odd=10)
    (folder,) = bench.folders
    refused = [json.loads(line) for path in folder.glob("*.refused") for line in path.read_text().splitlines()]
    found = Counter((each["key"], each["step"], each["timestamp"], each["value"]) for each in refused)
    assert found == saved(120, "curve.odd", every=10)
    assert bench.hit("500")


def test_each_outage_is_one_warning(bench):
    """Two outages with a recovery between them."""
    numbers = itertools.count()
    bench.proxy.plan = lambda path, _: "500" if "log-batch" in path and next(numbers) in (1, 4) else "pass"
    out = bench.run("stream", count=600, pause=0.01)
    assert len(said(out, "WARNING")) == 2
    assert said(out, "ERROR") == []
    assert bench.stored == saved(600)


def test_sync_of_one_run_on_a_terminal(bench):
    """``--run`` takes the first characters of an id; a terminal shows a progress bar."""
    bench.proxy.plan = always("500")
    bench.run("one")
    bench.run("big", count=3_000)
    (_, one), (_, big) = sorted((points, run.split()[-1]) for run, points, *_ in bench.dry_run())  # 1, 3000
    bench.proxy.plan = always("pass")
    assert "Nothing waits." in bench.sync("--run", "ffffffffffff")
    bench.sync("--run", one)
    assert bench.stored == saved(1, "one.loss")
    command = [BIN / "kedro", "metrics", "sync", "--run", big]
    logging = {"KEDRO_LOGGING_CONFIG": str(bench.root / "conf/logging.yml")}
    shown = on_a_terminal(command, cwd=bench.root, env=logging)
    assert "/3000" in shown and "━" in shown
    assert bench.stored == saved(1, "one.loss") + saved(3_000, "big.loss")
    assert bench.folders == []


def test_another_address_is_asked_for(bench):
    """What was meant for one server goes to another only if somebody says so."""
    meant = f"http://127.0.0.1:{free_port()}"
    bench.settings(meant)
    bench.run("one")
    bench.settings()
    told = bench.sync(code=1)
    assert meant in told and bench.proxy.uri in told and "--to" in told
    assert bench.proxy.seen == []
    bench.sync("--to", bench.proxy.uri)
    bench.complete(saved(1, "one.loss"))


# While all is well


def test_the_curve_grows(bench):
    """A stream is seen while it runs, with about one request per second."""
    begun, seen = time.monotonic(), set()
    command = bench.start("stream", count=400, pause=0.01)
    while command.alive:
        seen.add(sum(bench.stored.values()))
        time.sleep(0.2)
    assert command.wait() == 0
    assert len(seen - {0, 400}) >= 3
    assert 4 <= len(bench.batches) <= time.monotonic() - begun + 3
    assert said(command.output, "WARNING") == []
    bench.complete(saved(400))


def test_an_ordinary_run(bench):
    """One dict: one request for it, no thread, and nothing left in the journal."""
    out = bench.run("one")
    assert len(bench.batches) == 1
    assert "THREADS 1" in out
    assert {path.name for path in (bench.root / ".kedro_mlflow_metrics").rglob("*")} == {".gitignore", "runs"}
    bench.complete(saved(1, "one.loss"))
