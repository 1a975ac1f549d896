"""``kedro metrics import``: runs that files hold, exactly and once."""

from __future__ import annotations

import calendar
import json
import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from mlflow import MlflowClient
from support.exports import EXPORT, POINT
from support.proxy import Proxy, always, from_batch

REAL = Path(__file__).parent / "tracking/09_tracking"  # kedro-datasets 6 has written it, see write.py
VERSIONS = sorted(path.name for path in (REAL / "metrics.json").iterdir())
TABLES = ("experiments", "runs", "tags", "params", "metrics", "latest_metrics")


def rows(store):
    """Return all that a store holds of runs."""
    return [store.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in TABLES]


@pytest.fixture
def imports(project, kedro):
    """Run the command in a project; return its lines, and those about what it refuses."""

    def run(*arguments, code=0, **env):
        said, errors = kedro.answer(project.root, "import", *map(str, arguments), code=code, env=env)
        return said.splitlines(), errors.splitlines()

    return run


@pytest.fixture
def export(project, kedro, tmp_path):
    """Export a run into a file, and return it."""

    def run(ident, name="exported.json", **env):
        kedro.answer(project.root, "export", ident, "--output", str(tmp_path / name), env=env)
        return tmp_path / name

    return run


@pytest.fixture
def file(tmp_path):
    """Write a file to be imported."""

    def write(data, name="run.json"):
        text = data if isinstance(data, str | bytes) else json.dumps(data)
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / name

    return write


# The versions of Kedro's tracking datasets


def milliseconds(version):
    """Return the time of a version."""
    day, time = version.removesuffix("Z").split("T")
    *clock, thousandths = map(int, time.split("."))
    return 1000 * calendar.timegm((*map(int, day.split("-")), *clock)) + thousandths


def test_versions(project, imports):
    """A run per version, of its name and time, that has ended; the file's name stands before each metric's."""
    said, errors = imports(REAL / "metrics.json")
    assert [line.rpartition(": ")[2] for line in said] == [f"6 points imported, run {name!r}" for name in VERSIONS]
    assert all("metric 'hits@10' is 'metrics.hits_10' in MLflow" in line for line in errors)
    for number, (version, run) in enumerate(zip(VERSIONS, project.store.runs, strict=True)):
        time, ident = milliseconds(version), run["run_uuid"]
        assert (run["name"], run["status"], run["end_time"]) == (version, "FINISHED", time)
        assert project.store.experiment(ident) == "proj"
        assert project.store.tags(ident)["kedro.run_id"] == version
        assert project.store.rows("SELECT DISTINCT timestamp FROM metrics WHERE run_uuid = ?", ident) == [(time,)]
        points = {key: value for key, ((step, value),) in project.store.points(ident).items() if step == 0}
        assert str(points.pop("metrics.worst")) == "nan"
        assert points.pop("metrics.best") < -1e308
        assert points == {
            "metrics.r2": 0.5 + number / 10,
            "metrics.mae": 3.25,
            "metrics.n": 1.0,
            "metrics.hits_10": 0.5,
        }


def test_a_version_of_several_datasets(project, imports):
    """It is one run, in several commands too; what is no number is left out if asked for, else its file is refused."""
    said, errors = imports(REAL, code=1)
    assert len(said) == 2
    assert [line for line in errors if "report.json" in line] == [
        f"{REAL}/report.json/{version}/report.json: metric 'model': got 'linear' (str); accepted: a number; "
        "--numbers leaves out what is none"
        for version in VERSIONS
    ]
    said, _ = imports(REAL, "--numbers")
    assert ["it is there already" in line for line in said] == [True, False] * 2
    first, _ = project.store.runs
    report = {key: points for key, points in project.store.points(first["run_uuid"]).items() if key[0] == "r"}
    assert report == {
        "report.max_error": [(0, 1.5)],
        "report.test.rows": [(0, 20.0)],
        "report.loss": [(0, 0.5), (1, 0.25)],
    }


def test_names_as_the_entry_has_them(project, imports):
    """They are what the entry logs from now on: with the project's separator, and the prefix that is said."""
    project.settings("separator: /\n")
    imports(REAL / "metrics.json" / VERSIONS[0], "--experiment", "plain")
    imports(REAL / "metrics.json" / VERSIONS[1] / "metrics.json", "--prefix", "test")
    imports(REAL / "metrics.json" / VERSIONS[1] / "metrics.json", "--prefix", "", "--experiment", "bare")
    found = {
        project.store.experiment(run["run_uuid"]): project.store.points(run["run_uuid"]) for run in project.store.runs
    }
    assert {name: [key for key in points if key.endswith("r2")] for name, points in found.items()} == {
        "plain": ["metrics/r2"],
        "proj": ["test/r2"],
        "bare": ["r2"],
    }


