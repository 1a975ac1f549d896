"""One pipeline on every engine: is it one run, with all keys, all points and the right status, and what did that add?

``python benchmarks/engines.py`` prints the table on PostgreSQL and on SQLite. With ``--herd 20`` it starts 32 processes
with one run key at the same instant so often, and loses every third answer in half of the rounds. It starts its own
PostgreSQL and its own ``mlflow server`` with two workers. Dagster and kfp come from the environments of
``make test-engines`` and ``make test-kubeflow``; where these are not there, their rows say so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from common import ROOT, store
from mlflow import MlflowClient
from rich.console import Console
from rich.table import Table
from support.kedro_cli import warm_kedro
from support.postgres import PostgresStore, postgres
from support.project import BIN, PIPELINES, Project, Store
from support.proxy import Proxy
from support.server import command, free_port

TASKS, POINTS, HERD = 16, 1000, 32
ENGINES, KFP = ROOT / ".venv-engines/bin", ROOT / ".venv-kfp2/bin"
ENTRY = '"task_{number}": {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n'
ALL = ",".join(f"t{number}" for number in range(TASKS))
KFP_PIPELINE = """
import os, subprocess, sys
from kfp import dsl, local

@dsl.component(base_image="python:3.11", install_kfp_package=False)
def task(project: str, nodes: str):
    import subprocess, sys
    subprocess.run([sys.executable, "-m", "kedro", "run", "--nodes", nodes], cwd=project, check=True)

@dsl.pipeline
def whole(project: str):
    for number in range(4):
        task(project=project, nodes=",".join(f"t{each}" for each in range(4 * number, 4 * number + 4)))

local.init(local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2])
whole(project=sys.argv[1])
"""
JOBS = """
executors: {{processes: {{multiprocess: {{max_concurrent: 2}}}}}}
jobs: {{default: {{pipeline: {{pipeline_name: __default__, node_names: [{nodes}]}}, executor: processes}}}}
"""
FOUND = """
    SELECT m.run_uuid, key, COUNT(*) FROM metrics m JOIN runs r ON m.run_uuid = r.run_uuid
    JOIN experiments e ON e.experiment_id = r.experiment_id WHERE e.name = ? GROUP BY m.run_uuid, key
"""
RUNS = """
    SELECT run_uuid, status FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
    WHERE e.name = ? AND r.lifecycle_stage = 'active'
"""


class Place(NamedTuple):
    """A server with two workers, and the database behind it."""

    name: str
    uri: str
    store: Store


@contextmanager
def places(folder: Path) -> Iterator[list[Place]]:
    """Start a server on PostgreSQL and one on SQLite."""
    with ExitStack() as stack:
        address, _ = stack.enter_context(postgres())
        (folder / "sqlite").mkdir()
        path = folder / "sqlite/mlflow.db"
        shutil.copy(store(folder), path)
        found = []
        for name, where, kept in (
            ("PostgreSQL", address, PostgresStore(address)),
            ("SQLite", f"sqlite:///{path}", Store(path)),
        ):
            uri, _ = stack.enter_context(command(where, folder, 2))
            MlflowClient(uri).search_experiments()  # the first request makes the tables
            found.append(Place(name, uri, kept))
        yield found


_numbers = count()


class Spread:
    """A project of its own that logs to an experiment of its own."""

    def __init__(self, place: Place, folder: Path, *, enabled: bool = True, uri: str = "") -> None:
        self.store = place.store
        self.experiment = f"spread {next(_numbers)}"
        self.project = Project(folder / self.experiment.replace(" ", "-"), None)
        self.root = self.project.root
        self.project.catalog(ENTRY)
        self.project.pipeline(PIPELINES / "tasks.py")
        about = {"tracking_uri": uri or place.uri, "experiment": self.experiment, "enabled": enabled}
        self.project.settings(json.dumps(about))

    def call(self, *command: str | Path, key: str = "", **env: str) -> None:
        """Run a command in the project, to its end."""
        chosen = {"KEDRO_MLFLOW_RUN_KEY": key} if key else {}
        done = subprocess.run(  # noqa: S603 - our own command
            command, cwd=self.root, env=self.project.environment({**chosen, **env}), capture_output=True, check=False
        )
        if done.returncode:
            sys.exit(f"{command}: {done.stdout.decode()}{done.stderr.decode()}")

    def found(self, tasks: int) -> tuple[str, bool, bool, str]:
        """Return how many runs there are, whether all keys and points are in them, and their status."""
        runs = self.store.rows(RUNS, self.experiment)
        held = {key: number for _, key, number in self.store.rows(FOUND, self.experiment)}
        wanted = {
            f"task_{n}.{key}": points for n in range(tasks) for key, points in (("value", 1), ("loss", POINTS - 1))
        }
        status = ", ".join(sorted({status for _, status in runs}))
        return str(len(runs)), held.keys() == wanted.keys(), held == wanted, status


def runner(*options: str, **env: str) -> Callable[[Spread], None]:
    """Run all tasks by one `kedro run`."""
    return lambda spread: spread.call(BIN / "kedro", "run", "--nodes", ALL, *options, **env)


def dask(spread: Spread) -> None:
    """Run them by the runner of the how-to."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/how-to/engines.md").read_text(), re.DOTALL)
    spread.project.write("src/proj/dask_runner.py", code)
    spread.call(BIN / "kedro", "run", "--nodes", ALL, "--runner", "proj.dask_runner.DaskRunner")


