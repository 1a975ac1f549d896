"""``kedro metrics runs``, ``show``, ``compare`` and ``plot``: against the store, value by value."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from support.project import ENTRY, Project
from support.proxy import Proxy
from support.server import free_port

from kedro_mlflow_metrics.journal.disk import sealed, unsealed

POINTS = "SELECT key, value, step, is_nan FROM metrics WHERE run_uuid = ? ORDER BY key, step, timestamp"


@pytest.fixture
def look(rich, kedro):
    """Run a command in that project; return its answer as JSON."""

    def run(*arguments, **options):
        out, _ = kedro.answer(rich.root, *arguments, "--json", **options)
        return json.loads(out, parse_constant=pytest.fail)

    return run


def in_store(project, run):
    """Return (step, value) by key, in MLflow's order; what it keeps as the largest float is infinite again."""
    found = {}
    for key, value, step, nan in project.store.rows(POINTS, run):
        plain = math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value
        found.setdefault(key, []).append((step, math.nan if nan else plain))
    return found


def as_json(value):
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def test_runs(rich, look):
    """Every run, the newest first, with the last value of every metric."""
    stored = rich.store.rows("SELECT run_uuid, name, status, start_time, end_time FROM runs ORDER BY start_time DESC")
    names = ("run_id", "name", "status", "start_time", "end_time")
    found = look("runs")
    assert [tuple(run[name] for name in names) for run in found] == stored
    for run in found:
        points = in_store(rich, run["run_id"])
        assert run["metrics"] == {key: as_json(history[-1][1]) for key, history in points.items()}
    assert len(look("runs", "-n", "1")) == 1


def test_show(rich, look):
    """First, last, lowest and highest value with their steps, and how many points there are."""
    run = rich.store.runs[0]["run_uuid"]
    found = look("show", run)
    assert (found["run_id"], found["name"]) == (run, rich.store.runs[0]["name"])
    expected = {}
    for key, history in in_store(rich, run).items():
        numbers = [(value, -step) for step, value in history if not math.isnan(value)]
        (low, low_step), (high, high_step) = (
            (min(numbers, key=lambda each: (each[0], -each[1])), max(numbers)) if numbers else ((None, None),) * 2
        )
        expected[key] = {
            "first": as_json(history[0][1]),
            "last": as_json(history[-1][1]),
            "last_step": history[-1][0],
            "min": low if low is None else as_json(low),
            "min_step": low_step and -low_step if low_step is not None else None,
            "max": high if high is None else as_json(high),
            "max_step": high_step and -high_step if high_step is not None else None,
            "count": len(history),
        }
    assert found["metrics"] == expected
    assert expected["only nan"]["min"] is None and expected["big"]["max"] == 1.5e308
    assert list(look("show", run, "--only", "n0?", "--only", "*.loss")["metrics"]) == [
        *(f"n0{number}" for number in range(10)),
        "train.loss",
    ]


def test_compare(rich, look):
    """A value per run, null where there is none; without arguments the newest against the one before it."""
    older, newer = (run["run_uuid"] for run in rich.store.runs)
    found = look("compare")
    assert found["runs"] == [older, newer]
    one, two = in_store(rich, older), in_store(rich, newer)
    assert found["metrics"] == {
        key: [as_json(points[key][-1][1]) if key in points else None for points in (one, two)] for key in {*one, *two}
    }
    assert look("compare", newer, older, newer)["runs"] == [newer, older, newer]


def test_plot(rich, look):
    """The points that are drawn: a finite value per step."""
    run = rich.store.runs[0]["run_uuid"]
    found = look("plot", run, "--only", "train.loss", "--only", "*inf*", "--only", "n00", "--only", "one")
    stored = in_store(rich, run)
    assert set(found["metrics"]) == {"train.loss", "n00"}  # the others have one point that can be drawn
    for key, (line,) in found["metrics"].items():
        assert list(zip(line["steps"], line["values"], strict=True)) == stored[key]


@pytest.mark.parametrize("which", ["id", "start", "name", "latest~1"])
def test_how_a_run_is_named(rich, look, which):
    """By its id, by six characters or more of it, by its name, or by how many came after it."""
    run = rich.store.runs[0]
    named = {"id": run["run_uuid"], "start": run["run_uuid"][:6], "name": run["name"], "latest~1": which}[which]
    assert look("show", named)["run_id"] == run["run_uuid"]


@pytest.mark.parametrize("named", ["nothing", "latest~2", "0" * 32, "it's", "abcdef"])
def test_a_run_that_is_not_there(rich, kedro, named):
    """One line names it, and says where was looked."""
    out, log = kedro.answer(rich.root, "show", named, code=1)
    assert out == "" and log.splitlines()[-1].startswith("Error: ")
    assert named in log.splitlines()[-1] and "mlflow.db" in log.splitlines()[-1]


