"""Fixtures: real projects, real stores, real servers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.bench import Bench
from support.kedro_cli import WarmKedro, warm_kedro
from support.postgres import PostgresStore, postgres
from support.project import ENTRY, PIPELINES, Project, Store
from support.server import MlflowServer, command_server, mlflow_server, uncovered

FOREIGN = ("MLFLOW_", "KUBEFLOW", "AIRFLOW", "KEDRO_")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """No test or fixture sees the developer's own MLflow, or what another test set; none sends telemetry."""
    if "mlflow" in sys.modules:  # an old one keeps the address in the environment then
        sys.modules["mlflow"].set_tracking_uri(None)
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    for name in ("KEDRO_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
        os.environ[name] = "true"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs; creating one takes seconds, copying it none."""
    import fcntl

    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # the test processes share it
    path, unfinished = folder / "empty.db", folder / "unfinished.db"
    code = f"from mlflow import MlflowClient; MlflowClient('sqlite:///{unfinished}').get_experiment_by_name('x')"
    with (folder / "empty.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            subprocess.run([sys.executable, "-c", code], env=uncovered(), check=True, capture_output=True)
            unfinished.rename(path)
    return path


@pytest.fixture
def store(tmp_path: Path, empty_store: Path) -> Store:
    """A fresh SQLite store."""
    shutil.copy(empty_store, tmp_path / "alone.db")
    return Store(tmp_path / "alone.db")


@pytest.fixture
def saved(store: Store) -> Iterator[Callable[[object], dict[str, list[tuple[int, float]]]]]:
    """Save into a run on a fresh store; return the points by key."""
    import mlflow

    from kedro_mlflow_metrics import MlflowMetricsDataSet

    def save(data: object) -> dict[str, list[tuple[int, float]]]:
        MlflowMetricsDataSet(prefix="").save(data)
        return store.points()

    mlflow.set_tracking_uri(store.uri)
    with mlflow.start_run(experiment_id="0"):
        yield save
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def kedro() -> WarmKedro:
    """The warm ``kedro`` command, for what is more than a run to its end."""
    return warm_kedro()


@pytest.fixture
def project(tmp_path: Path, empty_store: Path) -> Project:
    """A Kedro project with MLflow's default store, already migrated."""
    return Project(tmp_path / "project", empty_store)


@pytest.fixture
def simple(project: Project) -> Project:
    """A project with one entry, ``m``, and the pipelines of ``simple.py``."""
    project.catalog(ENTRY)
    project.pipeline(PIPELINES / "simple.py")
    return project


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[tuple[str, Store]]:
    """A real ``mlflow server`` on loopback, with its store."""
    with command_server(tmp_path_factory.mktemp("server"), empty_store) as found:
        yield found


@pytest.fixture(scope="session")
def sqlite_server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[tuple[MlflowServer, Store]]:
    """A server on SQLite that can be killed and started again."""
    with mlflow_server(tmp_path_factory.mktemp("sqlite-server"), empty_store) as found:
        yield found


@pytest.fixture
def dead_server(sqlite_server: tuple[MlflowServer, Store], empty_store: Path) -> Iterator[tuple[MlflowServer, Store]]:
    """That server, killed, and its store without runs."""
    server, store = sqlite_server
    server.kill()
    for path in store.path.parent.glob("mlflow.db*"):
        path.unlink()
    shutil.copy(empty_store, store.path)
    yield server, store
    server.revive()


@pytest.fixture(scope="session")
def database() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A real PostgreSQL: the address of its database for MLflow, and its process."""
    with postgres() as found:
        yield found


@pytest.fixture(scope="session")
def postgres_server(
    tmp_path_factory: pytest.TempPathFactory, database: tuple[str, subprocess.Popen[bytes]]
) -> Iterator[tuple[MlflowServer, Store]]:
    """A server on PostgreSQL that can be killed and started again."""
    from mlflow import MlflowClient

    server = MlflowServer(database[0], tmp_path_factory.mktemp("postgres-server"))
    try:
        server.start()
        MlflowClient(server.uri).search_experiments()  # the first request makes the tables
        yield server, PostgresStore(database[0])
    finally:
        server.close()


@pytest.fixture
def bench(request: pytest.FixtureRequest, project: Project, kedro: WarmKedro) -> Iterator[Bench]:
    """A bench on SQLite; on PostgreSQL if the test asks so."""
    server, store = request.getfixturevalue(getattr(request, "param", "sqlite_server"))
    bench = Bench(project, kedro, server, store)
    yield bench
    bench.proxy.close()
    server.revive()
