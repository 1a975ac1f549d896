"""Every way to declare a metrics dataset under every runner: exact keys, in exactly one run."""

from __future__ import annotations

import kedro
import pytest

CATALOG = """
_defaults: &defaults
  type: kedro_mlflow_metrics.MlflowMetricsDataSet
plain: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
explicit: {type: kedro_mlflow_metrics.MlflowMetricsDataset, prefix: foo}
empty: {type: kedro_mlflow_metrics.MlflowMetricsDataSet, prefix: ""}
"{name}_metrics": {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
"{namespace}.metrics": {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
trans@mlflow: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
anchor: {<<: *defaults}
subclass: {type: proj.own.OwnMetrics}
"""
UNUSED = """
unused: {type: CachedDataset, dataset: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}}
"""
CACHED = """
cached: {type: CachedDataset, dataset: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}}
"""
CATCH_ALL = """
"{anything}": {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
"""
PIPELINE = """
from functools import partial

from kedro.pipeline import node, pipeline

NAMES = {names!r}

def metrics(value):
    import mlflow
    mlflow.log_metric(f"inside{{value}}", value)
    return {{"m": value, "curve": [1, 2]}}

def register_pipelines():
    return {{"__default__": pipeline([
        node(partial(metrics, value), None, name, name=f"n{{value}}") for value, name in enumerate(NAMES)
    ])}}
"""
OWN = """
from kedro_mlflow_metrics import MlflowMetricsDataSet

class OwnMetrics(MlflowMetricsDataSet):
    pass
"""
SETTINGS = """
from kedro.framework.hooks import hook_impl
from kedro_mlflow_metrics import MlflowMetricsDataSet

class Adds:
    @hook_impl
    def after_catalog_created(self, catalog):
        if hasattr(catalog, "add"):
            catalog.add("added", MlflowMetricsDataSet())
        else:
            catalog["added"] = MlflowMetricsDataSet()

HOOKS = (Adds(),)
"""
PREFIXES = {
    "plain": "plain.",
    "explicit": "foo.",
    "empty": "",
    "train_metrics": "train_metrics.",
    "ns1.metrics": "ns1.metrics.",
    "ns2.deep.metrics": "ns2.deep.metrics.",
    "trans@mlflow": "trans.",
    "anchor": "anchor.",
    "subclass": "subclass.",
    "added": "added.",
}
RUNNERS = {
    "sequential": ((), {}),
    "async": (("--async",), {}),
    "thread": (("--runner=ThreadRunner",), {}),
    "fork": (("--runner=ParallelRunner",), {"KEDRO_MP_CONTEXT": "fork"}),
    "spawn": (("--runner=ParallelRunner",), {"KEDRO_MP_CONTEXT": "spawn"}),
}


def prepare(project, names, catalog):
    project.catalog(catalog)
    project.pipeline(PIPELINE.format(names=names))
    project.write("src/proj/own.py", OWN)
    project.write("src/proj/settings.py", SETTINGS)


@pytest.mark.parametrize("runner", RUNNERS)
def test_every_declaration_under_every_runner(project, runner):
    """Each entry logs under its own prefix, and mlflow.log_metric in a node lands in the same run."""
    arguments, env = RUNNERS[runner]
    parallel = runner in ("fork", "spawn")
    prefixes = PREFIXES if parallel else {**PREFIXES, "cached": "cached."}
    catalog = CATALOG if parallel else CATALOG + CACHED
    if not (parallel and kedro.__version__.startswith("0.")):  # there Kedro itself builds and refuses unused entries
        catalog += UNUSED
    prepare(project, list(prefixes), catalog)
    project.kedro("run", *arguments, env=env)
    expected = {}
    for value, prefix in enumerate(prefixes.values()):
        expected[f"{prefix}m"] = [(0, float(value))]
        expected[f"{prefix}curve"] = [(0, 1.0), (1, 2.0)]
        expected[f"inside{value}"] = [(0, float(value))]
    assert project.store.points() == expected
    assert project.store.run["status"] == "FINISHED"


@pytest.mark.parametrize("runner", ["sequential", "spawn"])
def test_catch_all_pattern(project, runner):
    """A catch-all pattern gives every output the name of that output as prefix."""
    arguments, env = RUNNERS[runner]
    prepare(project, ["a", "b.c"], CATCH_ALL)
    project.kedro("run", *arguments, env=env)
    assert {key for key in project.store.points() if "inside" not in key} == {
        "a.m",
        "a.curve",
        "b.c.m",
        "b.c.curve",
    }
    assert project.store.run["status"] == "FINISHED"
