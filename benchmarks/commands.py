"""What the plugin costs the ``kedro`` command, what a load costs, and which requests a run makes.

``python benchmarks/commands.py`` makes its environments of links to what is installed, and starts its own servers.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from itertools import product
from pathlib import Path
from typing import NamedTuple

import kedro
import mlflow
from common import ROOT, Figure, Report, Row, Server, bound, interleave, options, store
from packaging.requirements import Requirement
from support.project import Project
from support.proxy import Proxy
from support.server import mlflow_server

from kedro_mlflow_metrics.project.binding import Binding
from kedro_mlflow_metrics.runs import find
from kedro_mlflow_metrics.views.comparison import Comparison
from kedro_mlflow_metrics.views.tables import Display, common, of_runs
from kedro_mlflow_metrics.views.terminal import plain
from kedro_mlflow_metrics.views.text import compared as text_of
from kedro_mlflow_metrics.views.text import strict

FREE, NEAR = 1.05, 1.1  # of Kedro alone; of the same by hand
HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / "build/benchmarks"
PEER = ROOT / ".peer"
PEER_PACKAGES = ("kedro-mlflow==2.0.3", "kedro-datasets", "lazy-loader")  # it forgets to declare kedro-datasets
CATALOG_COMMAND = "list" if kedro.__version__.startswith("0.") else "describe-datasets"
OURS, ALONE = "kedro-mlflow-metrics installed", "Kedro alone"
MANY = 1000  # keys: of 100 points and once, because it takes long


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        starts: Repetitions of the commands that log nothing.
        rounds: Repetitions of the runs that log.
        loads: Repetitions of the loads.
        histories: What is loaded: how many keys of how many points.
        runs: How many runs are looked at.
        curve: How many points each of ten curves has that kedro-mlflow logs.
        long: Whether it logs as many to a server; else a quarter.
    """

    starts: int
    rounds: int
    loads: int
    histories: tuple[tuple[int, int], ...]
    runs: int
    curve: int
    long: bool = False


FULL = Size(5, 4, 2, ((1, 1000), (100, 1000), (MANY, 100)), 1000, 1000)
QUICK = Size(1, 1, 1, ((1, 100), (30, 100)), 100, 0)


# Environments and projects


class Usage(NamedTuple):
    """What a command took; its worker processes count.

    Attributes:
        wall: Seconds.
        cpu: Seconds.
        importers: The processes that imported MLflow.
        requests: How many HTTP requests were sent.
        out: What was printed.
    """

    wall: float
    cpu: float
    importers: set[int]
    requests: int
    out: str


