"""A server that starts after the pipeline: the run that began offline becomes live.

``FAULTS=20 pytest tests/promises/test_late.py`` tries it twenty times under each runner instead of once.
"""

from __future__ import annotations

import os
import time

import pytest
from support.bench import until
from support.kedro_cli import WarmKedro
from support.project import PIPELINES, Project, Store
from support.server import MlflowServer

pytestmark = pytest.mark.minutes
FAULTS = int(os.environ.get("FAULTS", "1"))
SECONDS = 5 if FAULTS > 1 else 2
NAMES = ("first", "m", "n", "last")


@pytest.fixture
def late(project: Project, dead_server: tuple[MlflowServer, Store]) -> Project:
    """A project whose server does not answer yet."""
    server, project.store = dead_server
    project.catalog("".join(f"{name}: {{type: kedro_mlflow_metrics.MlflowMetricsDataSet}}\n" for name in NAMES))
    project.pipeline(PIPELINES / "late.py")
    project.settings(f"tracking_uri: {server.uri}\n")
    return project


@pytest.mark.parametrize("time_of", range(FAULTS))
@pytest.mark.parametrize("how", ["SequentialRunner", "fork", "spawn"])
def test_the_server_comes_late(
    late: Project, kedro: WarmKedro, dead_server: tuple[MlflowServer, Store], how: str, time_of: int
) -> None:
    """Points are to be seen while the pipeline runs; one run, exact points and steps, one folder, FINISHED."""
    runner, context = ("ParallelRunner", how) if how != "SequentialRunner" else (how, "fork")
    folders = late.root / ".kedro_mlflow_metrics/runs"
    command = kedro.start(late.root, "run", "--runner", runner, env={"KEDRO_MP_CONTEXT": context})
    until(lambda: list(folders.glob("*")) or not command.alive, 60)
    time.sleep(SECONDS)
    dead_server[0].start()
    points = {"m.loss"} if how == "SequentialRunner" else {"m.loss", "n.loss"}
    until(lambda: points <= set(late.store.points()) or not command.alive, 60)
    assert command.alive, command.output
    assert late.store.run["status"] == "RUNNING"
    assert len(list(folders.glob("*"))) == 1
    (late.root / "seen").touch()
    assert command.wait(60) == 0, command.output
    run = late.store.run
    lengths = {name: int((late.root / f"yielded-{name}").read_text()) for name in ("m", "n")}
    points = late.store.points()
    active = points.pop("first.active")
    assert active == [(0, 0.0)] or (active == [(0, 1.0)] and how != "SequentialRunner")  # workers may start late
    assert points == {
        "by_hand": [(0, 1.0)],
        "first.a": [(0, 1.0), (1, 2.0)],
        "last.b": [(0, 3.0)],
        **{f"{name}.loss": [(step, step / 4) for step in range(number)] for name, number in lengths.items()},
    }
    assert (run["status"], list(folders.glob("*"))) == ("FINISHED", [])
    ((artifacts,),) = late.store.rows("SELECT artifact_uri FROM runs")
    assert f"ACTIVE {run['run_uuid']} {run['experiment_id']} {artifacts}" in command.output
    warnings = [line for line in command.output.splitlines() if line.startswith("WARNING kedro.mlflow_metrics")]
    assert len(warnings) == (1 if how == "SequentialRunner" else len(set(warnings)))
    assert "ERROR" not in command.output
