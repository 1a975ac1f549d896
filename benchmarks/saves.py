"""What a big save costs beside MLflow's own ``log_batch``, a small one beside ``log_metrics``, and where it goes.

``python benchmarks/saves.py`` starts its own servers and its own PostgreSQL on loopback and stops them. Times of
saves are per point. A save of 1,000,000 points takes minutes in every real store: ``--long`` measures nothing else,
for half an hour. Without it such a save is only sent to a server that takes batches at once, where it shows the
client's time and memory.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import mlflow
import numpy as np
from common import Figure, Report, Row, Server, at_once, bound, interleave, options, peak_mib, saving, store
from mlflow.entities import Metric
from support.postgres import postgres
from support.proxy import Proxy
from support.server import MlflowServer, command, mlflow_server

from kedro_mlflow_metrics.points.curves import MAX_POINTS, batches
from kedro_mlflow_metrics.points.stamp import to_curves
from kedro_mlflow_metrics.process import now
from kedro_mlflow_metrics.tracking.rest import RestStore

BIG, BY_KEY, CPU, SMALL = 1.05, 0.65, 0.3, 1.1  # of MLflow's own call, on the same store
LOADED, IN_FLIGHT = 100, 0.35
SECONDS_PER_POINT = {"lists of numbers": 1 / 1_000_000, "arrays": 1 / 1_000_000, "lists of dicts": 1 / 300_000}
MOST_MIB = 50
INTO = "INSERT INTO {} (key, value, timestamp, step, is_nan, run_uuid) VALUES "
SQLITE_ROW, POSTGRES_ROWS = "(?, ?, ?, ?, ?, ?)", "%s"
LOG_BATCH = "MlflowClient.log_batch"
Curves = dict[str, list[float]]
Way = Callable[[], AbstractContextManager[Callable[[], object]]]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: Repetitions.
        points: Per number of keys, how many points a save has.
        long: Per kind of store, how many points the one long save has.
        dicts: How many dicts of 1,000 keys a save has.
        stores: Whether PostgreSQL is measured too, and a server with two workers.
        converted: How many points are turned from dicts to points in one repetition.
        watched: How many points the save has whose memory is watched.
        small: Small saves in one repetition.
        grown: How many points are in a run when more are written.
    """

    rounds: int
    points: dict[int, int]
    long: dict[str, int]
    dicts: int
    stores: bool
    converted: int
    watched: int
    small: int
    grown: tuple[int, ...]


HERE, SERVER, POSTGRES = "SQLite in process", "mlflow server on SQLite", "mlflow server on PostgreSQL"
FULL = Size(
    rounds=3,
    points={1: 3_000, 10: 5_000, 1_000: 5_000},
    long={SERVER: 100_000},
    dicts=20,
    stores=True,
    converted=1_000_000,
    watched=1_000_000,
    small=20,
    grown=(0, 100_000, 300_000, 1_000_000),
)
MILLION = 1_000_000
QUICK = Size(
    rounds=1,
    points={10: 2_000},
    long={},
    dicts=5,
    stores=False,
    converted=100_000,
    watched=200_000,
    small=8,
    grown=(0, 100_000),
)


# What is saved


