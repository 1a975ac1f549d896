"""A project that logs through a proxy to a server, and what its nodes save."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from support.kedro_cli import Command, WarmKedro
from support.project import PIPELINES, Project, Store
from support.proxy import Proxy
from support.server import MlflowServer
from support.terminal import rows_of

BASE_TIME = 1_700_000_000_000
METRICS_CATALOG = "".join(
    f"{name}: {{type: kedro_mlflow_metrics.MlflowMetricsDataSet}}\n" for name in ("curve", "big", "one")
)
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


class Bench:
    """A project, the server that it logs to, and a proxy in between."""

    def __init__(self, project: Project, kedro: WarmKedro, server: MlflowServer, store: Store) -> None:
        self.project, self.root, self.kedro, self.server, self.store = project, project.root, kedro, server, store
        self.proxy = Proxy(server.uri)
        self.experiment = self.root.parent.name
        project.catalog(METRICS_CATALOG)
        project.pipeline(PIPELINES / "streams.py")
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
        return rows_of(self.sync("--dry-run", code=1), "run", "points", "since", "address", "why")

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
