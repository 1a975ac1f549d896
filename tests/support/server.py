"""Real MLflow servers: one that can be killed, stopped and started again, and one as a user starts it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from support.project import BIN, Store


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def uncovered() -> dict[str, str]:
    """Return the environment without what measures coverage: of a process that runs only MLflow, and starts faster."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@cache
def factory(python: Path | str) -> subprocess.Popen[str]:
    """Return the process from which a python's servers are forked; it ends when its standard input does."""
    command = [python, "-W", "ignore", Path(__file__).with_name("serve.py")]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=uncovered())


class MlflowServer:
    """A real MLflow server that can be killed, stopped and started again on the same port and store.

    ``python`` is that of another environment where the server's version is not to be the client's.
    """

    def __init__(self, store_uri: str, folder: Path, python: Path | str = sys.executable) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"server-{self.port}.log"
        self.log.touch()
        self.pid = 0
        self._job = json.dumps({"store": store_uri, "port": self.port, "log": str(self.log)})
        self._factory = factory(python)

    def start(self, *, wait: bool = True) -> MlflowServer:
        """Start; the process is forked from a warm one, so this takes about a second."""
        assert not self.pid
        self._factory.stdin.write(f"{self._job}\n")
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
        self.kill()


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


@contextlib.contextmanager
def command_server(folder: Path, empty_store: Path) -> Iterator[tuple[str, Store]]:
    """Start ``mlflow server`` as a user does, on a SQLite store of its own; yields its address and the store."""
    shutil.copy(empty_store, folder / "mlflow.db")
    with command(f"sqlite:///{folder}/mlflow.db", folder) as (uri, _):
        yield uri, Store(folder / "mlflow.db")


@contextlib.contextmanager
def command(store_uri: str, folder: Path, workers: int = 1, **env: str) -> Iterator[tuple[str, int]]:
    """Start ``mlflow server`` on any store; yields its address and the id of the session that its processes make."""
    port = free_port()
    log = folder / f"server-{port}.log"
    process = subprocess.Popen(
        [BIN / "mlflow", "server", "--backend-store-uri", store_uri, "--artifacts-destination", f"{folder}/artifacts"]
        + ["--port", str(port), "--workers", str(workers)],
        env={
            **uncovered(),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PATH": f"{BIN}:{os.environ['PATH']}",
            **env,
        },
        cwd=folder,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=1)
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.3)
        yield uri, process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
