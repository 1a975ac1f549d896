"""What the benchmarks share: interleaved repetitions, figures with their spread, one table, one JSON file."""

from __future__ import annotations

import argparse
import http.server
import json
import logging
import os
import platform
import socketserver
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
STARTER = ROOT / "kedro_mlflow_metrics/starter/{{ cookiecutter.repo_name }}/src/{{ cookiecutter.python_package }}"
sys.path += [str(ROOT / "tests"), str(STARTER)]
for _name in [name for name in os.environ if name.startswith(("MLFLOW_", "KEDRO_"))]:
    del os.environ[_name]  # no benchmark writes to the developer's own MLflow
for _name in ("KEDRO_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
    os.environ[_name] = "true"
logging.disable()  # outages are meant here, and Kedro's log would cross the table

import mlflow  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from kedro_mlflow_metrics.dataset import MlflowMetricsDataset  # noqa: E402
from kedro_mlflow_metrics.delivery import clock  # noqa: E402
from kedro_mlflow_metrics.delivery.target import Target  # noqa: E402
from kedro_mlflow_metrics.journal.folder import Journal  # noqa: E402
from kedro_mlflow_metrics.project.binding import Binding  # noqa: E402
from kedro_mlflow_metrics.tracking.address import Server  # noqa: E402
from kedro_mlflow_metrics.tracking.store import RunInfo  # noqa: E402

__all__ = [
    "ROOT",
    "Figure",
    "Report",
    "Row",
    "Server",
    "at_once",
    "bound",
    "interleave",
    "options",
    "peak_mib",
    "saving",
    "store",
]

PACKAGES = ("kedro-mlflow-metrics", "kedro", "mlflow", "sqlalchemy", "requests", "numpy", "scikit-learn")
_WIDTH = 190
_SCALES = ((1e6, "us"), (1e3, "ms"), (1.0, "s"), (0.0, ""))


@dataclass(frozen=True)
class Figure:
    """What one way costs, over several repetitions.

    Attributes:
        unit: ``s``, ``MiB``, or the name of what is counted.
        rounds: A figure per repetition; of many timed calls their median.
        p99: The 99th percentile over all calls of all repetitions, if there are enough of them.
    """

    unit: str
    rounds: tuple[float, ...]
    p99: float | None = None

    @classmethod
    def of_calls(cls, rounds: Sequence[Sequence[float]]) -> Figure:
        """Sum up timed calls, given in seconds for each repetition."""
        calls = sorted(chain.from_iterable(rounds))
        p99 = calls[len(calls) * 99 // 100] if len(calls) >= 100 else None
        return cls("s", tuple(median(times) for times in rounds), p99)

    @property
    def spread(self) -> Spread:
        """The median of the repetitions, and their ends."""
        return Spread.of(self.rounds)

    def show(self, value: float | None) -> str:
        """Show a value in a unit that suits it, with three digits."""
        if value is None:
            return ""
        if self.unit != "s":
            return f"{_number(value)} {self.unit}"
        factor, unit = next(scale for scale in _SCALES if value * scale[0] < 10_000)
        return f"{_number(value * factor)} {unit}"


class Spread(NamedTuple):
    """A median, and the lowest and the highest that went into it."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Sum up some values."""
        values = list(values)
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.low == self.high:
            return _fraction(self.middle)
        return f"{_fraction(self.middle)} ({_fraction(self.low)} to {_fraction(self.high)})"


@dataclass(frozen=True)
class Row:
    """One figure of ours beside a peer's, which was measured in turns with it.

    Attributes:
        what: What was measured, exactly.
        ours: What it costs.
        peer: What it is compared with.
        theirs: What that costs.
        at_most: How many times theirs ours may be; None where nothing is promised.
        counted: Whether the figures are counts or sizes, which no busy machine changes: then a broken promise
            fails the benchmark.
    """

    what: str
    ours: Figure
    peer: str
    theirs: Figure
    at_most: float | None = None
    counted: bool = False

    @property
    def ratio(self) -> Spread:
        """Ours by theirs, repetition by repetition."""
        pairs = zip(self.ours.rounds, self.theirs.rounds, strict=True)
        return Spread.of(our / their if their else float("inf") for our, their in pairs)

    @property
    def kept(self) -> bool | None:
        """Whether the promise is kept; None if there is none."""
        return None if self.at_most is None else self.ratio.middle <= self.at_most

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {
            "what": self.what,
            "peer": self.peer,
            "unit": [self.ours.unit, self.theirs.unit],
            "ours": self.ours.spread._asdict(),
            "theirs": self.theirs.spread._asdict(),
            "p99": [self.ours.p99, self.theirs.p99],
            "ratio": self.ratio._asdict(),
            "repetitions": len(self.ours.rounds),
            "at_most": self.at_most,
            "counted": self.counted,
            "kept": self.kept,
        }


class Report:
    """Collects rows, prints them as one table and writes them as JSON."""

    def __init__(self, name: str, path: Path, *, quick: bool) -> None:
        """Begin.

        Args:
            name: The benchmark's name.
            path: Where the JSON goes.
            quick: Whether the repetitions are few and short.
        """
        self._name, self._path, self._quick = name, path, quick
        self._begun, self._load = time.monotonic(), os.getloadavg()
        self._sections: list[tuple[str, list[Row]]] = []

    def section(self, title: str, rows: Iterable[Row]) -> None:
        """Measure a part of the table."""
        print(f"{time.monotonic() - self._begun:5.0f} s  {title}", file=sys.stderr, flush=True)
        self._sections.append((title, list(rows)))

    def finish(self) -> int:
        """Print the table, write the JSON; return the exit code, 1 if a promise about counts is broken."""
        about = {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "quick": self._quick,
            "seconds": round(time.monotonic() - self._begun),
            "load": [round(load, 2) for load in self._load],
            **_environment(),
        }
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDTH)
        console.print(self._table())
        console.print(", ".join(f"{name} {value}" for name, value in about.items()), highlight=False)
        sections = {title: [row.to_json() for row in rows] for title, rows in self._sections}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps({"benchmark": self._name, **about, "sections": sections}, indent=1) + "\n")
        console.print(f"written to {self._path}", highlight=False)
        broken = [row for _, rows in self._sections for row in rows if row.counted and row.kept is False]
        return int(bool(broken))

    def _table(self) -> Table:
        table = Table(title=f"{self._name}: medians, spread over the repetitions in brackets", title_justify="left")
        table.add_column("what")
        for heading in ("ours", "p99", "compared with", "theirs", "p99", "ours / theirs", "at most"):
            table.add_column(heading, justify="left" if heading == "compared with" else "right")
        for title, rows in self._sections:
            table.add_row(f"[bold]{title}[/bold]")
            before = ""
            for row in rows:
                ours, theirs = row.ours, row.theirs
                mine = (f"  {row.what}", ours.show(ours.spread.middle), ours.show(ours.p99))
                other = (row.peer, theirs.show(theirs.spread.middle), theirs.show(theirs.p99))
                limit = "" if row.at_most is None else _fraction(row.at_most)
                verdict = "" if row.kept is not False else " [red]missed[/red]"
                table.add_row(*(mine if row.what != before else ("", "", "")), *other, str(row.ratio), limit + verdict)
                before = row.what
            table.add_section()
        return table


