"""What the origin asked for, statement by statement: the dataset and its hook, then Kubeflow's metrics file.

What needs kfp 1.8 is in ``tests/kfp/test_compile.py``: the output's name in any case; the component that writes to its
output path, the one that returns the text and the one in a shell; the artifact of the compiled template.

What cannot hold here:

- What Kubeflow's web pages look like: which two, or once three, metrics are columns of its runs, how a percentage is
  shown, the page that compares runs. They are drawn by Kubeflow; the file is all that it gets from us.
- ``Pipeline(node(...))`` without a list: Kedro itself refuses it.
- Output viewers: the origin only points to them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
from kedro.io import AbstractDataset
from support.project import BIN

from kedro_mlflow_metrics import MlflowMetricsDataSet
from kedro_mlflow_metrics.kubeflow import to_json
from kedro_mlflow_metrics.kubeflow.rules import check

TYPE = "kedro_mlflow_metrics.MlflowMetricsDataSet"
PIPELINE = """
from kedro.pipeline import Pipeline, node

RETURNED = {returned!r}

def create_pipeline() -> Pipeline:
    nodes = [node(func=lambda name=name: RETURNED[name], inputs=None, outputs=name, name=name) for name in RETURNED]
    return Pipeline([*nodes, node(func=lambda: 1, inputs=None, outputs="no_metrics", name="without")])

def register_pipelines():
    return {{"__default__": create_pipeline()}}
"""
EXAMPLE = {"metric1": {"value": 1.1, "step": 1}, "metric2": [{"value": 1.1, "step": 1}, {"value": 1.2, "step": 2}]}


def run(project, entries, **returned):
    """Run nodes without inputs, each with what it returns, by the entries of a catalog; return the points by key."""
    project.catalog(entries if isinstance(entries, str) else json.dumps(entries))
    project.pipeline(PIPELINE.format(returned=returned))
    project.kedro("run")
    return project.store.points()


def entry(**options):
    """Return the entry of the catalog."""
    return {"type": TYPE, **options}


# --- the dataset and the hook


def test_a_metric_is_a_key_and_a_numeric_value(project):
    """A number is logged under its key; what is no number stops the run, and the key is named."""
    assert run(project, {"m": entry()}, m={"metric1": 1.1}) == {"m.metric1": [(0, 1.1)]}
    project.pipeline(PIPELINE.format(returned={"m": {"metric2": "1.1"}}))
    assert "dataset 'm', metric 'metric2': got '1.1' (str)" in project.kedro("run", fails=True).stdout
    assert set(project.store.points()) == {"m.metric1"}


def test_a_metric_is_updated_throughout_the_run_and_mlflow_has_its_history(project):
    """MLflow shows the first value while the node computes the next, and all of them at the end."""
    project.catalog(json.dumps({"m": entry()}))
    project.pipeline("""
        import mlflow
        from kedro.pipeline import Pipeline, node

        def train():
            for loss in (0.7, 0.5, 0.4):
                yield {"loss": loss}
                run = mlflow.active_run().info
                history = mlflow.MlflowClient().get_metric_history(run.run_id, "m.loss")
                print("HELD", run.status, [metric.value for metric in history])

        def register_pipelines():
            return {"__default__": Pipeline([node(train, None, "m")])}
    """)
    out = project.kedro("run").stdout
    assert next(line for line in out.splitlines() if line.startswith("HELD")) == "HELD RUNNING [0.7]"
    assert project.store.points() == {"m.loss": [(0, 0.7), (1, 0.5), (2, 0.4)]}


def test_the_dataset_is_an_abstract_dataset():
    """It has the name that the origin gives it."""
    assert MlflowMetricsDataSet.__name__ == "MlflowMetricsDataSet"
    assert issubclass(MlflowMetricsDataSet, AbstractDataset)


@pytest.mark.parametrize(("option", "prefix"), [("", "my_model_metrics."), ("prefix: foo", "foo."), ('prefix: ""', "")])
def test_the_example_in_yaml_with_its_name_or_a_prefix(project, option, prefix):
    """The dict of the origin is logged under the dataset's name, or under the prefix of the entry."""
    yaml = f"my_model_metrics:\n  type: {TYPE}\n  {option}\n"
    assert run(project, yaml, my_model_metrics=EXAMPLE) == {
        f"{prefix}metric1": [(1, 1.1)],
        f"{prefix}metric2": [(1, 1.1), (2, 1.2)],
    }


@pytest.mark.parametrize("prefixes", [("foo", "bar"), (None, None)], ids=["prefixes", "names"])
def test_nodes_with_the_same_names_are_told_apart(project, prefixes):
    """By their prefixes; without one, by the names of the datasets, which the hook puts there."""
    entries = {name: entry(prefix=prefix) for name, prefix in zip(("train", "test"), prefixes, strict=True)}
    first, second = (entries[name]["prefix"] or name for name in entries)
    assert run(project, entries, train={"accuracy": 0.9}, test={"accuracy": 0.8}) == {
        f"{first}.accuracy": [(0, 0.9)],
        f"{second}.accuracy": [(0, 0.8)],
    }


@pytest.mark.parametrize(
    ("metric", "points"),
    [
        (1.1, [(0, 1.1)]),
        ({"value": 1.1, "step": 1}, [(1, 1.1)]),
        ([{"value": 1.1, "step": 1}, {"value": 1.2, "step": 2}], [(1, 1.1), (2, 1.2)]),
        ([1.1, 1.2], [(0, 1.1), (1, 1.2)]),
    ],
    ids=["float", "dict", "dicts", "floats"],
)
def test_a_metric_is_a_float_or_a_list_of_them_with_or_without_steps(project, metric, points):
    """These are the forms of the origin: its example, its list of types and its annotation."""
    assert run(project, {"m": entry()}, m={"metric": metric}) == {"m.metric": points}


