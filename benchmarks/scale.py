"""What one MLflow server takes from many processes, where the time goes, and what a thousand tasks do after an outage.

``python benchmarks/scale.py`` starts its own servers and its own PostgreSQL on loopback, and writers beside them: all
share the machine's cores. The thousand tasks are simulated, with outboxes and journals that are the package's own and a
server as fast as the one measured.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import NamedTuple

import mlflow
from common import Figure, Report, Row, Server, bound, options, store
from support.many import Case, simulate
from support.postgres import postgres
from support.server import command, mlflow_server

from kedro_mlflow_metrics.delivery import clock
from kedro_mlflow_metrics.points.curves import MAX_POINTS
from kedro_mlflow_metrics.process import now

KEYS = 10
PATIENCE = 600.0  # seconds for a request: writers wait for a busy server, as it is that which is measured
MILLION = 1_000_000
LIMIT = 2**30  # journal.max_bytes, unless it is set
TICKS = os.sysconf("SC_CLK_TCK")
fork = multiprocessing.get_context("fork")  # writers share what this process has imported


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: Repetitions.
        workers: How many workers a server on PostgreSQL has.
        writers: How many processes write at once.
        points: How many points they write together.
        grown: How many rows the table has when they write again.
        tasks: How many tasks are simulated; the server is slower where they are fewer than a thousand.
    """

    rounds: int
    workers: tuple[int, ...]
    writers: tuple[int, ...]
    points: int
    grown: int
    tasks: int


FULL = Size(rounds=3, workers=(1, 2, 4), writers=(1, 2, 4, 8, 16), points=16_000, grown=3 * MILLION, tasks=1000)
QUICK = Size(rounds=1, workers=(), writers=(1, 4), points=4_000, grown=0, tasks=50)


# Writing