def _number(value: float) -> str:
    """Show three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _fraction(value: float) -> str:
    """Show a small ratio as one of so many."""
    return f"1/{_number(1 / value)}" if 0 < value < 0.1 else _number(value)


def _environment() -> dict[str, str | int | None]:
    """Return what the figures depend on."""
    found: dict[str, str | int | None] = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "sqlite": sqlite3.sqlite_version,
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def interleave(ways: Mapping[str, Callable[[], Sequence[float]]], rounds: int) -> dict[str, Figure]:
    """Measure several ways in turns, so that whatever else the machine does meets them alike.

    Args:
        ways: Per name what does one repetition and returns how many seconds each call took.
        rounds: How many repetitions.
    """
    times: dict[str, list[Sequence[float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(way())
    return {name: Figure.of_calls(each) for name, each in times.items()}


def bound(server: Server, folder: Path | str, run_id: str, *, form: str = "auto") -> MlflowMetricsDataset:
    """Return a dataset as the hook leaves it at the start of a pipeline: named, and told its run.

    Args:
        server: Where the run is.
        folder: Where the journal goes.
        run_id: The run; MLflow is not asked for it.
        form: What `load` returns.
    """
    journal = Journal(str(folder))
    target = Target.of(server, journal, RunInfo(run_id), active=True)
    dataset = MlflowMetricsDataset(load_args={"as": form})
    dataset.bind(Binding("metrics", target=target, server=server, journal=journal))
    clock.outbox(target).proven = True
    return dataset


@contextmanager
def saving(server: Server, folder: Path) -> Iterator[tuple[MlflowMetricsDataset, str]]:
    """Lend a dataset in a new run, and the run's id; at the end what waits is sent, as at the end of a pipeline."""
    run_id = mlflow.MlflowClient(server.uri).create_run("0").info.run_id
    dataset = bound(server, folder, run_id)
    try:
        yield dataset, run_id
    finally:
        clock.close(dataset.binding.target)


def store(folder: Path) -> Path:
    """Make an MLflow database without runs, to be copied."""
    path = folder / "empty.db"
    mlflow.MlflowClient(f"sqlite:///{path}").get_experiment_by_name("none")
    return path


class AtOnce(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A server that takes every batch at once and counts its points."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), AtOnceHandler)
        self.points = self.requests = 0


class AtOnceHandler(http.server.BaseHTTPRequestHandler):
    """Answers as MLflow does to a batch."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # the answer in one piece, or the client waits 40 ms for the second
    server: AtOnce

    def do_POST(self) -> None:
        """Count."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.points += body.count(b'"key"')
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def at_once() -> Iterator[AtOnce]:
    """Run such a server."""
    with AtOnce() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def peak_mib() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def options(name: str, **flags: str) -> argparse.Namespace:
    """Read the command line.

    Args:
        name: The benchmark's name.
        flags: Flags that it has beside ``--quick``, and their help.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="few and short repetitions")
    for flag, meaning in flags.items():
        parser.add_argument(f"--{flag}", action="store_true", help=meaning)
    parser.add_argument("--json", type=Path, metavar="PATH", help="default: build/benchmarks/NAME.json")
    chosen = parser.parse_args()
    said = "".join(f"-{flag}" for flag in flags if getattr(chosen, flag))
    chosen.json = (chosen.json or ROOT / f"build/benchmarks/{name}{said}.json").absolute()
    return chosen