def test_an_entry_must_be_defined_in_a_pipeline(project):
    """An entry that no node saves logs nothing, beside one that a node saves or alone."""
    entries = {"m": entry(), "nobody_s": entry()}
    assert run(project, entries) == {}
    assert project.store.runs == []
    assert run(project, entries, m={"a": 1}) == {"m.a": [(0, 1.0)]}


# --- Kubeflow's metrics file

FILE = {"metrics": [{"name": "accuracy-score", "numberValue": 0.9, "format": "PERCENTAGE"}]}
PERCENTAGE = {"kubeflow": {"percentage": "accuracy-score"}}


def test_the_dictionary_of_the_example_serialized_as_json(project):
    """The entry's file, the command and the function for components give what the origin writes by hand."""
    path = project.root / "metrics.json"
    run(project, {"m": entry(prefix="", filepath=str(path), save_args=PERCENTAGE)}, m={"accuracy-score": 0.9})
    assert json.loads(path.read_text()) == FILE
    command = "metrics export latest --format kubeflow-v1 --percentage accuracy-score --output out.json"
    project.kedro(*command.split())
    assert json.loads((project.root / "out.json").read_text()) == FILE
    assert json.loads(to_json({"accuracy-score": 0.9}, percentage="accuracy-score")) == FILE


def test_metrics_are_scalars():
    """Of a curve the file has its last value."""
    assert json.loads(to_json({"loss": [0.7, 0.4]})) == {"metrics": [{"name": "loss", "numberValue": 0.4}]}


# Run a command with a root folder of its own: all that is in the old one, and the file of the origin.
ROOT = """
set -e
root=$1 mode=$2
shift 2
mkdir "$root"
mount -t tmpfs none "$root"
for each in /*; do
    if [ -L "$each" ]; then cp -P "$each" "$root"
    elif [ -d "$each" ]; then mkdir "$root$each"; mount --rbind "$each" "$root$each"; fi
done
echo old > "$root/mlpipeline-metrics.json"
mount --bind "$root/mlpipeline-metrics.json" "$root/mlpipeline-metrics.json"
mount --rbind "$root" "$root"
mount -o "remount,bind,$mode" "$root"
chroot "$root" sh -ec 'cd "$0"; "$@" >&2; cat /mlpipeline-metrics.json; ls -A / | grep mlpipeline' "$PWD" "$@"
"""
EXPORT = "metrics export latest --format kubeflow-v1 --percentage accuracy-score --output /mlpipeline-metrics.json"


@pytest.mark.parametrize(("mode", "command"), [("ro", "run"), ("rw", EXPORT)], ids=["read-only", "mounted"])
def test_the_file_path_of_the_older_versions(project, tmp_path, mode, command):
    """``/mlpipeline-metrics.json`` is written where the folder / is read-only, and where the file alone is mounted."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    probe = [*unshare, "mount", "-t", "tmpfs", "none", tmp_path]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    run(project, {"m": entry(prefix="")}, m={"accuracy-score": 0.9})
    strict = {"kubeflow": {"percentage": "accuracy-score", "strict": True}}
    project.catalog(json.dumps({"m": entry(prefix="", filepath="/mlpipeline-metrics.json", save_args=strict)}))
    done = subprocess.run(
        [*unshare, "sh", "-c", ROOT, "sh", tmp_path / "root", mode, BIN / "kedro", *command.split()],
        cwd=project.root,
        env=project.environment(None),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content, end = json.JSONDecoder().raw_decode(done.stdout)
    assert content == FILE
    assert done.stdout[end:].split() == ["mlpipeline-metrics.json"]  # and nothing was left beside it


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ("modern", "[a-zA-Z]([-_a-zA-Z0-9]{0,62}[a-zA-Z0-9])?"),
        ("legacy", "[a-z]([-a-z0-9]{0,62}[a-z0-9])?"),
    ],
)
def test_names_match_the_pattern(names, pattern):
    """No key of MLflow is lost for its name, nor does one stand in the file that the version does not take."""
    keys = ["accuracy-score", "my_model.AUC", "95th", "_x-", "top 5/val:loss", "Größe", "n" * 100]
    found = [metric["name"] for metric in json.loads(to_json(dict.fromkeys(keys, 1), names=names))["metrics"]]
    assert len(set(found)) == len(keys)
    assert "accuracy-score" in found
    assert [name for name in found if not re.fullmatch(pattern, name)] == []


def test_a_format_is_percentage_raw_or_not_set():
    """Globs say which metrics have which; nothing is guessed."""
    text = to_json({"accuracy": 0.9, "auc": 0.8, "loss": 0.4}, percentage="accuracy", raw="loss")
    formats = {metric["name"]: metric.get("format", "not set") for metric in json.loads(text)["metrics"]}
    assert formats == {"accuracy": "PERCENTAGE", "auc": "not set", "loss": "RAW"}


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "accuracy.score"},
        {"name": "1st"},
        {"name": "Accuracy_Score"},
        {"name": "a" * 65},
        {"numberValue": "high"},
        {"numberValue": True},
        {"numberValue": None},
        {"numberValue": "0.9"},
        {"format": "percentage"},
        {"format": "UNSPECIFIED"},
    ],
    ids=str,
)
def test_a_file_that_breaks_a_convention_is_told(fields):
    """Whatever the origin forbids has a finding, and its example has none; of capitals, for versions before 1.0."""
    assert check(json.dumps(FILE).encode(), legacy=True) == []
    broken = {"metrics": [{**FILE["metrics"][0], **fields}]}
    assert [found.entry for found in check(json.dumps(broken).encode(), legacy=True)][:1] == [0]
