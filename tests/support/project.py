"""A real Kedro project in a folder of its own, and the SQLite store that it logs to."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

from support.kedro_cli import warm_kedro

BIN = Path(sys.executable).parent
PIPELINES = Path(__file__).with_name("pipelines")
ENTRY = "m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n"
PLAIN = 'm: {type: kedro_mlflow_metrics.MlflowMetricsDataSet, prefix: ""}\n'  # the entry of ``rich.py``


def demo(folder: Path) -> Path:
    """Make the project of the starter in a folder of its own; its name is digits."""
    folder.mkdir()
    command = [BIN / "kedro", "new", "--starter=mlflow-metrics-demo", "--name=digits"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "digits"


class Store:
    """What a SQLite store of MLflow holds, read without MLflow."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self, query: str, *arguments: object) -> list[tuple]:
        with sqlite3.connect(self.path) as database:
            rows = database.execute(query, arguments).fetchall()
        database.close()
        return rows

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.path}"

    @property
    def runs(self) -> list[dict[str, object]]:
        names = ("run_uuid", "name", "status", "experiment_id", "end_time")
        query = f"SELECT {', '.join(names)} FROM runs ORDER BY start_time, run_uuid"
        return [dict(zip(names, row, strict=True)) for row in self.rows(query)]

    @property
    def run(self) -> dict[str, object]:
        (only,) = self.runs
        return only

    def points(self, run: str | None = None) -> dict[str, list[tuple[int, float]]]:
        """Return (step, value) by key, of one run or of all."""
        found: dict[str, list[tuple[int, float]]] = {}
        query = "SELECT key, step, value, is_nan FROM metrics WHERE ? IN ('', run_uuid) ORDER BY key, step, timestamp"
        for key, step, value, nan in self.rows(query, run or ""):
            found.setdefault(key, []).append((step, float("nan") if nan else value))
        return found

    def tags(self, run: str) -> dict[str, str]:
        return dict(self.rows("SELECT key, value FROM tags WHERE run_uuid = ?", run))

    def experiment(self, run: str) -> str:
        query = "SELECT e.name FROM experiments e JOIN runs r ON e.experiment_id = r.experiment_id WHERE run_uuid = ?"
        return self.rows(query, run)[0][0]


class Project:
    """A real Kedro project in a folder of its own."""

    def __init__(self, root: Path, store: Path | None) -> None:
        self.root = root
        for folder in ("src/proj", "conf/base", "conf/local"):
            (root / folder).mkdir(parents=True)
        (root / "pyproject.toml").write_text(
            '[tool.kedro]\npackage_name = "proj"\nproject_name = "proj"\n'
            f'kedro_init_version = "{_kedro_version()}"\nsource_dir = "src"\n'
        )
        (root / "src/proj/__init__.py").touch()
        (root / "src/proj/settings.py").touch()
        (root / "conf/base/parameters.yml").write_text("{}\n")
        (root / "conf/logging.yml").write_text(LOGGING)
        if store is not None:
            shutil.copy(store, root / "mlflow.db")
        self.store = Store(root / "mlflow.db")
        self.settings("")

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(textwrap.dedent(text))

    def pipeline(self, code: str | Path) -> None:
        """Write the pipelines: one of the files in `PIPELINES`, or a text."""
        self.write("src/proj/pipeline_registry.py", code.read_text() if isinstance(code, Path) else code)

    def catalog(self, text: str) -> None:
        self.write("conf/base/catalog.yml", text)

    def settings(self, text: str) -> None:
        """Write the settings file; MLflow before 3.7 has another default store than the tests read."""
        import mlflow.store.tracking

        if not hasattr(mlflow.store.tracking, "DEFAULT_TRACKING_URI") and "tracking_uri" not in text:
            text = "tracking_uri: sqlite:///mlflow.db\n" + textwrap.dedent(text)
        self.write("conf/base/kedro_mlflow_metrics.yml", text)

    def environment(self, env: dict[str, str] | None) -> dict[str, str]:
        return {**os.environ, "KEDRO_LOGGING_CONFIG": str(self.root / "conf/logging.yml"), **(env or {})}

    def kedro(
        self, *arguments: str, env: dict[str, str] | None = None, fails: bool = False, cold: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run the real ``kedro`` command; its output is in ``stdout``, errors too.

        It is forked from a process that has imported Kedro and MLflow, unless ``cold`` asks for one that has not.
        """
        if not cold:
            command = warm_kedro().start(self.root, *arguments, env=env)
            code = command.wait()
            assert (code != 0) == fails, command.output
            return subprocess.CompletedProcess(arguments, code, command.output)
        done = subprocess.run(
            [BIN / "kedro", *arguments],
            cwd=self.root,
            env=self.environment(env),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [BIN / "kedro", *arguments],
            cwd=self.root,
            env=self.environment(None),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def python(self, code: str, env: dict[str, str] | None = None, cwd: str = ".", seconds: int = 120) -> str:
        """Run a script in the project and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=self.root / cwd,
            env=self.environment(env),
            text=True,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


LOGGING = """
version: 1
disable_existing_loggers: False
formatters: {plain: {format: "%(levelname)s %(name)s %(message)s"}}
handlers: {console: {class: logging.StreamHandler, formatter: plain}}
loggers: {kedro: {level: INFO}}
root: {handlers: [console]}
"""


def _kedro_version() -> str:
    import kedro

    return kedro.__version__
