"""``kedro metrics export``: a run in other forms, exactly."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import subprocess
import sys

import pytest
from support.bench import BASE_TIME, said
from support.project import BIN, PIPELINES, PLAIN
from support.proxy import always, from_batch
from support.terminal import rows_of

from kedro_mlflow_metrics.kubeflow.rules import check

IN_STORE = "SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ? ORDER BY key, step, timestamp"
EXPORT = ("metrics", "export")


@pytest.fixture
def export(rich, kedro, tmp_path):
    """Export the rich run, and return the file's text."""

    def run(form, *options, run=None):
        path = tmp_path / "exported"
        ident = run or rich.store.runs[0]["run_uuid"]
        kedro.run(rich.root, *EXPORT, ident, "--format", form, "--output", str(path), *options)
        assert [each.name for each in tmp_path.iterdir()] == ["exported"]
        return path.read_bytes().decode()

    return run


def in_store(store, run):
    """Return (step, timestamp, value) by key; what MLflow keeps as the largest float is infinite again."""
    found = {}
    for key, step, timestamp, value, nan in store.rows(IN_STORE, run):
        plain = math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value
        found.setdefault(key, []).append((step, timestamp, math.nan if nan else plain))
    return found


def last_finite(points):
    """Return the last finite value by key, without those that have none."""
    found = {key: [value for *_, value in history if math.isfinite(value)] for key, history in points.items()}
    return {key: values[-1] for key, values in found.items() if values}


def strict(text):
    """Parse JSON as its standard has it."""

    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def from_json(text):
    """Return (step, timestamp, value) by key of an export."""
    parsed = strict(text)
    assert [*parsed] == ["run_id", "name", "status", "start_time", "end_time", "tags", "params", "metrics"]
    return {
        key: [(point["step"], point["timestamp"], float(point["value"])) for point in history]
        for key, history in parsed["metrics"].items()
    }


def from_csv(text):
    """Return the same of an export in CSV."""
    heading, *rows = csv.reader(io.StringIO(text))
    assert heading == ["key", "step", "timestamp", "value"]
    found = {}
    for key, step, timestamp, value in rows:
        found.setdefault(key, []).append((int(step), int(timestamp), float(value)))
    return found


def v1(text):
    """Return the values of a v1 file, which is valid, by name."""
    assert check(text.encode()) == []
    return {metric["name"]: metric["numberValue"] for metric in strict(text)["metrics"]}


# The forms


@pytest.mark.parametrize(("form", "parse"), [("json", from_json), ("csv", from_csv)])
def test_all_points(rich, export, form, parse):
    """JSON and CSV hold every point of the store and nothing else, in its order."""
    text = export(form)
    expected = in_store(rich.store, rich.store.runs[0]["run_uuid"])
    assert len(expected["train.loss"]) == 100
    assert repr(parse(text)) == repr(expected)  # by repr, for NaN is not equal to itself
    assert list(parse(text)) == sorted(expected)
    if form == "json":
        assert strict(text)["run_id"] == rich.store.runs[0]["run_uuid"]
        assert [strict(text)["metrics"][key][-1]["value"] for key in ("nan last", "inf_last", "-inf_last")] == [
            "NaN",
            "Infinity",
            "-Infinity",
        ]