def test_a_name_of_several_runs(simple, kedro):
    """It is refused with their ids, any of which will do."""
    simple.settings("run: {name: same}\n")
    for _ in range(2):
        simple.kedro("run")
    ids = [run["run_uuid"] for run in simple.store.runs]
    _, log = kedro.answer(simple.root, "show", "same", code=1)
    assert all(ident in log for ident in ids)
    out, _ = kedro.answer(simple.root, "compare", *ids)
    assert all(f"same {ident[:8]}" in out for ident in ids)


def test_sort_and_filter(simple, kedro):
    """By MLflow's own words: `--sort` by a metric, either way, and `--filter` with an expression."""
    simple.pipeline("""
        from kedro.pipeline import node, pipeline
        def one(value):
            return pipeline([node(lambda: {"a": value, "b": 1}, None, "m")])
        def register_pipelines():
            return {"two": one(2), "nan": one(float("nan")), "three": one(3), "one": one(1)}
    """)
    for name in ("two", "nan", "three", "one"):
        simple.kedro("run", "--pipeline", name)

    def names(*options):
        out, _ = kedro.answer(simple.root, "runs", "--json", *options)
        return [run["name"].split()[0] for run in json.loads(out)]

    assert names() == ["one", "three", "nan", "two"]
    assert names("--sort", "m.a") == ["three", "two", "one", "nan"]
    assert names("--sort", "-m.a", "-n", "2") == ["one", "two"]
    assert names("--filter", "metrics.`m.a` > 1 and metrics.`m.a` < 3") == ["two"]
    out, _ = kedro.answer(simple.root, "runs", "--sort", "m.a", "--top", "1")
    assert out.split("\n")[0].split()[-2:] == ["m.a", "m.b"]
    _, log = kedro.answer(simple.root, "runs", "--filter", "nonsense", code=1)
    assert log.splitlines()[-1].startswith("Error: MLflow at sqlite:///")


def test_another_experiment(rich, kedro, look):
    """`--experiment` looks there, whatever the settings and MLflow's variables say."""
    env = {"MLFLOW_EXPERIMENT_NAME": "elsewhere"}
    assert look("runs", env=env) == []
    assert len(look("runs", "--experiment", "proj", env=env)) == 2
    _, log = kedro.answer(rich.root, "show", "--experiment", "nothing", code=1)
    assert "'nothing'" in log


class TestWhileMlflowIsAway:
    """What waits in the journal is seen."""

    @pytest.fixture
    def away(self, simple):
        env = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
        for pipeline in ("__default__", "two"):  # runs of one pipeline in one second have one name
            simple.kedro("run", "--pipeline", pipeline, env=env)
        return env

    def test_all_commands(self, simple, kedro, away):
        """Of runs that MLflow never saw, one warning says so."""
        out, log = kedro.answer(simple.root, "runs", "--json", env=away)
        runs = json.loads(out)
        assert [run["status"] for run in runs] == ["FINISHED"] * 2 and all(run["metrics"] for run in runs)
        assert log.count("seen is only what waits in the journal") == 1
        assert json.loads(kedro.answer(simple.root, "compare", "--json", env=away)[0])["runs"] == [
            run["run_id"] for run in runs[::-1]
        ]
        for named in ("latest", runs[0]["run_id"][:8], runs[0]["name"]):
            shown = json.loads(kedro.answer(simple.root, "show", named, "--json", env=away)[0])
            assert {key: each["last"] for key, each in shown["metrics"].items()} == runs[0]["metrics"]

    def test_a_run_that_mlflow_knows(self, bench, kedro):
        """Its server is gone, and a part of its points waits."""
        bench.run("big", count=1)
        bench.server.kill()
        bench.run("big", count=2)
        found = json.loads(kedro.answer(bench.root, "runs", "--json")[0])
        assert [run["metrics"]["big.loss"] for run in found] == [0.25]


