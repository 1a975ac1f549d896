"""What a stream of metrics costs: a save beside MLflow's own calls, while the server answers and while it does not.

A dict that is saved alone is sent at once and costs what ``mlflow.log_metrics`` costs; what an iterator or a generator
node yields is collected and sent once a second, and is what is cheap.

``python benchmarks/streams.py`` starts its own servers on loopback and stops them.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from unittest.mock import patch

import mlflow
import numpy as np
from common import Figure, Report, Row, Server, at_once, bound, interleave, options, peak_mib, saving, store
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from nodes import split, train_network
from support.project import demo
from support.proxy import Proxy
from support.server import MlflowServer, mlflow_server
from threadpoolctl import threadpool_limits

from kedro_mlflow_metrics.dataset import MlflowMetricsDataset

PROMISE = 1 / 50  # of mlflow.log_metric, on a server on loopback
ALONE = 1.1  # of mlflow.log_metrics
FLAT = 0.05
PAUSE = 0.001
TIMEOUT = 1.0
ONE_LINE, TEN_LINE = 85, 600  # bytes of the journal's lines
LOG_METRIC = "mlflow.log_metric"
LOG_METRICS = "mlflow.log_metrics"
YIELD, SINGLE = 'a yield of {"loss": x}', 'dataset.save({"loss": x})'
IN_STREAM = f"{SINGLE} in a stream"
NO_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": f"{TIMEOUT:.0f}"}
Make = Callable[[int], dict[str, float]]
Way = Callable[[], list[float]]


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: Repetitions.
        saves: Saves in a stream in one repetition.
        calls: Calls of MLflow, and saves of a dict alone, in one repetition.
        paced: Saves in one repetition of a stream with pauses.
        epochs: Lengths of the training loop; the first is the demo's.
        streams: The iterators over which memory is watched: how many dicts of how many numbers.
    """

    rounds: int
    saves: int
    calls: int
    paced: int
    epochs: tuple[int, ...]
    streams: tuple[tuple[int, int], ...]


FULL = Size(5, 2000, 25, 1500, (20, 100), ((5_000, 1_000), (200_000, 1)))
QUICK = Size(2, 400, 8, 400, (20,), ((300, 1_000), (10_000, 1)))


def one(number: int) -> dict[str, float]:
    """Return what a training loop yields at the least."""
    return {"loss": 1 / (number + 1)}


def ten(number: int) -> dict[str, float]:
    """Return ten scalars."""
    return {f"metric_{name}": name / (number + 1) for name in range(10)}


# What is timed: each returns the seconds of each of its calls


def yields(dataset: MlflowMetricsDataset, number: int, make: Make, pause: float = 0.0) -> list[float]:
    """Save an iterator; return how long each of its yields stood still."""
    waited = []

    def mappings() -> Iterator[dict[str, float]]:
        for index in range(number):
            if pause:
                time.sleep(pause)
            mapping = make(index)
            begun = time.perf_counter()
            yield mapping
            waited.append(time.perf_counter() - begun)

    dataset.save(mappings())
    return waited


def saves(dataset: MlflowMetricsDataset, number: int, make: Make) -> list[float]:
    """Save dict by dict, as Kedro does for a generator node; what then waits is sent."""
    dataset.begin_stream()
    times = calls(dataset.save, number, make)
    dataset.end_stream()
    return times


def alone(dataset: MlflowMetricsDataset, number: int, make: Make) -> list[float]:
    """Save dict by dict, each on its own: as a node does that returns one, or a loop in a script."""
    return calls(dataset.save, number, make)


def calls(call: Callable[[dict[str, float]], object], number: int, make: Make, pause: float = 0.0) -> list[float]:
    """Call again and again; MLflow may raise."""
    times = []
    for index in range(number):
        if pause:
            time.sleep(pause)
        mapping = make(index)
        begun = time.perf_counter()
        try:  # noqa: SIM105 - `suppress` would be timed
            call(mapping)
        except mlflow.MlflowException:
            pass
        times.append(time.perf_counter() - begun)
    return times