class Place(NamedTuple):
    """A server, and what may be asked of it beside MLflow's own requests.

    Attributes:
        name: How the table calls it.
        uri: Its address.
        database: That of its database.
        session: The session of its processes, 0 if it is not asked for.
        postmaster: The first process of its PostgreSQL, 0 for SQLite.
    """

    name: str
    uri: str
    database: str
    session: int = 0
    postmaster: int = 0

    def ask(self, query: str) -> float:
        """Ask the database for one number."""
        if self.postmaster:
            import psycopg2

            connection = psycopg2.connect(self.database.replace("+psycopg2", ""))
        else:
            connection = sqlite3.connect(self.database.removeprefix("sqlite:///"))
        with closing(connection):
            cursor = connection.cursor()
            cursor.execute(query)
            (found,) = cursor.fetchone()
            connection.commit()
            return float(found)

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds that server and database have used so far."""
        used = {"server": 0.0, "PostgreSQL": 0.0}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, rest = int(path.parent.name), path.read_text().rpartition(") ")[2].split()
            except OSError:
                continue  # it has ended
            parent, session, (own, children) = (
                int(rest[1]),
                int(rest[3]),
                (sum(map(int, rest[11:13])), sum(map(int, rest[13:15]))),
            )
            if session == self.session:
                used["server"] += own / TICKS
            elif self.postmaster and self.postmaster in (pid, parent):
                used["PostgreSQL"] += (own + (children if pid == self.postmaster else 0)) / TICKS
        return used


class Load(NamedTuple):
    """How points are written.

    Attributes:
        writers: How many processes write at once.
        batch: How many points a request has.
        apart: Whether each writes to a run of its own; else all write to one.
    """

    writers: int
    batch: int = MAX_POINTS
    apart: bool = False


class Cost(NamedTuple):
    """What a load cost: points a second, and CPU seconds of a million points."""

    speed: float
    cpu: dict[str, float]


def write(place: Place, folder: Path, run_id: str, number: int, saves: int, batch: int, ready: Connection) -> None:  # noqa: PLR0913, PLR0917
    """Write as one process of many: metrics of its own, a request a save."""
    dataset = bound(Server(place.uri, PATIENCE), folder, run_id)
    keys = min(KEYS, batch)
    dataset.save({f"task_{number:02}": {"first": 0.0}})  # all that is imported, and the connection
    save = {f"task_{number:02}": {f"metric_{key}": [step / 7 for step in range(batch // keys)] for key in range(keys)}}
    ready.send(None)
    ready.recv()
    cpu, begun = time.process_time(), time.monotonic()
    for _ in range(saves):
        dataset.save(save)
    ready.send((begun, time.monotonic(), time.process_time() - cpu))
    if trouble := clock.close(dataset.binding.target):
        print(f"{place.name}: {trouble}", file=sys.stderr)


def measure(place: Place, folder: Path, load: Load, points: int) -> Cost:
    """Have many processes write at once; see that all is there."""
    client = mlflow.MlflowClient(place.uri)
    run_ids = [client.create_run("0").info.run_id for _ in range(load.writers if load.apart else 1)]
    saves = max(1, points // load.writers // load.batch)
    ends, processes = [], []
    for number in range(load.writers):
        ours, theirs = fork.Pipe()
        about = (place, folder, run_ids[number % len(run_ids)], number, saves, load.batch, theirs)
        process = fork.Process(target=write, args=about)
        process.start()
        ends.append(ours)
        processes.append(process)
    for end in ends:
        end.recv()
    before = place.cpu()
    for end in ends:
        end.send(None)
    begun, ended, used = zip(*(end.recv() for end in ends), strict=True)
    after = place.cpu()
    for process in processes:
        process.join()
    written, each = saves * load.batch * load.writers, ", ".join(f"'{ident}'" for ident in run_ids)
    stored = place.ask(f"SELECT count(*) FROM metrics WHERE run_uuid IN ({each})") - load.writers  # noqa: S608 - MLflow's own ids
    if stored != written:
        sys.exit(f"{written} points were written, {stored:.0f} are in {place.name}")
    millions = written / MILLION
    cpu = {"writers": sum(used) / millions, **{name: (after[name] - before[name]) / millions for name in after}}
    return Cost(written / (max(ended) - min(begun)), cpu)


def in_turns(cases: Mapping[str, tuple[Place, Load]], folder: Path, points: int, rounds: int) -> dict[str, list[Cost]]:
    """Measure several loads in turns."""
    costs: dict[str, list[Cost]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (place, load) in cases.items():
            costs[name].append(measure(place, folder, load, min(points, 400 * load.batch)))
    return costs


# The parts of the table


def speed(costs: Sequence[Cost]) -> Figure:
    """Return points a second."""
    return Figure("points/s", tuple(cost.speed for cost in costs))


def slope(places: Sequence[Place], folder: Path, size: Size) -> Iterator[Row]:
    """Compare many writers with one, and show who is busy meanwhile."""
    loads = {f"{place.name}, {writers}": (place, Load(writers)) for writers in size.writers for place in places}
    costs = in_turns(loads, folder, size.points, size.rounds)
    most = size.writers[-1]
    for place in places:
        one = costs[f"{place.name}, 1"]
        for writers in size.writers[1:]:
            yield Row(
                f"{place.name}: {writers} writers", speed(costs[f"{place.name}, {writers}"]), "1 writer", speed(one)
            )
    for place in places if places[0].session else ():
        many = costs[f"{place.name}, {most}"]
        elapsed = Figure("s", tuple(MILLION / cost.speed for cost in many))
        for name in many[0].cpu:
            used = Figure("s", tuple(cost.cpu[name] for cost in many))
            if any(used.rounds):
                yield Row(f"{place.name}: {most} writers, a million points: CPU of {name}", used, "time", elapsed)


def ways(place: Place, folder: Path, size: Size) -> Iterator[Row]:
    """Compare smaller requests, and runs apart, with full requests to one run."""
    most = size.writers[-1]
    full = "full requests, one run"
    loads = {full: (place, Load(most)), "each writer a run of its own": (place, Load(most, apart=True))}
    loads |= {f"{batch} points a request": (place, Load(most, batch)) for batch in (1, 10, 100)}
    costs = in_turns(loads, folder, size.points, size.rounds)
    for name in list(loads)[1:]:
        yield Row(f"{place.name}: {most} writers, {name}", speed(costs[name]), full, speed(costs[full]))
    seconds = [
        [median(load.batch / cost.speed for cost in costs[name]), load.batch]
        for name, (_, load) in loads.items()
        if not load.apart
    ]
    (least, few), (longest, many) = min(seconds), max(seconds)
    per_point = (longest - least) / (many - few)
    yield Row(
        "a request, and a point in it besides",
        Figure("s", (least - per_point * few,)),
        "a point",
        Figure("s", (per_point,)),
    )


def against(place: Place, others: Mapping[str, Place], folder: Path, size: Size) -> Iterator[Row]:
    """Compare servers with other settings."""
    load = Load(size.writers[-1])
    loads = {name: (each, load) for name, each in {"": place, **others}.items()}
    costs = in_turns(loads, folder, size.points, size.rounds)
    for name in others:
        yield Row(f"{name}: {load.writers} writers", speed(costs[name]), place.name, speed(costs[""]))


def growth(place: Place, folder: Path, size: Size) -> Iterator[Row]:
    """Compare a table of many rows with a small one; what it has was put there by SQL. Say what a row takes."""
    load, rows = Load(size.writers[-1]), []
    rows.append([measure(place, folder, load, size.points) for _ in range(size.rounds)])
    had, before = (
        place.ask(query) for query in ("SELECT count(*) FROM metrics", "SELECT pg_total_relation_size('metrics')")
    )
    client = mlflow.MlflowClient(place.uri)
    runs = [client.create_run("0").info.run_id for _ in range(50)]
    each = size.grown // len(runs) // KEYS
    for run_id in runs:
        place.ask(
            "WITH more AS (INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) "  # noqa: S608 - our own
            f"SELECT 'metrics.task_00.metric_' || key, random(), {now()} + step, step, false, '{run_id}' "
            f"FROM generate_series(0, {KEYS - 1}) key, generate_series(1, {each}) step RETURNING 1) "
            "SELECT count(*) FROM more"
        )
    rows.append([measure(place, folder, load, size.points) for _ in range(size.rounds)])
    after = place.ask("SELECT pg_total_relation_size('metrics')")
    have = place.ask("SELECT count(*) FROM metrics")
    yield Row(
        f"{place.name}: {load.writers} writers, after {have:,.0f} rows",
        speed(rows[1]),
        f"after {had:,.0f}",
        speed(rows[0]),
    )
    yield Row(
        "a row with its indexes",
        Figure("bytes", (after / have,)),
        "in the small table",
        Figure("bytes", (before / had,)),
    )


OUTAGES: dict[str, dict[str, float | str]] = {
    "refuses connections": {},
    "hangs": {"fault": "hang"},
    "answers 503 with Retry-After: 60": {"fault": "503", "retry_after": 60.0},
}


def outage(folder: Path, size: Size, **fault: float | str) -> Iterator[Row]:
    """Simulate tasks that come back after an outage, and compare what becomes of them with what is promised."""
    case = Case.like_a_thousand(size.tasks, **fault)
    with tempfile.TemporaryDirectory(dir=folder) as journals:
        found = simulate(case, Path(journals))
    if found.stored != found.written:
        sys.exit(f"{found.written} points were yielded, {found.stored} are stored")
    up = case.down[1]
    for what, unit, ours, peer, theirs, at_most in (
        ("points sent", "points", found.received, "points", found.stored, 1.5),
        ("tasks that come back within the same 10 s", "tasks", found.busiest(10), "all", case.tasks, 0.5),
        ("the last task has its first answer after", "s", max(found.heard) - up, "two pauses and timeouts", 240, 1),
        ("the last task has caught up after", "s", max(found.caught_up) - up, "the server needs", case.least, 2),
        ("the largest journal", "MB", max(found.journal) / 1e6, "journal.max_bytes", LIMIT / 1e6, 1),
        ("all journals together", "MB", sum(found.journal) / 1e6, "journal.max_bytes", LIMIT / 1e6, 1),
    ):
        yield Row(what, Figure(unit, (ours,)), peer, Figure(unit, (theirs,)), at_most, counted=True)


def main() -> int:
    """Measure everything."""
    chosen = options("scale", only="only the simulation")
    size = QUICK if chosen.quick else FULL
    report = Report("scale", chosen.json, quick=chosen.quick)
    with tempfile.TemporaryDirectory(prefix="scale") as name, ExitStack() as stack:
        folder = Path(name)
        os.chdir(folder)
        if chosen.quick:
            real, database = stack.enter_context(mlflow_server(folder / "server", store(folder)))
            report.section("writers: mlflow server", slope([Place("SQLite", real.uri, database.uri)], folder, size))
        elif not chosen.only:
            servers(report, folder, size, stack)
        for what, fault in OUTAGES.items():
            title = f"simulated: 1,000 tasks after a server that {what} for 5 minutes"
            report.section(title, outage(folder, size, **fault))
    return report.finish()


def servers(report: Report, folder: Path, size: Size, stack: ExitStack) -> None:
    """Measure servers as a user starts them."""
    address, postmaster = stack.enter_context(postgres(durable=True))
    places = []
    for workers in size.workers:
        uri, session = stack.enter_context(command(address, folder, workers))
        places.append(
            Place(f"PostgreSQL, {workers} worker{'s' * (workers > 1)}", uri, address, session, postmaster.pid)
        )
    two = places[1]
    here = f"sqlite:///{shutil.copy(store(folder), folder / 'here.db')}"
    uri, session = stack.enter_context(command(here, folder, 1))
    report.section(
        "writers: mlflow server", slope([*places, Place("SQLite, 1 worker", uri, here, session)], folder, size)
    )
    report.section("what moves it: mlflow server on PostgreSQL", ways(two, folder, size))
    others = {}
    for name, pool in (("one connection a worker", (1, 0)), ("a pool of 32", (32, 0))):
        settings = zip(("POOL_SIZE", "MAX_OVERFLOW"), map(str, pool), strict=True)
        uri, session = stack.enter_context(
            command(address, folder, 2, **{f"MLFLOW_SQLALCHEMYSTORE_{each}": value for each, value in settings})
        )
        others[name] = two._replace(uri=uri, session=session)
    report.section("settings of the server", against(two, others, folder, size))
    report.section("growth: mlflow server on PostgreSQL", growth(two, folder, size))


if __name__ == "__main__":
    sys.exit(main())