@dataclass(frozen=True)
class Environment:
    """A virtual environment with Kedro and MLflow."""

    folder: Path

    def kedro(self, project: Project, *arguments: str, **env: str) -> Usage:
        """Run the ``kedro`` command in a project."""
        return self.python(project, str(self.folder / "bin/kedro"), *arguments, **env)

    def python(self, project: Project, *arguments: str, **env: str) -> Usage:
        """Run Python in a project, with `watch/sitecustomize.py` in it."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        notes = project.root / "watched.txt"
        notes.write_text("")
        watch = {"PYTHONPATH": str(HERE / "watch"), "WATCHED": str(notes)}
        logging = {"KEDRO_LOGGING_CONFIG": str(project.root / "conf/logging.yml")}
        with tempfile.TemporaryFile("w+") as out:
            begun = time.perf_counter()
            process = subprocess.Popen(  # noqa: S603 - our own command
                [self.folder / "bin/python", *arguments],
                cwd=project.root,
                env={**inherited, **watch, **logging, **env},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - begun
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            text = out.read()
        if process.returncode:
            sys.exit(f"{' '.join(arguments)}: exit code {process.returncode}\n{text}")
        lines = [line.split() for line in notes.read_text().splitlines()]
        importers = {int(pid) for pid, *what in lines if what == ["import"]}
        requests = sum(what != ["import"] for _, *what in lines)
        return Usage(wall, used.ru_utime + used.ru_stime, importers, requests, text)


def needed(*names: str) -> Iterator[Distribution]:
    """Yield installed packages and what they need."""
    left, seen = list(names), set()
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        yield found
        requirements = map(Requirement, found.requires or ())
        left += [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]


def environment(name: str, others: Iterable[Path] = ()) -> Environment:
    """Make an environment of links to the installed Kedro, MLflow and what they need: same files, same byte code.

    Args:
        name: Its folder's name.
        others: What else goes into its site-packages, copied as it is at the moment and compiled.
    """
    folder = ENVIRONMENTS / name
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)  # noqa: S603
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    found = {
        path.parts[0]: Path(str(package.locate_file(path.parts[0])))
        for package in needed("kedro", "mlflow", "rich", "pydantic")
        for path in package.files or ()
        if path.parts[0] != ".."
    }
    copied = {path.name: path for path in others}
    for top, there in found.items():
        if top not in copied:
            (site / top).symlink_to(there)
    for top, there in copied.items():
        (shutil.copytree if there.is_dir() else shutil.copy)(there, site / top)
    if copied:
        compileall = [folder / "bin/python", "-m", "compileall", "-q", *(site / top for top in copied)]
        subprocess.run(compileall, check=True)  # noqa: S603
    script = Path(sys.executable).with_name("kedro").read_text().partition("\n")[2]
    (folder / "bin/kedro").write_text(f"#!{folder}/bin/python\n{script}")
    return Environment(folder)


def ours() -> list[Path]:
    """Return this package and its metadata, however it is installed."""
    package = distribution("kedro-mlflow-metrics")
    tops = {path.parts[0] for path in package.files or () if path.parts[0].endswith((".dist-info", ".egg-info"))}
    return [ROOT / "kedro_mlflow_metrics", *(Path(str(package.locate_file(top))) for top in tops)]


def theirs() -> list[Path]:
    """Return kedro-mlflow and what it needs besides."""
    if not PEER.exists():
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(PEER), *PEER_PACKAGES]
        subprocess.run(install, check=True)  # noqa: S603
    return list(PEER.iterdir())


class Place:
    """Where projects stand, and the environments that run them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.empty = store(folder)
        self.alone, self.ours = environment("alone"), environment("ours", ours())

    def project(self, name: str, catalog: str, nodes: str) -> Project:
        """Write a project with a migrated SQLite store of its own."""
        project = Project(self.folder / name, self.empty)
        project.catalog(catalog)
        project.pipeline(PIPELINE.format(nodes=nodes))
        return project


PIPELINE = """
import os, time
from kedro.pipeline import node, pipeline

def number(i):
    return i / 7

{nodes}

def register_pipelines():
    return {{"__default__": pipeline(nodes)}}
"""
NOTHING = """
nodes = [node(lambda: 1, None, "one", name="a"), node(lambda one: one + 1, "one", "two", name="b")]
"""
TEN = '{f"metric_{i}": number(i) for i in range(10)}'
ONE_DATASET = f"nodes = [node(lambda: {TEN}, None, 'scores')]"
BY_HAND = f"""
def log():
    import mlflow
    mlflow.log_metrics({TEN})
    return 1
nodes = [node(log, None, "done")]
"""
THREE_DATASETS = """
nodes = [node(lambda: {"a": 1.0, "b": [1.0, 2.0]}, None, f"scores_{i}", name=f"n{i}") for i in range(3)]
"""
WORKERS = """
def idle(i):
    time.sleep(0.3)
    with open("workers.txt", "a") as file:
        file.write(f"{os.getpid()} idle\\\\n")
    return i

def saves():
    time.sleep(0.3)
    with open("workers.txt", "a") as file:
        file.write(f"{os.getpid()} saves\\\\n")
    return {"a": 1.0}

def one():
    return 1

nodes = [node(saves, None, "scores", name="saves"), node(one, None, "one", name="one")]
nodes += [node(idle, "one", f"out_{i}", name=f"idle_{i}") for i in range(3)]
""".replace("\\\\n", "\\n")
HUNDRED = """
nodes = [node(lambda: {f"k{i}": {"value": number(i), "step": 0} for i in range(100)}, None, "scores")]
"""
CURVES = """
nodes = [node(lambda: {{f"k{{i}}": [{{"value": number(s), "step": s}} for s in range({points})] for i in range(10)}},
    None, "scores")]
"""
METRICS = "{name}: {{type: kedro_mlflow_metrics.MlflowMetricsDataSet}}\n"
SCORES = METRICS.format(name="scores")
PEER_SCORES = "scores: {type: kedro_mlflow.io.metrics.MlflowMetricsHistoryDataset}\n"


# The parts of the table


def compare(ways: dict[str, Callable[[], Usage]], rounds: int) -> dict[str, list[Usage]]:
    """Run commands in turns."""
    used: dict[str, list[Usage]] = {name: [] for name in ways}

    def once(name: str) -> list[float]:
        used[name].append(ways[name]())
        return [used[name][-1].wall]

    interleave({name: partial(once, name) for name in ways}, rounds)
    return used