def tasks(spread: Spread) -> None:
    """Run a process per task, all at the same time, as an orchestrator does."""
    together(spread, TASKS, key=spread.experiment)


def together(spread: Spread, number: int, key: str) -> None:
    """Start processes at the same instant, each for one node."""
    env = {"KEDRO_MLFLOW_RUN_KEY": key}
    started = [warm_kedro().start(spread.root, "run", "--nodes", f"t{each}", env=env) for each in range(number)]
    for each in started:
        if each.wait(600) != 0:
            sys.exit(each.output)


def dagster(spread: Spread) -> None:
    """Run a job of kedro-dagster's."""
    path = f"{ENGINES}:{os.environ['PATH']}"
    spread.call(ENGINES / "kedro", "dagster", "init", "--env", "local", "--force", "--silent")
    spread.project.write("conf/local/dagster.yml", JOBS.format(nodes=ALL))
    about = ("-m", "proj.definitions", "-d", "src", "-j", "local__default")
    spread.call(ENGINES / "dagster", "job", "execute", *about, DAGSTER_HOME=str(spread.root), PATH=path)


def kfp(spread: Spread) -> None:
    """Run four tasks of four nodes each by kfp's local runner, with the variable that kedro-kubeflow sets."""
    script = spread.root / "whole.py"
    script.write_text(KFP_PIPELINE)
    spread.call(KFP / "python", script, spread.root, spread.root / "kfp", KUBEFLOW_RUN_ID=spread.experiment)


def served(spread: Spread) -> None:
    """Ask Kedro's server once for all nodes."""
    port = free_port()
    with (spread.root / "server.txt").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [BIN / "kedro", "server", "start", "--port", str(port)],
            cwd=spread.root,
            env=spread.project.environment({}),
            stdout=log,
            stderr=log,
        )
    try:
        body = json.dumps({"node_names": ALL.split(",")}).encode()
        ask = urllib.request.Request(f"http://127.0.0.1:{port}/run", body, {"Content-Type": "application/json"})
        while process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(ask, timeout=600) as answer:  # noqa: S310
                if json.load(answer)["status"] != "success":
                    sys.exit((spread.root / "server.txt").read_text())
                return
            time.sleep(0.2)
        sys.exit((spread.root / "server.txt").read_text())
    finally:
        process.terminate()
        process.wait(60)