@pytest.fixture(scope="module")
def two(tmp_path_factory, empty_store, kedro):
    project = Project(tmp_path_factory.mktemp("gate") / "project", empty_store)
    project.catalog(ENTRY)
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def one(**values):
            return pipeline([node(lambda: values, None, "m")])
        def register_pipelines():
            newer = one(acc=0.4375, new=1, zero=1, low=0.92, nan=float("nan"))
            return {"older": one(acc=0.5, gone=1, zero=0, low=0.95), "newer": newer}
    """)
    for pipeline in ("older", "newer"):
        kedro.run(project.root, "run", "--pipeline", pipeline)
    return project


class TestGate:
    """``compare --fail-if``: exit code 1 and a sentence that says which."""

    @pytest.mark.parametrize(
        ("condition", "sentence"),
        [
            ("m.acc < -0.06", "m.acc went from 0.5 to 0.4375, by -0.0625"),
            ("m.acc<-12%", "m.acc went from 0.5 to 0.4375, by -12.5%"),
            ("m.acc.value < 0.9", "m.acc is 0.4375"),
            ("m.acc.value <= 43.75%", "m.acc is 0.4375"),
            ("*.acc < 0", "m.acc went"),
            ("m.gone < 0", "m.gone is missing in the last run"),
            ("m.new > 0", "m.new is missing in the first run"),
            ("m.nan.value < 0", "m.nan is NaN"),
            ("m.zero > 5%", "m.zero went from 0 to 1, by inf%"),
            ("m.acc <= -12.5%", "m.acc went from 0.5 to 0.4375, by -12.5%"),
            ("m.low < -0.02", "m.low went from 0.95 to 0.92"),
            ("m.typo < 0", "no run has a metric 'm.typo'"),
        ],
    )
    def test_it_fails(self, two, kedro, condition, sentence):
        """The table is shown all the same."""
        out, log = kedro.answer(two.root, "compare", "--fail-if", condition, code=1)
        assert out.startswith("metric") and "m.acc" in out
        assert log.splitlines()[-1].startswith(f"Error: --fail-if {condition!r}: {sentence}")

    @pytest.mark.parametrize(
        "condition",
        [
            *("m.acc < -0.07", "m.acc < -13%", "m.acc.value < 0.4", "m.acc > 0", "m.new.value < 1"),
            *("m.acc <= -6.26e-2", "m.low < -0.03", "m.low.value < 92%", "m.low.value > 0.92"),  # 0.92 - 0.95 is less
        ],
    )
    def test_it_passes(self, two, kedro, condition):
        kedro.answer(two.root, "compare", "--fail-if", condition, "--changed", "--json")

    def test_several(self, two, kedro):
        """Each that holds is named."""
        conditions = ("--fail-if", "m.acc < 0", "--fail-if", "m.acc > 0", "--fail-if", "m.acc.value < 1")
        _, log = kedro.answer(two.root, "compare", *conditions, code=1)
        assert log.count("--fail-if") == 2

    def test_one_run_has_no_change(self, two, kedro):
        """A value it has."""
        _, log = kedro.answer(two.root, "compare", "latest", "--fail-if", "m.acc < 0", code=1)
        assert "there is one run, so that nothing changes" in log
        kedro.answer(two.root, "compare", "latest", "--fail-if", "m.acc.value > 1")

    @pytest.mark.parametrize(
        "condition",
        ["m.acc", "< 3", "m.acc < x", "m.acc < 1.2.3", "m.acc == 1", "m.acc =< 1", "a < 1 and b > 1", "a < 1e999"],
    )
    def test_what_cannot_be_read(self, two, kedro, condition):
        """The forms that can be are named, and nothing is shown."""
        out, log = kedro.answer(two.root, "compare", "--fail-if", condition, code=2)
        assert out == "" and "cannot be read; accepted:" in log


def test_percentages_and_directions(simple, kedro):
    """What the catalog marks for Kubeflow is a percentage everywhere; what is better stands in the settings."""
    simple.catalog("""
        m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet, filepath: kf.json, save_args: {kubeflow: {percentage: a}}}
    """)
    simple.settings("better: {higher: m.a, lower: ['m.b*']}\n")
    simple.pipeline("""
        from kedro.pipeline import node, pipeline
        def one(a, b):
            return pipeline([node(lambda: {"a": [a / 2, a], "b": b}, None, "m")])
        def register_pipelines():
            return {"one": one(0.5, 2), "two": one(0.75, 1)}
    """)
    for pipeline in ("one", "two"):
        simple.kedro("run", "--pipeline", pipeline)

    def cells(*command):
        return [line.split() for line in kedro.answer(simple.root, *command)[0].splitlines()]

    assert [row[-2:] for row in cells("runs")[1:]] == [["75.000%", "1"], ["50.000%", "2"]]
    assert cells("compare")[1:] == [
        ["m.a", "50.000%", "75.000%", "*", "+25.000", "pp", "+50.0%"],
        ["m.b", "2", "1", "*", "-1", "-50.0%"],
    ]
    assert cells("show")[2] == ["m.a", "▁█", "37.500%", "75.000%", "37.500%", "(0)", "75.000%", "(1)", "2"]
    assert cells("plot", "--only", "m.a")[1][0] == "75.000%"
    out, _ = kedro.answer(simple.root, "compare", "--md")
    assert out.splitlines()[2] == "| m.a | 50.000% | **75.000%** | +25.000 pp | +50.0% |"


class TestWhatWaitsBesideWhatIsThere:
    """MLflow answers again, and runs of the journal stand beside its own."""

    @pytest.fixture
    def mixed(self, simple, kedro):
        """A project with a run in MLflow and one of the same name that waits."""
        simple.settings("run: {name: same}\n")
        simple.pipeline("""
            from kedro.pipeline import node, pipeline
            def one(value):
                return pipeline([node(lambda: {"a": value}, None, "m")])
            def register_pipelines():
                return {"good": one(3), "bad": one(1), "middle": one(2)}
        """)
        for name in ("good", "middle"):
            simple.kedro("run", "--pipeline", name)
        simple.kedro("run", "--pipeline", "bad", env={"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"})
        for path in (simple.root / ".kedro_mlflow_metrics/runs").glob("*/*"):
            if path.suffix in (".json", ".jsonl"):  # as if it had been logged to the store that answers
                _readdress(path, simple.root)
        return simple

    def test_a_name(self, mixed, kedro):
        """It is all of theirs."""
        _, log = kedro.answer(mixed.root, "show", "same", code=1)
        assert "3 runs in MLflow" in log
        assert "has no run 'same'" in kedro.answer(mixed.root, "show", "same", "--experiment", "other", code=1)[1]

    @pytest.mark.parametrize("run", ["", "s", "0123"])
    def test_a_start_that_is_too_short(self, mixed, kedro, run):
        """It is no start, though a run that waits may begin so."""
        assert "at least 6 characters" in kedro.answer(mixed.root, "compare", "latest", run, code=1)[1]

    def test_sort(self, mixed, kedro):
        """The best comes first, wherever it is."""
        out, _ = kedro.answer(mixed.root, "runs", "--sort", "m.a", "-n", "2", "--json")
        assert [run["metrics"]["m.a"] for run in json.loads(out)] == [3, 2]
        out, _ = kedro.answer(mixed.root, "runs", "--sort", "-m.a", "--json", env={"MLFLOW_EXPERIMENT_ID": "1"})
        assert [run["metrics"]["m.a"] for run in json.loads(out)] == [1, 2, 3]


def _readdress(path, root):
    """Say in a file of the journal that its run was logged to the project's own store."""
    lines = path.read_bytes().splitlines()
    said = json.loads(unsealed(lines[0]))
    said["run"]["uri"] = "sqlite:///mlflow.db"
    lines[0] = sealed(json.dumps(said).encode()).rstrip(b"\n")
    path.write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.mark.parametrize("file", ["catalog.yml", "kedro_mlflow_metrics.yml"])