class Peers:
    """MLflow's own calls, and the floor: one ``os.write`` to an append-only file.

    Args:
        uri: Where MLflow writes.
        folder: Where the file goes.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        mlflow.set_tracking_uri(uri)
        self._run = mlflow.MlflowClient().create_run("0").info.run_id
        self._file = os.open(folder / "floor", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def log_metric(self, number: int, make: Make, pause: float = 0.0) -> list[float]:
        """Log each scalar of a dict by a call of its own."""

        def log(mapping: dict[str, float]) -> None:
            for key, value in mapping.items():
                mlflow.log_metric(key, value, run_id=self._run)

        return calls(log, number, make, pause)

    def log_metrics(self, number: int, make: Make) -> list[float]:
        """Log a dict by one call."""
        return calls(partial(mlflow.log_metrics, run_id=self._run), number, make)

    def log_each(self, mappings: Iterator[dict[str, float]]) -> None:
        """Log what a training loop yields by hand."""
        for step, mapping in enumerate(mappings):
            mlflow.log_metrics(mapping, step, run_id=self._run)

    def write(self, number: int, size: int, pause: float = 0.0) -> list[float]:
        """Write lines as long as the journal's."""
        line = b"x" * (size - 1) + b"\n"
        return calls(lambda _: os.write(self._file, line), number, one, pause)


# The parts of the table


def compare(ours: dict[str, Way], peers: dict[str, Way], rounds: int, promise: float | None = None) -> Iterator[Row]:
    """Measure our ways and the peers' in turns; the promise is about the first peer."""
    figures = interleave({**ours, **peers}, rounds)
    for what, peer in product(ours, peers):
        yield Row(what, figures[what], peer, figures[peer], promise if peer == next(iter(peers)) else None)