WAYS: dict[str, tuple[Path, Callable[[Spread], None]]] = {
    "SequentialRunner": (BIN, runner()),
    "ThreadRunner": (BIN, runner("--runner", "ThreadRunner")),
    **{
        f"ParallelRunner, {method}": (BIN, runner("--runner", "ParallelRunner", KEDRO_MP_CONTEXT=method))
        for method in ("fork", "spawn", "forkserver")
    },
    "Dask, 2 worker processes": (BIN, dask),
    f"{TASKS} processes of kedro run --nodes": (BIN, tasks),
    "Dagster, multiprocess": (ENGINES, dagster),
    "kfp, local runner, 4 tasks": (KFP, kfp),
    "kedro server start": (BIN, served),
}


def timed(way: Callable[[Spread], None], spread: Spread) -> float:
    """Return how long it takes."""
    begun = time.perf_counter()
    way(spread)
    return time.perf_counter() - begun


def engines(place: Place, folder: Path) -> bool:
    """Print the table; return whether all of it is as it should be."""
    table = Table(title=f"{TASKS} nodes with {POINTS:,} points each; mlflow server, 2 workers, on {place.name}")
    for title in ("engine", "runs", "keys exact", "points exact", "status", "s logged", "s switched off", "s added"):
        table.add_column(title, justify="right" if title.startswith("s ") else "left")
    fine = True
    for name, (environment, way) in WAYS.items():
        if not (environment / "kedro").exists():
            table.add_row(name, f"{environment.parent.name} is not there")
            continue
        print(name, file=sys.stderr, flush=True)
        without = timed(way, Spread(place, folder, enabled=False))
        spread = Spread(place, folder)
        seconds = timed(way, spread)
        runs, keys, points, status = spread.found(TASKS)
        fine = fine and (runs, keys, points, status) == ("1", True, True, "FINISHED")
        yes = ("no", "yes")
        about = (f"{seconds:.1f}", f"{without:.1f}", f"{seconds - without:.1f}")
        table.add_row(name, runs, yes[keys], yes[points], status, *about)
    Console(width=140).print(table)
    return fine


def third_lost() -> Callable[[str, int], str]:
    """Plan to lose every third answer."""
    seen = count(1)
    return lambda _path, _number: "pass" if next(seen) % 3 else "lose"


def herd(place: Place, folder: Path, rounds: int) -> bool:
    """Start processes with one run key at the same instant, again and again."""
    table = Table(title=f"{HERD} processes with {POINTS:,} points each start at the same instant, on {place.name}")
    for title in ("round", "answers", "runs", "keys exact", "points exact", "status", "s"):
        table.add_column(title)
    fine = True
    for number in range(rounds):
        loses, proxy = number % 2 == 1, Proxy(place.uri)
        if loses:
            proxy.plan = third_lost()
        spread = Spread(place, folder, uri=proxy.uri)
        begun = time.perf_counter()
        together(spread, HERD, key=f"herd {number}")
        proxy.plan = lambda _path, _number: "pass"
        spread.call(BIN / "kedro", "metrics", "sync")
        found = spread.found(HERD)
        proxy.close()
        fine = fine and found == ("1", True, True, "FINISHED")
        yes = ("no", "yes")
        answers = "every third is lost" if loses else "all"
        took = f"{time.perf_counter() - begun:.0f}"
        table.add_row(str(number + 1), answers, found[0], yes[found[1]], yes[found[2]], found[3], took)
    Console(width=140).print(table)
    return fine


def main() -> int:
    """Print the tables; the exit code is 1 if something is not one run with all points and the right status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--herd", type=int, default=0, metavar="N", help="so many rounds of 32 processes, and no engines"
    )
    parser.add_argument("--on", choices=("PostgreSQL", "SQLite"), help="only one of the databases")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="engines") as name, places(Path(name)) as found:
        folder, some = Path(name), [place for place in found if chosen.on in (None, place.name)]
        kept = [herd(place, folder, chosen.herd) if chosen.herd else engines(place, folder) for place in some]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