def test_two_files_of_one_name(project, imports, tmp_path):
    """The second is refused where both have the same metric in one version, unless they agree."""
    for folder, version, refused in (("a", 0, False), ("b", 1, True), ("c", 0, False)):
        there = tmp_path / folder / "metrics.json" / VERSIONS[0]
        there.mkdir(parents=True)
        shutil.copy(REAL / "metrics.json" / VERSIONS[version] / "metrics.json", there)
        _, errors = imports(tmp_path / folder, code=int(refused))
        assert any("has another 'metrics.r2' at the same step and time" in line for line in errors) == refused
    assert project.store.points()["metrics.r2"] == [(0, 0.5)]


# Exports


@pytest.fixture
def logged(project):
    """A failed run with parameters, tags and all kinds of points, in the project's store."""
    client = MlflowClient(project.store.uri)
    tags = {"mlflow.user": "ann", "größe": "2 m", "empty": ""}
    run = client.create_run("0", start_time=1_700_000_000_000, run_name="ein Lauf", tags=tags).info.run_id
    for number in range(130):
        client.log_param(run, f"p{number}", f"{number}\nzwei")
    for step in range(3):
        for value in (0.1 + step, float("nan"), float("inf"), -0.0):
            client.log_metric(run, "a/b", value, timestamp=1_700_000_000_000 - step, step=-step)
    client.log_metric(run, "größe", 1e-300, timestamp=0, step=2**62)
    client.set_terminated(run, "FAILED", 1_700_000_005_123)
    return run


@pytest.fixture
def exports(export, logged, rich, kedro, tmp_path):
    """Names of runs and the files that they are exported to, from two projects."""
    run = rich.store.runs[0]
    kedro.answer(rich.root, "export", run["run_uuid"], "--output", str(tmp_path / "rich.json"))
    return {"ein Lauf": export(logged), run["name"]: tmp_path / "rich.json"}


def test_there_and_back(project, imports, export, exports, sqlite_server):
    """Exported, imported elsewhere and exported again, a run is the same byte for byte, however often it moves."""
    server, store = sqlite_server
    there = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_EXPERIMENT_NAME": project.root.parent.name}
    for name, path in exports.items():
        imports(path, **there)
        moved = export(name, "moved.json", **there)
        assert moved.read_bytes() == path.read_bytes()
        before = rows(store)
        assert "it is there already, as run " in imports(moved, **there)[0][0]
        assert rows(store) == before
        imports(moved)
        assert export(name, "back.json").read_bytes() == path.read_bytes()


def test_the_run_itself(project, imports, export, logged):
    """Where the run that was exported is, nothing is made; one that is deleted is to be restored."""
    path = export(logged)
    before = rows(project.store)
    assert imports(path, "--experiment", "Default")[0] == [f"{path}: it is there already, as run {logged}"]
    assert rows(project.store) == before
    MlflowClient(project.store.uri).delete_run(logged)
    _, (line,) = imports(path, "--experiment", "Default", code=1)
    assert line == (
        f"{path}: it is there as run {logged}, which is deleted; "
        f"restore it with 'mlflow runs restore --run-id {logged}'"
    )


def test_twice(project, imports, file):
    """The second import changes nothing; points that a run has got since are added when it is exported again."""
    imports(REAL, "--numbers")
    imports(file(EXPORT))
    before = rows(project.store)
    imports(REAL, file(EXPORT), "--numbers")
    assert rows(project.store) == before
    later = {**POINT, "step": 1, "value": 2.0}
    imports(file({**EXPORT, "metrics": {"a": [POINT, later], "b": [POINT]}}))
    assert project.store.points(project.store.runs[0]["run_uuid"]) == {"a": [(0, 1.0), (1, 2.0)], "b": [(0, 1.0)]}


