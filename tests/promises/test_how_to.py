"""The how-to pages are true: their examples are run, and what they say comes of it."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml
from click.testing import CliRunner
from support import pages
from support.pages import BLOCK, PAGES, ROOT

from kedro_mlflow_metrics import MlflowMetricsDataSet
from kedro_mlflow_metrics.cli import COMMANDS, metrics
from kedro_mlflow_metrics.delivery import clock
from kedro_mlflow_metrics.project.settings import FILE, read_settings

DOCS = ROOT / "docs"
COMMAND = re.compile(r"(?:kedro|python -m kedro_)(?:metrics| metrics|mlflow_metrics) +([a-z]+.*)")
pytestmark = pytest.mark.minutes
NODES = """
from kedro.pipeline import node, pipeline

{code}
def register_pipelines():
    return {{"__default__": pipeline([{nodes}])}}
"""


def blocks(page: str, language: str) -> list[str]:
    """Return the examples of a how-to in a language."""
    return pages.blocks(f"docs/how-to/{page}.md", language)


def commands(page: str) -> list[str]:
    """Return the commands of a page."""
    return [line[2:] for text in blocks(page, "console") for line in text.splitlines() if line.startswith("$ ")]


def examples(language: str, name: str):
    """Give a test each example of all pages that is a file of this name."""
    found = [
        pytest.param(text, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, (kind, text) in enumerate(BLOCK.findall(page.read_text()))
        if kind == language and re.match(rf"# \S*\b{name}\n", text)
    ]
    assert found
    return pytest.mark.parametrize("text", found)


# Of all pages


@examples("yaml", FILE)
def test_settings(text):
    """Each settings file that a page shows is accepted."""
    shown = yaml.safe_load(text)
    read_settings(shown, {shown.get("credentials"): {}})


@examples("yaml", "catalog.yml")
def test_entries(text):
    """Each catalog that a page shows is accepted."""
    for name, entry in yaml.safe_load(text).items():
        if entry["type"].startswith(("kedro_mlflow.", "tracking.", "json.")):  # what one moves from, or to
            continue
        assert entry.pop("type") == "kedro_mlflow_metrics.MlflowMetricsDataSet", name
        entry.pop("validator", None)  # Kedro's own
        MlflowMetricsDataSet(**entry)


def called():
    """Yield each command of ours in an example of a page."""
    for page in PAGES:
        for kind, text in BLOCK.findall(page.read_text()):
            shown = [line for line in text.splitlines() if "--help" not in line and line.startswith(("$ ", "kedro "))]
            lines = text.splitlines() if kind == "yaml" else shown
            for number, line in enumerate(lines):
                if found := COMMAND.search(line):
                    yield pytest.param(found[1], id=f"{page.stem}-{number}-{found[1][:20]}")


@pytest.mark.parametrize("line", list(called()))
def test_commands(tmp_path, monkeypatch, line):
    """Each command that a page shows is one, with arguments and options that it has."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlpipeline-metrics.json").touch()  # `validate` opens it at once
    name, *arguments = shlex.split(re.split(r" [|&>]+ ", line.replace("{{$}}", "{}"))[0], comments=True)
    assert name in COMMANDS
    for path in arguments if name == "import" else ():  # so does `import`
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
    metrics.get_command(None, name).make_context(name, arguments)


# How to write the dict

PARTS = (DOCS / "how-to/dict.md").read_text().split("\n```python\n")[1:]


@pytest.mark.parametrize("part", [part for part in PARTS if "| metric |" in part])
def test_a_dict(store, saved, part):
    """The node of each example gives the points of the table below it."""
    names: dict[str, object] = {}
    exec(part.split("```")[0], names)
    data = names[re.findall(r"^def (\w+)\(\)", part, re.MULTILINE)[-1]]()
    MlflowMetricsDataSet(prefix="m").save(data)
    found = [(key, step, value) for key, points in store.points().items() for step, value in points]
    rows = re.findall(r"^\| `(\S+)` \| (\d+) \| ([\d.]+) \|$", part, re.MULTILINE)
    assert found == [(key, int(step), float(value)) for key, step, value in rows]
    assert found