def wall(usages: Iterable[Usage]) -> Figure:
    """Return how long some commands took."""
    return Figure("s", tuple(each.wall for each in usages))


def cpu(usages: Iterable[Usage]) -> Figure:
    """Return how much CPU they took."""
    return Figure("s", tuple(each.cpu for each in usages))


def rows(what: str, ours: list[Usage], peer: str, theirs: list[Usage], promise: float | None = None) -> Iterator[Row]:
    """Compare two ways by wall and by CPU."""
    yield Row(f"{what}: wall", wall(ours), peer, wall(theirs), promise)
    yield Row(f"{what}: CPU", cpu(ours), peer, cpu(theirs), promise)


def counted(what: str, number: float, of: str, others: float, at_most: float) -> Row:
    """Return a row about counts."""
    return Row(what, Figure("", (number,)), of, Figure("", (others,)), at_most, counted=True)


def start_up(place: Place, size: Size) -> Iterator[Row]:
    """Run commands that have nothing to do with metrics, with the plugin and without."""
    project = place.project("bare", "{}\n", NOTHING)
    runs_of = dict.fromkeys((ALONE, OURS), 0)
    loads = dict.fromkeys((ALONE, OURS), 0)
    for command in (("--version",), ("--help",), ("catalog", CATALOG_COMMAND), ("run",)):
        environments = {ALONE: place.alone, OURS: place.ours}
        used = compare(
            {name: partial(each.kedro, project, *command) for name, each in environments.items()}, size.starts
        )
        yield from rows(f"kedro {' '.join(command)}", used[OURS], ALONE, used[ALONE], FREE)
        for name, usages in used.items():
            runs_of[name] += len(usages)
            loads[name] += sum(bool(each.importers) for each in usages)
    for name, number in loads.items():
        yield counted(f"these, {name}: how many import mlflow", number, "commands", runs_of[name], 0)


BREAKDOWN = """
import json, time, sys
begun, times = time.perf_counter(), {}
def step(name):
    global begun
    times[name], begun = time.perf_counter() - begun, time.perf_counter()
import kedro.framework.cli.cli, kedro.framework.session, kedro.io, kedro.runner
step("kedro")
from kedro_mlflow_metrics import hook, dataset
from kedro_mlflow_metrics.runs import lifetime
from kedro_mlflow_metrics.delivery import clock
from kedro_mlflow_metrics.delivery.target import Target
from kedro_mlflow_metrics.journal.folder import Journal
from kedro_mlflow_metrics.project import settings
from kedro_mlflow_metrics.project.binding import Binding
from kedro_mlflow_metrics.tracking import active, runs
from kedro_mlflow_metrics.tracking.address import Server
step("import of our modules and pydantic, which mlflow imports too")
import mlflow
step("import mlflow")
server, journal = Server(sys.argv[1]), Journal(sys.argv[2])
store = runs.open_store(server, retries=0)
step("open the store: its code, its connection")
ident = runs.experiment_id(server, "proj")
step("find the experiment, the first request")
tags = runs.with_context({}, "run")
step("MLflow's tags: user, source, git commit")
run = store.create_run(ident, "run", tags, time.time_ns() // 1_000_000)
step("create the run")
active.activate(run)
step("make it MLflow's active run")
target = Target.of(server, journal, run, active=True)
metrics = dataset.MlflowMetricsDataset()
metrics.bind(Binding("scores", target=target, server=server, journal=journal))
metrics.save({f"m{i}": i / 7 for i in range(10)})
step("save 10 scalars")
active.deactivate(run)
clock.close(target)
store.end_run(run.run_id, "FINISHED", time.time_ns() // 1_000_000)
step("end the run")
del times["kedro"]
print(json.dumps(times))
"""