def test_v1(rich, tmp_path):
    """A file that Kubeflow takes, and on standard error which metrics have another name there and which have none."""
    path, run = tmp_path / "made/metrics.json", rich.store.runs[0]["run_uuid"]
    done = subprocess.run(
        [BIN / "kedro", *EXPORT, run, "--format", "kubeflow-v1", "-o", path, "--only", "[!n]*", "--only", "nan last"],
        cwd=rich.root,
        env=rich.environment(None),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    finite = last_finite(in_store(rich.store, run))
    values = v1(path.read_text())
    shown = dict(rows_of(done.stderr.replace("in Kubeflow", "Kubeflow"), "metric", "Kubeflow"))
    assert {key: shown[key] for key in ("train.loss", "nan last", "an odd/name:1", "_x-")} == {
        "train.loss": "train-loss",
        "nan last": "nan-last",
        "an odd/name:1": "an-odd-name-1",
        "_x-": "x",
    }
    assert {shown.get(key, key): value for key, value in finite.items() if key in shown or key in values} == values
    assert "one" not in shown and "one" in values
    assert len(values) == len([key for key in finite if key[0] != "n" or key == "nan last"])
    assert len(shown["long" * 25]) == 64
    assert len({shown.get(key, key).lower() for key in ("acc", "Acc")}) == 2
    (warning,) = said(done.stderr, "WARNING")
    assert warning.endswith(": only nan")
    assert "train-loss" not in done.stdout


def test_v1_options(rich, export):
    """At most fifty, in the order and with the format that the options say; ``--names legacy`` for old versions."""
    text = export(
        *("kubeflow-v1", "--only", "n??", "--only", "one", "--order", "n5*", "--order", "one"),
        *("--percentage", "n5[0-4]", "--percentage", "one", "--raw", "n55"),
    )
    metrics = strict(text)["metrics"]
    assert len(v1(text)) == 50
    tens = [f"n5{number}" for number in range(10)]
    assert [metric["name"] for metric in metrics] == [*tens, "one", *(f"n{number:02}" for number in range(39))]
    formats = {metric["name"]: metric["format"] for metric in metrics if "format" in metric}
    assert formats == {**dict.fromkeys([*tens[:5], "one"], "PERCENTAGE"), "n55": "RAW"}
    legacy = export("kubeflow-v1", "--only", "[A-Z]*", "--only", "*_*", "--names", "legacy")
    assert check(legacy.encode(), legacy=True) == []
    assert set(v1(legacy)) >= {"acc", "gro-e", "x", "display-name"}
    assert len(v1(legacy)) == 6  # and both inf_last


def test_v2(rich, export):
    """The metadata of an artifact: each metric's last finite value under its own name; the rest is warned of."""
    metadata = strict(export("kubeflow-v2"))
    expected = last_finite(in_store(rich.store, rich.store.runs[0]["run_uuid"]))
    assert expected.pop("display_name") == 9
    assert metadata == expected
    assert len(metadata) > 50


def test_what_v2_leaves_out(rich, kedro):
    """Names that Kubeflow uses itself and metrics without a finite value are named, and nothing else."""
    run = rich.store.runs[0]["run_uuid"]
    out = kedro.run(rich.root, *EXPORT, run, "--format", "kubeflow-v2")
    reserved, without = said(out, "WARNING")
    assert "display_name" in reserved and "only" not in reserved
    assert without.endswith(": only nan")
    assert '"train.loss": ' in out  # without --output it is printed


def test_latest(rich, export):
    """``latest`` is the project's newest run."""
    text = export("json", run="latest")
    run = rich.store.runs[1]["run_uuid"]
    assert strict(text)["run_id"] == run
    assert from_json(text) == in_store(rich.store, run)
    assert set(from_json(text)) == {"a", "b.c"}


def test_only(export):
    """``--only`` takes whole keys by glob, several of them; what nothing matches is an empty file of its form."""
    assert set(from_csv(export("csv", "--only", "n0?", "--only", "*.loss"))) == {
        "train.loss",
        *(f"n0{number}" for number in range(10)),
    }
    assert from_json(export("json", "--only", "N00")) == {}
    assert from_csv(export("csv", "--only", "N00")) == {}
    assert v1(export("kubeflow-v1", "--only", "N00")) == {}
    assert strict(export("kubeflow-v2", "--only", "N00")) == {}


def test_output_that_is_no_ordinary_file(rich, kedro, tmp_path):
    """A pipe or a device is written to, and a link stays one: ``-o /dev/stdout`` may replace nothing in ``/dev``."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    (tmp_path / "file").touch()
    link.symlink_to(tmp_path / "file")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for output in (pipe, link):
        kedro.run(rich.root, *EXPORT, "latest", "--output", str(output))
    assert set(from_json(os.read(reader, 65536))) == {"a", "b.c"}
    os.close(reader)
    assert pipe.is_fifo() and link.is_symlink()
    assert set(from_json((tmp_path / "file").read_text())) == {"a", "b.c"}


@pytest.fixture
def command(rich):
    """Start the command itself, with standard output apart."""

    def start(*arguments, **options):
        command = [BIN / "kedro", *EXPORT, *arguments]
        return subprocess.run(
            command, cwd=rich.root, env=rich.environment(None), text=True, timeout=60, check=False, **options
        )

    return start


def test_dash(rich, command):
    """``-o -`` is standard output, as no ``-o`` is; a file of that name is ``./-``."""
    done = command("latest", "-o", "-", capture_output=True)
    assert set(from_json(done.stdout)) == {"a", "b.c"}
    assert not (rich.root / "-").exists()
    command("latest", "-o", "./-", capture_output=True)
    assert set(from_json((rich.root / "-").read_text())) == {"a", "b.c"}
    (rich.root / "-").unlink()


@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_closed_pipe(rich, command, form):
    """Who reads one line and goes away, as ``head -1`` does, gets no message."""
    reader, writer = os.pipe()
    os.close(reader)
    done = command(rich.store.runs[0]["run_uuid"], "--format", form, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.returncode == 1
    assert "Error" not in done.stderr and "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_a_name_that_the_output_cannot_spell(store, saved, tmp_path):
    """An export is UTF-8, whatever a terminal or a pipe has."""
    saved({"größe": 0.5})
    env = {**os.environ, "MLFLOW_TRACKING_URI": store.uri, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "kedro_mlflow_metrics", "export", "latest", "--format", "csv"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=True, timeout=60)
    assert "größe,0," in done.stdout.decode()


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0" * 32,), r"Error: MLflow at .* has no run '0{32}'; correct the run id, or the address"),
        (("../x",), r"Error: MLflow at .* has no run '\.\./x': accepted are .*"),
        (("latest", "--output", "conf"), r"Error: Invalid value for '--output' / '-o': File 'conf' is a directory\."),
        (("latest", "--output", "pyproject.toml/x"), r"Error: .*: (Not a directory|File exists)"),
        (("latest", "--executor-input", "{}"), r"Error: --executor-input goes with --format kubeflow-v2 alone.*"),
    ],
)
def test_refused(rich, kedro, arguments, message):
    """One line, and no file."""
    before = sorted(rich.root.rglob("[!.]*.[tj]*"))
    arguments = arguments if "--output" in arguments or len(arguments) > 1 else (*arguments, "--output", "new.json")
    command = kedro.start(rich.root, *EXPORT, *arguments)
    assert command.wait() in {1, 2}, command.output
    *_, line = command.output.splitlines()
    assert re.fullmatch(message, line)
    assert "Traceback" not in command.output
    assert not (rich.root / "new.json").exists()
    assert sorted(path for path in rich.root.rglob("[!.]*.[tj]*") if "out-" not in path.name) == [
        path for path in before if "out-" not in path.name
    ]


def test_no_run_at_all(project, kedro):
    """``latest`` in a project that never logged says so, and creates nothing in MLflow."""
    out = kedro.run(project.root, *EXPORT, "latest", code=1)
    *_, line = out.splitlines()
    assert line.startswith("Error: there is no run in experiment 'proj' in MLflow at sqlite:///")
    assert project.store.rows("SELECT name FROM experiments") == [("Default",)]


# The file of a v2 executor


class Executor:
    """What Kubeflow gives a v2 task."""

    def __init__(self, folder):
        self.file = folder / "executor/output_metadata.json"
        self.input = {"inputs": {}, "outputs": {"outputFile": str(self.file), "artifacts": {}}}
        self.artifact("model", "system.Model")
        self.artifact("metrics", "system.Metrics")

    def artifact(self, name, title):
        given = {"name": f"names/{name}", "uri": f"minio://x/{name}", "type": {"schemaTitle": title}, "metadata": {}}
        self.input["outputs"]["artifacts"][name] = {"artifacts": [given]}

    def exists(self, content):
        self.file.parent.mkdir()
        self.file.write_bytes(content)

    @property
    def output(self):
        return strict(self.file.read_text())


@pytest.fixture
def executor(tmp_path):
    return Executor(tmp_path)


@pytest.fixture
def leave(rich, kedro, executor):
    """Export the small run for an executor."""

    def run(*options, code=0, given=None):
        given = json.dumps(executor.input) if given is None else given
        options = ("latest", "--format", "kubeflow-v2", "--executor-input", given, *options)
        return kedro.run(rich.root, *EXPORT, *options, code=code)

    return run


SMALL = {"a": 2, "b.c": 3}


def test_executor_input(executor, leave, tmp_path):
    """The one Metrics output gets the values, its name and its address; also with the input in a file."""
    expected = {
        "artifacts": {
            "metrics": {"artifacts": [{"name": "names/metrics", "uri": "minio://x/metrics", "metadata": SMALL}]}
        }
    }
    assert f"written to {executor.file}" in leave()
    assert executor.output == expected
    assert list(executor.file.parent.iterdir()) == [executor.file]
    executor.file.unlink()
    (tmp_path / "input.json").write_text(json.dumps(executor.input))
    leave(given=str(tmp_path / "input.json"))
    assert executor.output == expected


def test_executor_output_is_merged(executor, leave):
    """Parameters, other artifacts, other fields and earlier metadata stay; a metric that is there is replaced."""
    model = {"artifacts": [{"name": "m", "uri": "u", "metadata": {"framework": "x"}}]}
    there = {"name": "n", "uri": "elsewhere", "metadata": {"a": 7, "other": 1}, "customPath": "p"}
    known = {
        "parameterValues": {"p": 1.5, "text": "ü"},
        "artifacts": {"model": model, "metrics": {"artifacts": [there, {"name": "second"}]}},
    }
    executor.exists(json.dumps(known).encode())
    leave()
    there["metadata"] = {"a": 2, "other": 1, "b.c": 3}
    assert executor.output == known


def test_an_empty_executor_output(executor, leave):
    """An empty file counts as none."""
    executor.exists(b"")
    leave()
    assert executor.output["artifacts"]["metrics"]["artifacts"][0]["metadata"] == SMALL


def test_two_metrics_outputs(executor, leave):
    """Of two the user has to name one; a name that the task lacks is refused with those that it has."""
    executor.artifact("more", "system.Metrics")
    assert leave(code=1).splitlines()[-1] == (
        "Error: the task has 2 outputs of type system.Metrics; name one with --output-name: metrics, more"
    )
    assert leave("--output-name", "nothere", code=1).splitlines()[-1] == (
        "Error: the task has no output artifact 'nothere'; accepted: model, metrics, more"
    )
    assert not executor.file.exists()
    leave("--output-name", "more")
    assert set(executor.output["artifacts"]) == {"more"}
    leave("--output-name", "metrics")
    assert set(executor.output["artifacts"]) == {"more", "metrics"}


def test_no_metrics_output(executor, leave):
    """A task without one is told which outputs it has."""
    del executor.input["outputs"]["artifacts"]["metrics"]
    assert leave(code=1).splitlines()[-1] == (
        "Error: the task has 0 outputs of type system.Metrics; name one with --output-name: model"
    )
    executor.input["outputs"]["artifacts"] = {}
    assert leave(code=1).splitlines()[-1].endswith("it has no output artifacts")
    assert not executor.file.exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('{"outputs": ', "--executor-input is no JSON: "),
        ('{"outputs": null}', "--executor-input names no outputs.outputFile; "),
        ('{"outputs": {"outputFile": 3}}', "--executor-input names no outputs.outputFile; "),
        ("nothere.json", "nothere.json: No such file or directory"),
        ("{{$}}", "--executor-input is no JSON: "),
    ],
)
def test_broken_executor_input(leave, given, message):
    """One line that says what is wrong with it."""
    out = leave(given=given, code=1)
    assert out.splitlines()[-1].startswith(f"Error: {message}")
    assert "Traceback" not in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{half", "is no JSON"),
        (b"[1]", "is no JSON object"),
        (b"\x80PNG", "is no JSON"),
        (b'{"artifacts": {"metrics": {"artifacts": [{"metadata": {"x": NaN}}]}}}', "is no JSON that Kubeflow takes"),
        (b'{"parameterValues": {"x": 1e400}}', "is no JSON that Kubeflow takes"),
    ],
)
def test_an_executor_output_that_is_something_else(executor, leave, content, message):
    """A file that is no JSON object is left as it is, with one line that names it."""
    executor.exists(content)
    out = leave(code=1)
    assert out.splitlines()[-1].startswith(f"Error: {executor.file} {message}")
    assert "Traceback" not in out
    assert executor.file.read_bytes() == content
    assert list(executor.file.parent.iterdir()) == [executor.file]


# Servers


def test_what_still_waits(bench):
    """Points that wait in the journal count, before anyone syncs; the export sends nothing."""
    bench.proxy.plan = from_batch(2, "500")
    bench.run("big", count=5_000)
    ((run, *_),) = bench.runs
    left = 5_000 - sum(bench.stored.values())
    assert 0 < left < 5_000
    bench.proxy.plan = always("pass")
    expected = [(step, BASE_TIME + step, step / 4) for step in range(5_000)]
    path = bench.root / "exported"
    for form, parse in (("json", from_json), ("csv", from_csv)):
        bench.kedro.run(bench.root, *EXPORT, run, "--format", form, "-o", str(path))
        assert parse(path.read_text()) == {"big.loss": expected}
    bench.kedro.run(bench.root, *EXPORT, run, "--format", "kubeflow-v1", "-o", str(path))
    assert v1(path.read_text()) == {"big-loss": 4_999 / 4}
    assert sum(bench.stored.values()) == 5_000 - left
    assert len(bench.folders) == 1


def test_the_server_is_down(bench):
    """Then there is no export, in one line, and no file."""
    bench.run("one")
    ((run, *_),) = bench.runs
    bench.proxy.plan = always("500")
    out = bench.kedro.run(bench.root, *EXPORT, run, "-o", str(bench.root / "exported"), code=1)
    assert out.splitlines()[-1].startswith(f"Error: MLflow at {bench.proxy.uri} ")
    assert "Traceback" not in out
    assert not (bench.root / "exported").exists()


def test_a_real_server(bench):
    """All forms of all kinds of metrics over HTTP; for the last values only those not finite need their history."""
    bench.project.catalog(PLAIN)
    bench.project.pipeline(PIPELINES / "rich.py")
    bench.kedro.run(bench.root, "run", "--pipeline", "rich")
    ((run, *_),) = bench.runs
    path, points = bench.root / "exported", in_store(bench.store, run)

    def exported(form, *options):
        """Return the text, and of which keys the history was asked for."""
        bench.proxy.seen.clear()
        bench.kedro.run(bench.root, *EXPORT, run, "--format", form, "-o", str(path), *options)
        asked = [asked for asked, *_ in bench.proxy.seen if "get-history" in asked or "history" in asked]
        return path.read_text(), asked

    text, asked = exported("json")
    assert repr(from_json(text)) == repr(points)
    assert len(asked) >= len(points)
    assert repr(from_csv(exported("csv")[0])) == repr(points)
    text, asked = exported("kubeflow-v2")
    finite = last_finite(points)
    assert strict(text) == {key: value for key, value in finite.items() if key != "display_name"}
    assert len(asked) == 4  # nan last, inf_last, -inf_last, only nan
    text, asked = exported("kubeflow-v1", "--only", "n[0-4]?")
    assert v1(text) == {f"n{number:02}": number / 7 for number in range(50)}
    assert asked == []
    assert len(bench.proxy.seen) <= 2
    text, asked = exported("kubeflow-v1", "--only", "train.loss", "--only", "nan last")
    assert v1(text) == {"train-loss": 1 / 102, "nan-last": 0.5}
    assert len(asked) == 1