def curves(points: int, keys: int) -> Curves:
    """Return so many numbers, spread over so many keys."""
    values = np.random.default_rng(0).random((keys, points // keys)).tolist()
    return {f"metric_{number:04}": row for number, row in enumerate(values)}


def as_dicts(data: Curves) -> dict[str, list[dict[str, float]]]:
    """Return each number as a point."""
    return {
        name: [{"value": value, "step": step} for step, value in enumerate(values)] for name, values in data.items()
    }


def as_arrays(data: Curves) -> dict[str, np.ndarray]:
    """Return the numbers of each key as an array."""
    return {name: np.array(values) for name, values in data.items()}


FORMS: dict[str, Callable[[Curves], object]] = {
    "lists of numbers": dict,
    "lists of dicts": as_dicts,
    "arrays": as_arrays,
}


def by_step(data: Curves) -> list[dict[str, float]]:
    """Return the same points as one dict per step."""
    return [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]


def as_metrics(data: Curves, *, in_steps: bool = False) -> list[Metric]:
    """Return what `log_batch` takes, in the order given: key by key, or step by step."""
    moment = now()
    found = [
        Metric(f"metrics.{name}", value, moment, step)
        for name, values in data.items()
        for step, value in enumerate(values)
    ]
    return sorted(found, key=lambda metric: metric.step) if in_steps else found


# Where it is saved


class Place:
    """One store: where it is, MLflow's own client for it, and how to ask its database.

    Args:
        name: How the table calls it.
        uri: The tracking URI.
        database: The address of its database.
        folder: Where the journal goes.
    """

    def __init__(self, name: str, uri: str, database: str, folder: Path) -> None:
        self.name, self._database, self._folder = name, database, folder
        self.server = Server(uri, 60.0)
        self.client = mlflow.MlflowClient(uri)
        few = curves(2 * MAX_POINTS, 10)  # the first requests of a server cost more
        for way in (partial(self.save, few.copy, 2 * MAX_POINTS), partial(self.log_batch, partial(as_metrics, few))):
            with way() as work:
                work()

    @property
    def remote(self) -> bool:
        """Whether requests go over HTTP."""
        return self.server.uri.startswith("http")

    @contextmanager
    def save(self, make: Callable[[], object], points: int) -> Iterator[Callable[[], object]]:
        """Lend a save into a new run; see afterwards that all of it is there."""
        data = make()
        with saving(self.server, self._folder) as (dataset, run_id):
            yield partial(dataset.save, data)
        if (found := self._count(run_id)) != points:
            sys.exit(f"{points} points were saved, {found} are in {self.name}")

    @contextmanager
    def log_batch(self, make: Callable[[], list[Metric]]) -> Iterator[Callable[[], object]]:
        """Lend MLflow's own call for ready-made entities, into a new run."""
        metrics, run_id = make(), self.client.create_run("0").info.run_id

        def log() -> None:
            for start in range(0, len(metrics), MAX_POINTS):
                self.client.log_batch(run_id, metrics[start : start + MAX_POINTS])

        yield log

    @contextmanager
    def insert(self, data: Curves) -> Iterator[Callable[[], object]]:
        """Lend the floor: SQL into a table of the same shape, a transaction per 1,000."""
        rows = [(m.key, m.value, m.timestamp, m.step, False, "0" * 32) for m in as_metrics(data)]
        with self._connect() as database:
            cursor = database.cursor()
            cursor.execute("DROP TABLE IF EXISTS floor")
            for statement in self._shape():
                cursor.execute(statement)
            database.commit()

            def insert() -> None:
                for start in range(0, len(rows), MAX_POINTS):
                    self._insert(cursor, rows[start : start + MAX_POINTS])
                    database.commit()

            yield insert

    def _shape(self) -> list[str]:
        """Return what makes a table like MLflow's, with its indexes."""
        if self._database.startswith("postgresql"):
            return ["CREATE TABLE floor (LIKE metrics INCLUDING ALL)"]
        with self._connect() as database:
            query = "SELECT sql FROM sqlite_master WHERE tbl_name = 'metrics' AND sql IS NOT NULL ORDER BY type DESC"
            found = [sql for (sql,) in database.execute(query)]
        return [sql.replace("index_metrics", "index_floor").replace("metrics", "floor") for sql in found]

    def _insert(self, cursor: sqlite3.Cursor, rows: Sequence[tuple[object, ...]]) -> None:
        into = INTO.format("floor")
        if self._database.startswith("postgresql"):
            from psycopg2.extras import execute_values

            execute_values(cursor, into + POSTGRES_ROWS, rows, page_size=MAX_POINTS)
        else:
            cursor.executemany(into + SQLITE_ROW, rows)

    def _count(self, run_id: str) -> int:
        with self._connect() as database:
            cursor = database.cursor()
            cursor.execute(f"SELECT count(*) FROM metrics WHERE run_uuid = '{run_id}'")  # noqa: S608 - MLflow's own id
            return int(cursor.fetchone()[0])

    def _connect(self) -> AbstractContextManager[sqlite3.Connection]:
        if self._database.startswith("postgresql"):
            import psycopg2

            return closing(psycopg2.connect(self._database.replace("+psycopg2", "")))
        return closing(sqlite3.connect(self._database.removeprefix("sqlite:///")))


# The parts of the table


def in_turns(ways: dict[str, Way], points: int, rounds: int) -> tuple[dict[str, Figure], dict[str, Figure]]:
    """Measure ways in turns; return wall time and this process's CPU time of each, per point."""
    used = defaultdict(list)

    def timed(name: str) -> list[float]:
        with ways[name]() as work:
            gc.collect()
            cpu, begun = time.process_time(), time.perf_counter()
            work()
            wall = time.perf_counter() - begun
            used[name].append((time.process_time() - cpu) / points)
        return [wall / points]

    wall = interleave({name: partial(timed, name) for name in ways}, rounds)
    return wall, {name: Figure("s", tuple(times)) for name, times in used.items()}


def big_saves(place: Place, size: Size) -> Iterator[Row]:
    """Compare saves of every form with `log_batch` of the same points in the order given, and with the floor."""
    for keys, points in size.points.items():
        data, spread = curves(points, keys), f"{points:,} points, {keys:,} key{'s' * (keys > 1)}"
        ways: dict[str, Way] = {
            f"{spread}, {form}": partial(place.save, partial(shape, data), points) for form, shape in FORMS.items()
        }
        peers: dict[str, Way] = {LOG_BATCH: partial(place.log_batch, partial(as_metrics, data))}
        if keys == 10:
            peers["raw SQL, 1,000 a transaction"] = partial(place.insert, data)
        yield from compare(place, ways, peers, points, size.rounds, BIG)


def long_save(place: Place, size: Size) -> Iterator[Row]:
    """Compare one save of very many points."""
    points = size.long[place.name]
    data = curves(points, 10)
    ways: dict[str, Way] = {f"{points:,} points, 10 keys, lists of numbers": partial(place.save, data.copy, points)}
    peers: dict[str, Way] = {LOG_BATCH: partial(place.log_batch, partial(as_metrics, data))}
    yield from compare(place, ways, peers, points, 1, BIG)


def many_dicts(place: Place, size: Size) -> Iterator[Row]:
    """Compare a list of dicts, and an iterator of them, with `log_batch` step by step."""
    points = size.dicts * 1_000
    data = curves(points, 1_000)
    rows, name = by_step(data), f"{size.dicts} dicts of 1,000 keys"
    ways: dict[str, Way] = {
        f"{name}, a list": partial(place.save, rows.copy, points),
        f"{name}, an iterator": partial(place.save, partial(iter, rows), points),
    }
    peers: dict[str, Way] = {
        f"{LOG_BATCH}, step by step": partial(place.log_batch, partial(as_metrics, data, in_steps=True)),
    }
    yield from compare(place, ways, peers, points, max(1, size.rounds - 1), BY_KEY)


def compare(  # noqa: PLR0913, PLR0917 - what is measured
    place: Place, ways: dict[str, Way], peers: dict[str, Way], points: int, rounds: int, promise: float
) -> Iterator[Row]:
    """Measure ours and the peers' in turns; the promises are about the first peer."""
    wall, cpu = in_turns({**ways, **peers}, points, rounds)
    first, *others = peers
    for what in ways:
        yield Row(what, wall[what], first, wall[first], promise)
        if place.remote:
            yield Row(f"{what}: CPU here", cpu[what], first, cpu[first], CPU)
    for peer in others:
        what = next(iter(ways))
        yield Row(what, wall[what], peer, wall[peer])


def in_flight(uri: str, points: int, rounds: int) -> Iterator[Row]:
    """Publish what two requests at a time would give."""
    data = to_curves(curves(points, 10), prefix="", now=now(), progress={})
    client, store = mlflow.MlflowClient(uri), RestStore(Server(uri, 60.0), 0)
    cut = list(batches(data))

    @contextmanager
    def send(threads: int) -> Iterator[Callable[[], object]]:
        run_id = client.create_run("0").info.run_id
        with ThreadPoolExecutor(threads) as pool:
            yield lambda: list(pool.map(partial(store.log_batch, run_id), cut))

    two, one = "2 requests in flight", "one after the other"
    wall, _ = in_turns({two: partial(send, 2), one: partial(send, 1)}, points, rounds)
    yield Row(f"{points:,} points, 10 keys: {two}", wall[two], one, wall[one])


def load_in_flight(uri: str, folder: Path, size: Size) -> Iterator[Row]:
    """Compare a load of many histories with MLflow's client, which asks for one after the other."""
    data = curves(200 * LOADED, LOADED)
    client = mlflow.MlflowClient(uri)
    with saving(Server(uri, 60.0), folder) as (dataset, run_id):
        dataset.save(data)

        @contextmanager
        def load() -> Iterator[Callable[[], object]]:
            yield dataset.load

        @contextmanager
        def by_hand() -> Iterator[Callable[[], object]]:
            yield lambda: [client.get_metric_history(run_id, key) for key in client.get_run(run_id).data.metrics]

        ours, theirs = "load", "MlflowClient.get_metric_history, one after the other"
        wall, _ = in_turns({ours: load, theirs: by_hand}, LOADED, size.rounds)
    yield Row(f"{LOADED} keys of 200 points, per key", wall[ours], theirs, wall[theirs], IN_FLIGHT)


def to_columns(size: Size) -> Iterator[Row]:
    """Compare the way from a dict to points with its promise, and with making MLflow's entities."""
    points, entities = size.converted, f"mlflow.entities.Metric of {size.converted // 10:,}"
    for keys in (1, 1_000):
        data = curves(points, keys)
        fewer = curves(points // 10, min(keys, points // 10))
        ways: dict[str, Way] = {form: partial(convert, shape, data) for form, shape in FORMS.items()}
        wall, _ = in_turns(ways, points, size.rounds)
        theirs, _ = in_turns({entities: partial(make_metrics, fewer)}, points // 10, size.rounds)
        for form, promise in SECONDS_PER_POINT.items():
            rate = Figure("s", (promise,) * size.rounds)
            what = f"{points:,} points, {keys:,} key{'s' * (keys > 1)}, {form}"
            yield Row(what, wall[form], f"{1 / promise:,.0f} a second", rate, 1)
            yield Row(what, wall[form], entities, theirs[entities])


@contextmanager
def convert(shape: Callable[[Curves], object], data: Curves) -> Iterator[Callable[[], object]]:
    """Lend the way from a dict to points."""
    yield partial(to_curves, shape(data), prefix="metrics.", now=now(), progress={})


@contextmanager
def make_metrics(data: Curves) -> Iterator[Callable[[], object]]:
    """Lend the making of MLflow's entities."""
    yield partial(as_metrics, data)


def watch_memory(uri: str, folder: str, points: int, keys: int) -> tuple[float, float]:
    """Save arrays in a process of its own; return MiB added over the arrays, and seconds."""
    dataset, random = bound(Server(uri), folder, "0" * 32), np.random.default_rng(0)
    dataset.save({"first": 0.0})  # all that is imported
    data = {f"metric_{number:04}": random.random(points // keys) for number in range(keys)}
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what there is
    before, begun = peak_mib(), time.perf_counter()
    dataset.save(data)
    return peak_mib() - before, time.perf_counter() - begun


def memory(folder: Path, size: Size) -> Iterator[Row]:
    """Watch the memory of a long save, and count what arrives."""
    for points, keys in ((size.watched, 1), (size.watched // 5, 1_000)):
        with at_once() as server, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            uri = f"http://127.0.0.1:{server.server_address[1]}"
            added, seconds = process.submit(watch_memory, uri, str(folder), points, keys).result()
            if server.points != points + 1:
                sys.exit(f"{points + 1} points were saved, {server.points} arrived")
            sent = server.requests - 1
        what = f"{points:,} points in {keys:,} array{'s' * (keys > 1)}"
        most = Figure("MiB", (MOST_MIB,))
        yield Row(f"{what}: peak RSS added", Figure("MiB", (added,)), "the promise", most, 1, counted=True)
        full = Figure("full batches", (points / MAX_POINTS,))
        yield Row(f"{what}: requests", Figure("requests", (sent,)), "1,000 points each", full, 1, counted=True)
        yield Row(f"{what}: all of it", Figure("s", (seconds,)), "1 us a point", Figure("s", (points / 1e6,)))


def small_saves(place: Place, size: Size) -> Iterator[Row]:
    """Compare a save of 10 scalars with `mlflow.log_metrics`, each into a run of its own."""
    scalars = {f"metric_{number}": number / 7 for number in range(10)}
    mlflow.set_tracking_uri(place.server.uri)
    save, log = "dataset.save of 10 scalars", "mlflow.log_metrics"

    def ours() -> list[float]:
        return [seconds(partial(place.save, scalars.copy, 10)) for _ in range(size.small)]

    def theirs() -> list[float]:
        return [seconds(fluent) for _ in range(size.small)]

    @contextmanager
    def fluent() -> Iterator[Callable[[], object]]:
        run_id = place.client.create_run("0").info.run_id
        yield partial(mlflow.log_metrics, scalars, run_id=run_id)

    figures = interleave({save: ours, log: theirs}, size.rounds)
    yield Row(f"{save}: {place.name}", figures[save], log, figures[log], SMALL)
    if place.remote:
        proxy = Proxy(place.server.uri)
        between = Place(place.name, proxy.uri, place._database, Path.cwd())  # noqa: SLF001 - the same store
        with between.save(scalars.copy, 10) as work:
            before = len(proxy.seen)
            work()
            sent = len(proxy.seen) - before
        proxy.close()
        one = Figure("request", (1,))
        yield Row(f"{save}: {place.name}", Figure("requests", (sent,)), "promised", one, 1, counted=True)


def seconds(way: Way) -> float:
    """Return how long something takes once."""
    with way() as work:
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun


def growth(empty: Path, folder: Path, size: Size) -> Iterator[Row]:
    """Write 1,000 points to a run that already has many; what it has was put there by SQL."""
    ways: dict[str, Callable[[], list[float]]] = {}
    for have in size.grown:
        path = shutil.copy(empty, folder / f"grown-{have}.db")
        client = mlflow.MlflowClient(f"sqlite:///{path}")
        run_id = client.create_run("0").info.run_id
        with closing(sqlite3.connect(path)) as database:
            into = INTO.format("metrics") + SQLITE_ROW
            moment = now()
            values = np.random.default_rng(0).random(have).tolist()
            database.executemany(
                into, ((f"metric_{at % 10}", value, moment, at // 10, False, run_id) for at, value in enumerate(values))
            )
            database.commit()
        steps = count(have)
        log_thousand(client, run_id, steps)
        ways[f"{have:,}"] = partial(log_thousand, client, run_id, steps)
    figures = interleave(ways, 3 * size.rounds)
    first = f"{size.grown[0]:,}"
    for have in size.grown[1:]:
        what = f"{LOG_BATCH}, after {have:,}"
        yield Row(what, figures[f"{have:,}"], "the same after 1,000", figures[first])


def log_thousand(client: mlflow.MlflowClient, run_id: str, steps: Iterator[int]) -> list[float]:
    """Write 1,000 points of 10 keys after what is there; return the seconds of a point."""
    moment = now()
    each = [next(steps) for _ in range(MAX_POINTS // 10)]
    metrics = [Metric(f"metric_{key}", 0.5, moment, step) for key in range(10) for step in each]
    begun = time.perf_counter()
    client.log_batch(run_id, metrics)
    return [(time.perf_counter() - begun) / MAX_POINTS]


def main() -> int:
    """Measure everything."""
    chosen = options("saves", long="only saves of 1,000,000 points, one of each")
    size = QUICK if chosen.quick else FULL
    if chosen.long:
        size = replace(FULL, long=dict.fromkeys((HERE, SERVER, POSTGRES), MILLION))
    report = Report("saves", chosen.json, quick=chosen.quick)
    with tempfile.TemporaryDirectory(prefix="saves") as name, ExitStack() as stack:
        folder = Path(name)
        os.chdir(folder)
        empty = store(folder)
        if not chosen.long:
            report.section("dict to points, per point", to_columns(size))
            report.section("memory: a server that answers at once", memory(folder, size))
        here = f"sqlite:///{shutil.copy(empty, folder / 'here.db')}"
        server, database = stack.enter_context(mlflow_server(folder / "server", empty))
        places = [Place(HERE, here, here, folder), Place(SERVER, server.uri, database.uri, folder)]
        workers = None
        if size.stores:
            address, _ = stack.enter_context(postgres())
            mlflow.MlflowClient(address).get_experiment_by_name("none")  # makes the tables
            workers, _ = stack.enter_context(command(address, folder, 2))
            other = MlflowServer(address, folder).start()
            stack.callback(other.close)
            places.append(Place(POSTGRES, other.uri, address, folder))
        for place in places:
            title = f"per point: {place.name}"
            if place.name in size.long:
                report.section(f"a long save, {title}", long_save(place, size))
            if chosen.long:
                continue
            report.section(f"a big save, {title}", big_saves(place, size))
            report.section(f"many keys, {title}", many_dicts(place, size))
            report.section(f"a small save: {place.name}", small_saves(place, size))
        if chosen.long:
            return report.finish()
        flights = {SERVER: server.uri, POSTGRES: places[-1].server.uri, f"{POSTGRES}, 2 workers": workers}
        for title, uri in flights.items() if workers else ():
            report.section(f"requests in flight: {title}", in_flight(uri, size.points[10], size.rounds))
        if workers:
            report.section(f"a load: {POSTGRES}, 2 workers", load_in_flight(workers, folder, size))
        report.section("growth, per point: SQLite in process", growth(empty, folder, size))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