def one_dataset(place: Place, size: Size, uri: str) -> Iterator[Row]:
    """Run a pipeline that logs ten scalars, and the same by hand; say where the time goes."""
    where = "server" if uri else "sqlite"
    ours = place.project(f"ours-{where}", SCORES, ONE_DATASET)
    hand = place.project(f"hand-{where}", "{}\n", BY_HAND)
    env = {"MLFLOW_TRACKING_URI": uri} if uri else {}
    what, by_hand = "kedro run, a dataset of 10 scalars", "mlflow.log_metrics in the node"
    parts: dict[str, list[float]] = defaultdict(list)

    def breakdown() -> Usage:
        address = uri or ours.store.uri
        usage = place.ours.python(ours, "-c", BREAKDOWN, address, str(ours.root))
        for name, seconds in json.loads(usage.out.splitlines()[-1]).items():
            parts[name].append(seconds)
        return usage

    ways = {
        what: partial(place.ours.kedro, ours, "run", **env),
        by_hand: partial(place.ours.kedro, hand, "run", **env),
    }
    compare(ways, 1)  # the experiment is there, all is compiled
    ways["parts"] = breakdown
    used = compare(ways, size.rounds)
    yield from rows(what, used[what], by_hand, used[by_hand], NEAR)
    for name, seconds in parts.items():
        yield Row(f"of this: {name}", Figure("s", tuple(seconds)), "all of it", wall(used[what]))


def workers(place: Place) -> Iterator[Row]:
    """Count the worker processes that import MLflow though their nodes save no metrics."""
    project = place.project("workers", SCORES, WORKERS)
    used = place.ours.kedro(project, "run", "--runner", "ParallelRunner", KEDRO_MP_CONTEXT="spawn")
    nodes = defaultdict(set)
    for line in (project.root / "workers.txt").read_text().splitlines():
        pid, kind = line.split()
        nodes[int(pid)].add(kind)
    idle = {pid for pid, kinds in nodes.items() if kinds == {"idle"}}
    if not idle:
        sys.exit("no worker was without metrics")
    loads = len(idle & used.importers)
    yield counted("workers without metrics (ParallelRunner, spawn) that import mlflow", loads, "workers", len(idle), 0)


WHY = {
    "experiments/get-by-name": ("the experiment's id", 1),
    "experiments/create": ("it is new", 0),
    "runs/create": ("the run", 1),
    "runs/log-batch": ("the points, one per dataset", 3),
    "runs/update": ("status and end", 1),
}


def requests_of_a_run(place: Place, uri: str) -> Iterator[Row]:
    """List the requests of a run with three metrics datasets, the first of its experiment and a later one."""
    catalog = "".join(METRICS.format(name=f"scores_{i}") for i in range(3))
    project = place.project("three", catalog, THREE_DATASETS)
    for run in ("first run", "later run"):
        proxy = Proxy(uri)
        place.ours.kedro(project, "run", MLFLOW_TRACKING_URI=proxy.uri)
        proxy.close()
        seen = Counter(path.partition("?")[0].rpartition("/mlflow/")[2] for path, *_ in proxy.seen)
        new = run == "first run"
        for name in [*WHY, *(name for name in seen if name not in WHY)]:
            why, number = WHY.get(name, ("for nothing", 0))
            number += new and name == "experiments/create"
            if seen[name] < number:
                sys.exit(f"{run}: {number} requests {name} are needed, {seen[name]} were sent")
            if number or seen[name]:
                yield counted(f"{run}: {name}: {why}", seen[name], "needed", number, 1)
        needed = sum(number for _, number in WHY.values()) + new
        yield counted(f"{run}: all requests", sum(seen.values()), "needed", needed, 1)


# Load


def fill(path: Path, keys: int, points: int) -> str:
    """Write a run with histories straight into a store; return its id."""
    run_id = mlflow.MlflowClient(f"sqlite:///{path}").create_run("0").info.run_id
    names = [f"metrics.key_{key:04}" for key in range(keys)]
    insert = "INSERT INTO {} (key, value, timestamp, step, run_uuid, is_nan) VALUES (?, ?, ?, ?, ?, 0)"
    with sqlite3.connect(path) as database:
        many = ((key, step / 7, 10**12 + step, step, run_id) for key, step in product(names, range(points)))
        database.executemany(insert.format("metrics"), many)
        last = ((key, (points - 1) / 7, 10**12 + points - 1, points - 1, run_id) for key in names)
        database.executemany(insert.format("latest_metrics"), last)
    database.close()
    return run_id


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Call a few times."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return found


def by_hand(uri: str, run_id: str, threads: int) -> dict[str, list[mlflow.entities.Metric]]:
    """Load all histories of a prefix with MLflow's client."""
    client = mlflow.MlflowClient(uri)
    keys = [key for key in client.get_run(run_id).data.metrics if key.startswith("metrics.")]
    if threads == 1:
        return {key: client.get_metric_history(run_id, key) for key in keys}
    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(keys, pool.map(partial(client.get_metric_history, run_id), keys), strict=True))