def test_a_dict_that_is_refused(store, saved):
    """The error says what the page shows, and nothing is logged."""
    (part,) = [part for part in PARTS if "| metric |" not in part]
    names: dict[str, object] = {}
    exec(part.split("```")[0], names)
    (said,) = blocks("dict", "text")
    with pytest.raises(Exception, match=re.escape(said.strip())):
        saved(names["evaluate"]())
    assert store.points() == {}


# How to load metrics again


def test_load(project):
    """A node gets what another has saved: as a dict, as a frame, and from the newest run that was there before."""
    (first, transcoded, baseline), (saves, compares) = blocks("load", "yaml"), blocks("load", "python")
    report = 'node(report, "test_metrics", "said"), node(print, "said", None)'
    project.catalog(first)
    project.pipeline(NODES.format(code=saves, nodes=f'node(evaluate, None, "test_metrics"), {report}'))
    (said,) = re.findall(r"returns `(accuracy .*?)`", (DOCS / "how-to/load.md").read_text())
    assert said in project.kedro("run").stdout

    project.catalog(transcoded)
    columns = 'node(lambda frame: print(list(frame.columns)), "test_metrics@frame", None)'
    nodes = f'node(evaluate, None, "test_metrics@dict"), {columns}'
    project.pipeline(NODES.format(code=saves, nodes=nodes))
    assert "['key', 'step', 'value', 'timestamp']" in project.kedro("run").stdout
    assert {key for run in project.store.runs for key in project.store.points(run["run_uuid"])} == {
        "test_metrics.accuracy",
        "test_metrics.loss",
    }

    project.catalog(baseline)
    asks = 'node(better, ["scores", "baseline"], "is"), node(print, "is", None)'
    nodes = f'node(lambda: {{"accuracy": 0.95}}, None, "scores"), {asks}'
    project.pipeline(NODES.format(code=compares, nodes=nodes))
    assert "True" in project.kedro("run").stdout


# How to watch a training


def test_live(store, saved):
    """Each form of the loop gives a point for each epoch, and the second one the model as well."""

    class Model:
        epochs = 0

        def fit_epoch(self, _data):
            self.epochs += 1
            return 1 / self.epochs

    yields, returns, nodes = blocks("live", "python")
    for code in (yields, returns):
        names = {"Model": Model}
        exec(code, names)
        made = names["train"]([])
        losses, model = made if isinstance(made, tuple) else (made, None)
        MlflowMetricsDataSet(prefix=f"m{len(code)}").save(losses)
        assert len(store.points()[f"m{len(code)}.loss"]) == 100
        assert model is None or model.epochs == 100
    from kedro.pipeline import node

    assert eval(nodes, {"node": node, **names}).outputs == ["training_metrics", "model"]


# How to survive an outage


def test_an_outage(simple, kedro, dead_server):
    """With a server that is down from the start the page's commands show what waits, and send it once it is back."""
    server, store = dead_server
    simple.settings(f"tracking_uri: {server.uri}\ntimeout: 2\n")
    assert "kedro metrics sync" in simple.kedro("run").stdout
    dry, sync, show, runs, _elsewhere = (shlex.split(command)[1:] for command in commands("outage"))
    assert "Connection refused" in kedro.run(simple.root, *dry, code=1)
    assert "m.a" in kedro.run(simple.root, *show)
    assert "m.a" in kedro.run(simple.root, *runs)
    kedro.run(simple.root, *sync, code=1)
    server.revive()
    kedro.run(simple.root, *sync)
    assert store.points()
    assert store.run["status"] == "FINISHED"


# How to run in Docker


def test_an_image(simple):
    """The command of the image runs in an environment of its own, with the journal that the page keeps there."""
    (image,) = blocks("docker", "dockerfile")
    command = json.loads(re.search(r"^CMD (.*)$", image, re.MULTILINE)[1])
    assert command[0] == "kedro"
    (simple.root / "conf/prod").mkdir()
    folder, _fails = blocks("docker", "yaml")
    simple.write(f"conf/prod/{FILE}", folder.replace("/mnt/volume", str(simple.root / "volume")))
    simple.kedro(*command[1:], env={"MLFLOW_TRACKING_URI": simple.store.uri})
    assert simple.store.tags(simple.store.run["run_uuid"])["kedro.env"] == "prod"
    assert (simple.root / "volume/metrics").exists()


# How to log to Databricks


