"""Where the time of a big save goes: what is ours, what is MLflow's, what is the wire's and the database's.

``python benchmarks/profile_save.py [ROOT]`` prints microseconds a point by package, for `save` and for MLflow's own
``log_batch`` of ready-made entities, to a server that answers at once and to SQLite in process. ROOT is another
checkout whose package is profiled instead, for a before beside an after. The profiler itself makes Python code look
dearer than it is; the shares are what counts.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
sys.path.insert(0, str(ROOT))

import mlflow  # noqa: E402
from common import Server, at_once, bound, store  # noqa: E402
from mlflow.entities import Metric  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

import kedro_mlflow_metrics  # noqa: E402

POINTS = 20_000
BATCH = 1_000
GROUPS = {
    "kedro_mlflow_metrics": "ours",
    "mlflow": "MLflow's client and store",
    "google": "protobuf",
    "sqlalchemy": "SQLAlchemy",
    "json": "JSON",
    **dict.fromkeys(("requests", "urllib3", "http", "socket", "email"), "HTTP"),
}
WAITING = ("recv_into", "_socket.socket", "sqlite3.", "acquire")
WORDS = {"recv_into": "waiting for the server", "sqlite3.": "SQLite", "_socket.socket": "HTTP", "acquire": "other"}


def group(name: tuple[str, int, str]) -> str | None:
    """Return to which group a function belongs; None for a built-in, which belongs to its caller."""
    file, _, function = name
    if file == "~":
        return next((WORDS[mark] for mark in WAITING if mark in function), None)
    parts = (part.removesuffix(".py") for part in reversed(Path(file).parts))
    return next((GROUPS[part] for part in parts if part in GROUPS), "other")


def shares(work: Callable[[], object]) -> Counter[str]:
    """Return the microseconds of each group, per point."""
    profile = cProfile.Profile()
    profile.runcall(work)
    found: Counter[str] = Counter()
    for name, (_, _, own, _, callers) in pstats.Stats(profile).stats.items():
        where = group(name)
        if where is not None:
            found[where] += own
            continue
        for caller, (_, _, part, _) in callers.items():
            found[group(caller) or "other"] += part
    return Counter({where: seconds / POINTS * 1e6 for where, seconds in found.items()})


def data(keys: int) -> dict[str, list[float]]:
    """Return lists of numbers."""
    return {f"metric_{key:04}": [step / 7 for step in range(POINTS // keys)] for key in range(keys)}


def dicts(keys: int) -> list[dict[str, float]]:
    """Return the same as a dict per step."""
    return [{name: values[step] for name, values in data(keys).items()} for step in range(POINTS // keys)]


def warmed_up(uri: str, folder: Path, run_id: str) -> Callable[[object], None]:
    """Return `save`, with all that its first call imports."""
    dataset = bound(Server(uri), folder, run_id)
    dataset.save({"first": 0.0})
    return dataset.save


def log_batch(client: mlflow.MlflowClient, run_id: str, metrics: list[Metric]) -> None:
    """Send ready-made entities."""
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics[start : start + BATCH])


def main() -> None:
    """Profile each way once."""
    columns: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="profile") as name, at_once() as quick:
        folder = Path(name)
        here = f"sqlite:///{store(folder)}"
        places = {"server": f"http://127.0.0.1:{quick.server_address[1]}", "SQLite": here}
        for place, uri in places.items():
            client = mlflow.MlflowClient(uri)
            run_id = client.create_run("0").info.run_id if place == "SQLite" else "0" * 32
            metrics = [
                Metric(key, value, 1, step) for key, values in data(10).items() for step, value in enumerate(values)
            ]
            client.log_batch(run_id, metrics[:1])
            columns[f"{place}: log_batch"] = shares(partial(log_batch, client, run_id, metrics))
            save = warmed_up(uri, folder, run_id)
            columns[f"{place}: save, 10 lists"] = shares(partial(save, data(10)))
            columns[f"{place}: save, dicts of 1,000"] = shares(partial(save, dicts(1_000)))
    table = Table("us a point, profiled", *columns, title=f"{POINTS:,} points", title_justify="left")
    for where in sorted({where for column in columns.values() for where in column}):
        table.add_row(where, *(f"{column[where]:.2f}" if column[where] >= 0.005 else "" for column in columns.values()))
    table.add_row("all", *(f"{column.total():.2f}" for column in columns.values()))
    console = Console()
    (console if console.is_terminal else Console(width=150)).print(table)
    print(f"kedro-mlflow-metrics {kedro_mlflow_metrics.__version__}, MLflow {mlflow.__version__}")


if __name__ == "__main__":
    main()