def test_dry_run(project, imports, file):
    """It says what would be imported, checks all files, and makes nothing, not even a store."""
    project.store.path.unlink()
    said, (*_, error) = imports(REAL, file(EXPORT), file("{", "bad.json"), "--numbers", "--dry-run", code=1)
    assert [line.partition("/report.json: ")[2] or line.rpartition(": ")[2] for line in said[1:]] == [
        f"4 points would be imported, run {VERSIONS[0]!r}",
        f"6 points would be imported, run {VERSIONS[1]!r}",
        f"4 points would be imported, run {VERSIONS[1]!r}",
        "1 point would be imported, run 'a run'",
    ]
    assert "bad.json: the file: it is no JSON" in error
    assert not project.store.path.exists()


@pytest.mark.parametrize("fault", ["refuse", "lose", "500"])
def test_an_import_that_is_interrupted(imports, file, sqlite_server, tmp_path, fault):
    """Until all of a run is there it is RUNNING; the next import completes it, and nothing is there twice."""
    server, store = sqlite_server
    proxy, experiment = Proxy(server.uri), tmp_path.parent.name
    env = {"MLFLOW_TRACKING_URI": proxy.uri, "MLFLOW_EXPERIMENT_NAME": experiment}
    steps = [599 if step == 600 else step for step in range(2500)]  # two at one time, on both sides of a batch's end
    values = ["NaN" if number % 7 == 0 else number / 3 for number in range(2500)]
    points = [{"value": value, "step": step, "timestamp": 7 + step} for value, step in zip(values, steps, strict=True)]
    ident = uuid4().hex
    path = file({**EXPORT, "run_id": ident, "metrics": {"a": points[:400], "b": points}, "params": {"p": "1"}})
    proxy.plan = from_batch(1, fault)
    _, errors = imports(path, code=1, **env)
    again = "; import it again when MLflow answers: what is there is not sent twice"
    assert len(errors) == 1 and errors[0].startswith(f"Error: {path}: MLflow at ") and errors[0].endswith(again)

    def state():
        of = "run_uuid IN (SELECT run_uuid FROM tags WHERE value = ?)"
        ended = store.rows(f"SELECT status, end_time FROM runs WHERE {of}", ident)
        return ended, store.rows(f"SELECT key, step FROM metrics WHERE {of} ORDER BY key, step", ident)

    assert [status for status, _ in state()[0]] == ["RUNNING"]
    proxy.plan = always("pass")
    proxy.seen.clear()
    said, _ = imports(path, **env)
    assert said == [f"{path}: {len(points) + 400 - (2000 if fault == 'lose' else 1000)} points imported, run 'a run'"]
    sizes = [len(json.loads(body).get("metrics", ())) for where, _, body in proxy.seen if "log-batch" in where]
    assert max(sizes) == 1000 if fault != "lose" else sizes[0] == 900
    assert state() == (
        [("FINISHED", EXPORT["end_time"])],
        [("a", step) for step in range(400)] + [("b", step) for step in steps],
    )
    proxy.close()


# What is refused


def test_bad_files(project, imports, file):
    """Each is named in a line that says what is wrong, and nothing of it is written; the others are imported."""
    half = file(json.dumps({**EXPORT, "run_id": "b"})[:-3], "half.json")
    text = file({**EXPORT, "metrics": {"a": [POINT, {**POINT, "value": "0.5"}]}}, "text.json")
    version = file('{"r2": 0.5, "passed": true}').parent / "metrics.json" / VERSIONS[0]
    version.mkdir(parents=True)
    (version / "metrics.json").write_text('{"r2": 0.5, "passed": true}')
    good = file(EXPORT)
    said, errors = imports(half, text, version, good, code=1)
    assert said == [f"{good}: 1 point imported, run 'a run'"]
    for line, path, message in zip(
        errors,
        (half, text, version / "metrics.json"),
        (
            "the file: it is no JSON, or only a part: line 1, column ",
            "metric 'a', position 1: got '0.5' (str); accepted: a number, ",
            "metric 'passed': got True (bool); accepted: a number; --numbers leaves out what is none",
        ),
        strict=True,
    ):
        assert line.startswith(f"{path}: {message}")
    assert project.store.points() == {"a": [(0, 1.0)]}


def test_a_bad_file_makes_no_experiment(project, imports, file):
    """All of a file is checked before MLflow is asked for anything."""
    imports(file("{}"), code=1)
    assert project.store.rows("SELECT name FROM experiments") == [("Default",)]


def test_a_folder_without_versions(imports, tmp_path):
    """It says which layout is looked for."""
    (tmp_path / "folder").mkdir()
    _, (line,) = imports(tmp_path / "folder", code=1)
    assert line.startswith(f"Error: {tmp_path / 'folder'}: there is no version in it, as in metrics.json/2026-")