@pytest.mark.newest  # MLflow 2.18 takes another way to its workspace
def test_databricks(simple, server):
    """With the settings of the page, MLflow finds the workspace and the experiment; an MLflow server plays it."""
    uri, store = server
    settings, credentials, _ = blocks("databricks", "yaml")
    simple.settings(settings)
    simple.write("conf/local/credentials.yml", re.sub(r"https://\S+", uri, credentials))
    simple.kedro("run")
    run = store.rows("SELECT run_uuid FROM runs ORDER BY start_time DESC LIMIT 1")[0][0]
    assert store.experiment(run) == yaml.safe_load(settings)["experiment"]
    assert store.points(run)


# How to delete


def test_delete(store, saved, tmp_path, monkeypatch, caplog):
    """A run that is deleted still loads, takes nothing more, comes back, and is gone for good after `gc`."""
    import mlflow
    from mlflow.cli import cli

    monkeypatch.chdir(tmp_path)  # where the journal is
    saved({"loss": 0.7})
    run = mlflow.active_run().info.run_id
    mlflow.end_run()
    entry = MlflowMetricsDataSet(prefix="", run_id=run)
    _export, *shown, drop = commands("delete")
    assert drop.endswith("--drop --run 01234567")

    def call(command: str) -> None:
        command = command.replace("0123456789abcdef0123456789abcdef", run).replace("sqlite:///mlflow.db", store.uri)
        name, *arguments = shlex.split(command)
        assert name == "mlflow"
        done = CliRunner().invoke(cli, arguments, env={"MLFLOW_TRACKING_URI": store.uri})
        assert done.exit_code == 0, done.output

    delete, restore, collect = shown
    call(delete)
    assert mlflow.search_runs(["0"]).empty
    assert entry.load() == {"loss": 0.7}
    refused = MlflowMetricsDataSet(prefix="", run_id=run)
    refused.save({"loss": 0.5})
    assert "Current state is deleted" in caplog.text
    assert clock.close(refused._stream.last) is not None  # and it waits no longer in this process
    assert store.points() == {"loss": [(0, 0.7)]}
    call(restore)
    assert len(mlflow.search_runs(["0"])) == 1
    call(delete)
    call(collect)
    assert store.runs == []
    assert store.points() == {}


def test_a_value_that_is_corrected(saved):
    """Both points of the step stay, and `load` gives the later one."""
    entry = MlflowMetricsDataSet(prefix="m")
    entry.save({"loss": [0.7, 40]})
    entry.save({"loss": {"value": 0.4, "step": 1}})
    assert entry.load() == {"loss": [{"value": 0.7, "step": 0}, {"value": 0.4, "step": 1}]}
    import mlflow

    assert not [name for name in dir(mlflow.MlflowClient) if name.startswith("delete_metric")]


# How to work in a notebook or a script


def test_a_script(saved):
    """The script loads what it says, from the active run."""
    code = blocks("notebook", "python")[-1]
    names: dict[str, object] = {}
    exec(code, names)
    (said,) = re.findall(r"load\(\)  # (.*)$", code, re.MULTILINE)
    assert names["metrics"].load() == json.loads(said)


# The reference


def test_the_json_of_commands(project, kedro):
    """The page names the keys of each command's JSON, and no others."""
    page = (DOCS / "reference/commands.md").read_text()
    forms = dict(re.findall(r"^\| `(\w+)` \| (.*\{.*) \|$", page.split("## JSON")[1], re.MULTILINE))
    project.catalog("m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n")
    project.pipeline(NODES.format(code="", nodes='node(lambda: {"loss": [0.7, 0.4]}, None, "m")'))
    project.kedro("run")
    project.kedro("run")

    def keys(data: object) -> set[str]:
        if isinstance(data, dict):
            deep = (value for key, value in data.items() if key not in ("tags", "params"))
            return {key for key in data if key != "m.loss"}.union(*map(keys, deep))
        return set().union(*map(keys, data)) if isinstance(data, list) else set()

    assert set(forms) == {"runs", "show", "compare", "plot", "export"}
    for name, form in forms.items():
        arguments = ("export", "latest") if name == "export" else (name, "--json")
        answer, _ = kedro.answer(project.root, *arguments)
        assert keys(json.loads(answer)) == set(re.findall(r'"(\w+)"', form)), name