def test_a_project_that_cannot_be_read(rich, kedro, file, tmp_path):
    """One line says why."""
    (rich.root / "conf/broken").mkdir(exist_ok=True)
    (rich.root / "conf/broken" / file).write_text("a: [b\n")
    _, log = kedro.answer(rich.root, "runs", "--env", "broken", code=1)
    (rich.root / "conf/broken" / file).unlink()
    assert log.splitlines()[-1].startswith("Error: the project cannot be read: ")


def test_output_that_takes_no_sparkline(rich):
    """What it does not take is a question mark there, not an error."""
    env = {**rich.environment(None), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "kedro_mlflow_metrics", "show", "latest~1", "--only", "train.loss"]
    done = subprocess.run(command, cwd=rich.root, env=env, capture_output=True, check=True)
    assert b"????" in done.stdout


def test_sort_by_a_typo(rich, kedro):
    """A word says so, and what may be meant."""
    assert "did you mean 'train.loss'?" in kedro.answer(rich.root, "runs", "--sort", "train.lost")[1]


def test_no_runs(simple, kedro):
    """Nothing is an answer too, and says so beside it."""
    out, log = kedro.answer(simple.root, "runs")
    assert (
        out == "" and log.splitlines()[-1] == f"There is no run in experiment 'proj' in MLflow at {simple.store.uri}."
    )
    assert json.loads(kedro.answer(simple.root, "runs", "--json")[0]) == []


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        (("runs",), {"experiments/get-by-name": 1, "runs/search": 1}),
        (("compare",), {"experiments/get-by-name": 1, "runs/search": 1}),
        (("show",), {"experiments/get-by-name": 1, "runs/search": 1, "runs/get": 1, "metrics/get-history": 1}),
    ],
)
def test_requests(simple, kedro, server, command, needed):
    """Two, whatever the number of runs and metrics; what needs histories asks once for each."""
    uri, _ = server
    for _ in range(3):
        simple.kedro("run", env={"MLFLOW_TRACKING_URI": uri})
    proxy = Proxy(uri)
    kedro.answer(simple.root, *command, env={"MLFLOW_TRACKING_URI": proxy.uri})
    proxy.close()
    seen = [path.partition("?")[0].rpartition("/mlflow/")[2] for path, *_ in proxy.seen]
    assert {name: seen.count(name) for name in set(seen)} == needed