def last_by_hand(uri: str, run_id: str) -> dict[str, float]:
    """Load the last values of a prefix with MLflow's client."""
    metrics = mlflow.MlflowClient(uri).get_run(run_id).data.metrics
    return {key: value for key, value in metrics.items() if key.startswith("metrics.")}


def loads(server: Server, folder: Path, filled: dict[tuple[int, int], str], size: Size) -> Iterator[Row]:
    """Compare loads with the best client that one could write by hand."""
    for (keys, points), run_id in filled.items():
        peers = {"get_metric_history, one after the other": partial(by_hand, server.uri, run_id, 1)}
        if server.uri.startswith("http") and keys > 1:
            peers["get_metric_history, 8 threads"] = partial(by_hand, server.uri, run_id, 8)
            if keys == MANY:
                del peers["get_metric_history, one after the other"]
        ours, ours_last = (bound(server, folder, run_id, form=form).load for form in ("auto", "last"))
        ways = {name: partial(timed, way, max(1, 10 // keys)) for name, way in {"": ours, **peers}.items()}
        figures = interleave(ways, 1 if keys == MANY else size.loads)
        best = min(peers, key=lambda name: figures[name].spread.middle)
        what = f"{keys:,} key{'s' * (keys > 1)}"
        for peer in sorted(peers, key=lambda name: name != best):
            promise = NEAR if peer == best else None
            yield Row(f"as: auto, {what} of {points:,} points", figures[""], peer, figures[peer], promise)
        lasts = {"": ours_last, "get_run": partial(last_by_hand, server.uri, run_id)}
        figures = interleave({name: partial(timed, way, 10) for name, way in lasts.items()}, size.loads)
        yield Row(f"as: last, {what}", figures[""], "get_run", figures["get_run"], NEAR)


def requests_of_loads(uri: str, folder: Path, filled: dict[tuple[int, int], str]) -> Iterator[Row]:
    """Count the requests of loads."""
    proxy = Proxy(uri)
    for (keys, points), run_id in list(filled.items())[:2]:
        for form, needed in (("last", 1), ("auto", keys + 1)):
            dataset = bound(Server(proxy.uri), folder, run_id, form=form)
            before = len(proxy.seen)
            if len(dataset.load()) != keys:
                sys.exit(f"not all of {keys} keys were loaded")
            what = f"as: {form}, {keys:,} key{'s' * (keys > 1)} of {points:,} points"
            yield counted(what, len(proxy.seen) - before, "needed", needed, 1)
    proxy.close()


# Looking


def fill_runs(path: Path, number: int, keys: int) -> str:
    """Write runs with single values straight into a store; return the name of their experiment."""
    client = mlflow.MlflowClient(f"sqlite:///{path}")
    run = client.create_run(client.create_experiment("looked at")).info
    latest = "INSERT INTO latest_metrics (key, value, timestamp, step, run_uuid, is_nan) VALUES (?, ?, ?, 0, ?, 0)"
    with sqlite3.connect(path) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(runs)")]
        row = dict(
            zip(
                columns,
                database.execute("SELECT * FROM runs WHERE run_uuid = ?", (run.run_id,)).fetchone(),
                strict=True,
            )
        )
        for at in range(number):
            made = {
                **row,
                "run_uuid": f"{at:032x}",
                "name": f"run {at}",
                "start_time": 10**12 + at,
                "status": "FINISHED",
            }
            database.execute(f"INSERT INTO runs VALUES ({', '.join('?' * len(columns))})", list(made.values()))  # noqa: S608
        database.executemany(
            latest,
            ((f"m.key_{key:02}", at / 7, 10**12, f"{at:032x}") for at, key in product(range(number), range(keys))),
        )
    database.close()
    return "looked at"


def looking(server: Server, experiment: str, size: Size) -> Iterator[Row]:
    """List and compare many runs, beside the search of MLflow's client for the same runs."""
    here, number = Binding(server=server, experiment=experiment), size.runs
    names = [f"latest~{at}" for at in range(number)]

    def listed() -> str:
        found = find.recent(here, number)
        return plain(of_runs(found, 10**12, Display(), common(run.metrics for run in found)))

    def compared() -> str:
        return strict(text_of(Comparison.of(find.several(here, names), Display())))

    def searched() -> object:
        client = mlflow.MlflowClient(server.uri)
        return client.search_runs([client.get_experiment_by_name(experiment).experiment_id], max_results=number)

    ways = {name: partial(timed, way, 1) for name, way in (("runs", listed), ("compare", compared), ("", searched))}
    figures = interleave(ways, size.starts)
    for name, promise in (("runs", 1.2), ("compare", 1.2)):
        what = f"{name}, all columns, {number:,} runs of 50 metrics"
        yield Row(what, figures[name], "MlflowClient.search_runs", figures[""], promise)


def requests_of_looking(uri: str, experiment: str, number: int) -> Iterator[Row]:
    """Count the requests of commands that look at many runs."""
    proxy = Proxy(uri)
    here = Binding(server=Server(proxy.uri), experiment=experiment)
    for name, look in (
        ("runs", lambda: find.recent(here, number)),
        ("compare", lambda: find.several(here, [f"latest~{at}" for at in range(number)])),
    ):
        before = len(proxy.seen)
        if len(look()) != number:
            sys.exit(f"{name} did not find all runs")
        yield counted(f"{name}, {number:,} runs of 50 metrics: requests", len(proxy.seen) - before, "needed", 2, 1)
    proxy.close()


# kedro-mlflow


def beside_kedro_mlflow(place: Place, size: Size, uri: str) -> Iterator[Row]:
    """Run the same pipelines with kedro-mlflow: time, CPU and requests, once."""
    peer = environment("peer", theirs())
    points = size.curve // 4 if uri and not size.long else size.curve  # 10,000 requests of its take minutes
    pipelines = {"100 scalars": HUNDRED, f"10 curves of {points:,} points": CURVES.format(points=points)}
    for what, nodes in pipelines.items():
        found = {}
        for name, where, catalog in (("ours", place.ours, SCORES), ("kedro-mlflow", peer, PEER_SCORES)):
            folder = f"{name}-{what.partition(' ')[0]}-{'server' if uri else 'sqlite'}"
            project = place.project(folder, catalog, nodes)
            found[name] = where.kedro(project, "run", MLFLOW_TRACKING_URI=uri or project.store.uri)
        our, their = found["ours"], found["kedro-mlflow"]
        yield from rows(f"kedro run, {what}", [our], "kedro-mlflow 2.0.3", [their])
        if uri:
            yield counted(f"kedro run, {what}: requests", our.requests, "kedro-mlflow 2.0.3", their.requests, 1)


def main() -> int:
    """Measure everything."""
    chosen = options("commands", long="only kedro-mlflow beside us on a server, with 10 curves of 1,000 points")
    size = QUICK if chosen.quick else replace(FULL, long=True) if chosen.long else FULL
    report = Report("commands", chosen.json, quick=chosen.quick)
    with tempfile.TemporaryDirectory(prefix="commands") as name:
        folder = Path(name)
        os.chdir(folder)
        place = Place(folder)
        if chosen.long:
            with mlflow_server(folder / "server", place.empty) as (real, _):
                beside = beside_kedro_mlflow(place, size, real.uri)
                report.section("beside kedro-mlflow: mlflow server on SQLite", beside)
            return report.finish()
        shutil.copy(place.empty, folder / "loads.db")
        filled = {(keys, points): fill(folder / "loads.db", keys, points) for keys, points in size.histories}
        report.section("start-up: no metrics", start_up(place, size))
        report.section("worker processes", workers(place))
        here = Server(f"sqlite:///{folder}/loads.db")
        report.section("load: SQLite in process", loads(here, folder, filled, size))
        experiment = fill_runs(folder / "loads.db", size.runs, 50)
        report.section("looking at many runs: SQLite in process", looking(here, experiment, size))
        with mlflow_server(folder / "server", folder / "loads.db") as (real, _):
            server = Server(real.uri)
            report.section("requests of kedro run, three metrics datasets", requests_of_a_run(place, real.uri))
            report.section("requests of a load", requests_of_loads(real.uri, folder, filled))
            report.section("load: mlflow server on SQLite", loads(server, folder, filled, size))
            report.section("looking at many runs: mlflow server on SQLite", looking(server, experiment, size))
            report.section("requests of looking", requests_of_looking(real.uri, experiment, size.runs))
            if size is FULL:
                report.section("one metrics dataset: mlflow server on SQLite", one_dataset(place, size, real.uri))
                report.section(
                    "beside kedro-mlflow: mlflow server on SQLite", beside_kedro_mlflow(place, size, real.uri)
                )
        if size is FULL:
            report.section("one metrics dataset: SQLite", one_dataset(place, size, ""))
            report.section("beside kedro-mlflow: SQLite", beside_kedro_mlflow(place, size, ""))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