def cost_of_a_save(server: Server, folder: Path, size: Size, promise: float | None = None) -> Iterator[Row]:
    """Compare saves with MLflow's own calls on the same store."""
    peers, number = Peers(server.uri, folder), size.saves
    with saving(server, folder) as (dataset, _):
        yield from compare(
            {
                YIELD: partial(yields, dataset, number, one),
                IN_STREAM: partial(saves, dataset, number, one),
            },
            {
                LOG_METRIC: partial(peers.log_metric, size.calls, one),
                LOG_METRICS: partial(peers.log_metrics, size.calls, one),
                f"os.write of {ONE_LINE} bytes": partial(peers.write, number, ONE_LINE),
            },
            size.rounds,
            promise,
        )
        yield from compare(
            {"a yield of 10 scalars": partial(yields, dataset, number // 4, ten)},
            {
                f"{LOG_METRIC}, 10 calls": partial(peers.log_metric, max(1, size.calls // 10), ten),
                LOG_METRICS: partial(peers.log_metrics, size.calls, ten),
                f"os.write of {TEN_LINE} bytes": partial(peers.write, number // 4, TEN_LINE),
            },
            size.rounds,
            promise,
        )
        yield from compare(
            {f"{YIELD} every ms, sent meanwhile": partial(yields, dataset, size.paced, one, PAUSE)},
            {
                f"{LOG_METRIC}, 1 ms between": partial(peers.log_metric, size.calls, one, PAUSE),
                f"os.write of {ONE_LINE} bytes every ms": partial(peers.write, size.paced // 5, ONE_LINE, PAUSE),
            },
            size.rounds,
            promise,
        )
        yield from compare(
            {SINGLE: partial(alone, dataset, size.calls, one)},
            {
                LOG_METRICS: partial(peers.log_metrics, size.calls, one),
                LOG_METRIC: partial(peers.log_metric, size.calls, one),
            },
            size.rounds,
            ALONE,
        )


def cost_outside_a_pipeline(server: Server, folder: Path, size: Size) -> Iterator[Row]:
    """Compare saves of a script and of a notebook, into MLflow's active run, with MLflow's own calls."""
    project = demo(folder / "demo")
    bootstrap_project(project)
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, {"MLFLOW_TRACKING_URI": server.uri}))
        session = stack.enter_context(KedroSession.create(project))
        stack.enter_context(redirect_stdout(io.StringIO()))  # MLflow says where to see the run
        peers = Peers(server.uri, folder)
        stack.enter_context(mlflow.start_run())
        catalog = session.load_context().catalog
        yield from compare(
            {
                "a yield in a script": partial(yields, MlflowMetricsDataset(prefix="script"), size.saves, one),
                "a yield in a notebook, dataset of a catalog": partial(
                    yields, catalog.get("training_metrics"), size.saves // 20, one
                ),
            },
            {LOG_METRIC: partial(peers.log_metric, size.calls, one)},
            size.rounds,
            PROMISE,
        )


def cost_in_an_outage(
    server: Server, folder: Path, size: Size, fall: Callable[[], object], rise: Callable[[], object]
) -> Iterator[Row]:
    """Compare saves during an outage with saves before it."""
    peers = Peers(server.uri, folder)
    before, failing = "the same before", f"{LOG_METRIC}, retries off: raises"
    first, floor = "the first save, which notices", f"os.write of {ONE_LINE} bytes"
    ways = {YIELD: (yields, size.saves), IN_STREAM: (saves, size.saves), SINGLE: (alone, size.calls)}
    times = defaultdict(list)
    for _ in range(size.rounds):
        with saving(server, folder) as (dataset, _):
            for what, (way, number) in ways.items():
                times[what, before].append(way(dataset, number, one))
            fall()
            times[first].append(alone(dataset, 1, one))
            for what, (way, _) in ways.items():
                times[what].append(way(dataset, size.saves, one))
            times[floor].append(peers.write(size.saves, ONE_LINE))
            with patch.dict(os.environ, NO_RETRIES):
                times[failing].append(peers.log_metric(1, one))
            rise()
    figures = {name: Figure.of_calls(each) for name, each in times.items()}
    yield Row(first, figures[first], failing, figures[failing])
    for what in ways:
        yield Row(what, figures[what], before, figures[what, before])
        yield Row(what, figures[what], failing, figures[failing])
        yield Row(what, figures[what], floor, figures[floor])


def train(consume: Callable[[Iterator[dict[str, float]]], object], epochs: int) -> list[float]:
    """Run the demo's training loop, which computes while its metrics are consumed."""
    data, _ = split(0.3)
    metrics, _ = train_network(data, {"hidden_units": 32, "epochs": epochs})
    begun = time.perf_counter()
    consume(metrics)
    return [time.perf_counter() - begun]


def train_and_save(datasets: Iterator[MlflowMetricsDataset], epochs: int) -> list[float]:
    """Run it as a pipeline does, with a dataset in a run of its own."""
    return train(next(datasets).save, epochs)


def training_loop(server: Server, real: MlflowServer, folder: Path, size: Size) -> Iterator[Row]:
    """Run the demo's training loop with and without the dataset, the server alive and dead."""
    peers, rounds = Peers(server.uri, folder), 2 * size.rounds
    for epochs, alive in product(size.epochs, (True, False)):
        with ExitStack() as stack:
            datasets = iter([stack.enter_context(saving(server, folder))[0] for _ in range(rounds)])
            others = {"without": partial(train, partial(deque, maxlen=0), epochs)}
            if not alive:
                real.kill()
            elif epochs == size.epochs[0]:
                others[f"{LOG_METRICS} in the loop"] = partial(train, peers.log_each, epochs)
            what = f"{epochs} epochs with the dataset, {'alive' if alive else 'dead'}"
            yield from compare({what: partial(train_and_save, datasets, epochs)}, others, rounds)
        if not alive:
            real.start()


def watch_memory(uri: str, folder: str, dicts: int, numbers: int) -> tuple[float, float]:
    """Save an iterator; return the peak after a tenth of it and after all of it."""
    dataset, random, peaks = bound(Server(uri), folder, "0" * 32), np.random.default_rng(0), []

    def mappings() -> Iterator[dict[str, object]]:
        for number in range(dicts):
            if number == dicts // 10:
                peaks.append(peak_mib())
            yield {"loss": random.random(numbers) if numbers > 1 else random.random()}

    dataset.save(mappings())
    return peaks[0], peak_mib()


def memory(folder: Path, size: Size) -> Iterator[Row]:
    """Watch the memory of a process of its own over a long iterator, and count what arrives."""
    for dicts, numbers in size.streams:
        with at_once() as server, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            uri = f"http://127.0.0.1:{server.server_address[1]}"
            tenth, end = process.submit(watch_memory, uri, str(folder), dicts, numbers).result()
        points = dicts * numbers
        if server.points != points:
            sys.exit(f"{points} points were saved, {server.points} arrived")
        each = f"an array of {numbers:,} numbers" if numbers > 1 else "one number"
        what = f"{dicts:,} yields of {each}"
        added = Figure("MiB", (end - tenth,))
        yield Row(
            f"{what}: peak RSS added after a tenth",
            added,
            "peak RSS until then",
            Figure("MiB", (tenth,)),
            FLAT,
            counted=True,
        )
        batches = Figure("full batches", (points / 1000,))
        yield Row(f"{what}: all of it", Figure("requests", (server.requests,)), "1,000 points each", batches)


def requests(uri: str, folder: Path, size: Size) -> Iterator[Row]:
    """Count the requests of a stream, and of one save, between us and a real server."""
    proxy = Proxy(uri)

    def batches() -> int:
        return sum(path.endswith(("log-batch", "log-metric")) for path, *_ in proxy.seen)

    def counted(way: Callable[[], object]) -> tuple[Figure, float]:
        before, begun = batches(), time.perf_counter()
        way()
        return Figure("requests", (batches() - before,)), time.perf_counter() - begun

    peers = Peers(proxy.uri, folder)
    with saving(Server(proxy.uri), folder) as (dataset, _):
        ours, _ = counted(lambda: dataset.save(ten(0)))
        theirs, _ = counted(lambda: peers.log_metrics(1, ten))
        yield Row("dataset.save of 10 scalars", ours, LOG_METRICS, theirs, 1, counted=True)
        ours, _ = counted(lambda: alone(dataset, size.calls, one))
        theirs, _ = counted(lambda: peers.log_metrics(size.calls, one))
        yield Row(f"{size.calls} times {SINGLE}", ours, LOG_METRICS, theirs, 1, counted=True)
        ours, seconds = counted(lambda: yields(dataset, size.paced, one, 2 * PAUSE))
        what = f"{size.paced:,} yields, 2 ms apart"
        yield Row(what, ours, "seconds that it took, and 2", Figure("s", (seconds + 2,)), 1, counted=True)
        theirs, _ = counted(lambda: peers.log_metric(size.calls, one))
        each = Figure("requests", tuple(count / size.calls * size.paced for count in theirs.rounds))
        yield Row(what, ours, f"{LOG_METRIC} of as many", each)
    proxy.close()


def main() -> int:
    """Measure everything."""
    chosen = options("streams")
    size = QUICK if chosen.quick else FULL
    report = Report("streams", chosen.json, quick=chosen.quick)
    with tempfile.TemporaryDirectory(prefix="streams") as name, threadpool_limits(1):
        folder = Path(name)
        os.chdir(folder)  # a script's journal goes to the current folder
        empty = store(folder)
        with mlflow_server(folder / "server", empty) as (real, _):
            server = Server(real.uri)
            report.section("a save: mlflow server on SQLite", cost_of_a_save(server, folder, size, PROMISE))
            report.section("a save: the same server, no pipeline", cost_outside_a_pipeline(server, folder, size))
            report.section("requests: the same server", requests(real.uri, folder, size))
            report.section("a save: the server killed", cost_in_an_outage(server, folder, size, real.kill, real.start))
            impatient = Server(real.uri, TIMEOUT)
            report.section(
                f"a save: the server hangs, timeout {TIMEOUT:.0f} s",
                cost_in_an_outage(impatient, folder, size, real.hang, real.go_on),
            )
            report.section("the demo's training loop: one BLAS thread", training_loop(server, real, folder, size))
        shutil.copy(empty, folder / "here.db")
        here = Server(f"sqlite:///{folder}/here.db")
        report.section("a save: SQLite in process", cost_of_a_save(here, folder, size))
        report.section("memory: a server that answers at once", memory(folder, size))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
