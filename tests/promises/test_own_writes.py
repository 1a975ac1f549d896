"""What was saved is in MLflow for whoever looks next: a node, a hook of the user's, a script."""

from __future__ import annotations

import json

import pytest
from support.project import PIPELINES
from support.proxy import Proxy

CATALOG = "".join(
    f"{name}: {{type: kedro_mlflow_metrics.MlflowMetricsDataSet}}\n" for name in ("m1", "m2", "m3", "curve", "after")
)
HOOK = """
from kedro.framework.hooks import hook_impl

class Promotes:
    @hook_impl(tryfirst=True)
    def after_pipeline_run(self):
        from proj.pipeline_registry import look
        import mlflow
        run = mlflow.MlflowClient().get_run(mlflow.active_run().info.run_id)
        print("STATUS", run.info.status)
        look()

HOOKS = (Promotes(),)
"""
RUNNERS = {
    "sequential": ((), {}),
    "thread": (("--runner=ThreadRunner",), {}),
    "fork": (("--runner=ParallelRunner",), {"KEDRO_MP_CONTEXT": "fork"}),
    "spawn": (("--runner=ParallelRunner",), {"KEDRO_MP_CONTEXT": "spawn"}),
}


@pytest.fixture
def own(project):
    project.catalog(CATALOG)
    project.pipeline(PIPELINES / "own_writes.py")
    return project


def seen(out):
    return [json.loads(line.removeprefix("SEEN ")) for line in out.splitlines() if line.startswith("SEEN ")]


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("pipeline", ["dicts", "metrics_first", "metrics_second", "iterator"])
def test_the_next_node(own, runner, pipeline):
    """A node that asks MLflow sees all that the nodes before it have saved or yielded, under every runner."""
    arguments, env = RUNNERS[runner]
    out = own.kedro("run", "--pipeline", pipeline, *arguments, env=env).stdout
    expected = {"m1.a": 1, "m2.a": 1, "m3.a": 1} if pipeline == "dicts" else {"curve.loss": 50}
    assert seen(out) == [expected]
    assert own.store.run["status"] == "FINISHED"


@pytest.mark.parametrize("pipeline", ["alone", "iterator", "dicts"])
def test_a_hook_of_the_users(own, pipeline):
    """`after_pipeline_run` of the project sees all points, while the run is still RUNNING."""
    own.write("src/proj/settings.py", HOOK)
    out = own.kedro("run", "--pipeline", pipeline).stdout
    expected = {"m1.a": 1, "m2.a": 1, "m3.a": 1} if pipeline == "dicts" else {"curve.loss": 50}
    assert seen(out)[-1] == expected
    assert "STATUS RUNNING" in out
    assert own.store.run["status"] == "FINISHED"


def batches(proxy):
    return [len(json.loads(body)["metrics"]) for path, _, body in proxy.seen if "log-batch" in path]


@pytest.fixture
def proxy(server):
    proxy = Proxy(server[0])
    yield proxy
    proxy.close()


@pytest.mark.parametrize("pipeline", ["dicts", "metrics_first", "dict_after"])
def test_requests(own, proxy, pipeline):
    """A dict is one request; of a generator the first yield is one, and what follows is sent together."""
    own.settings(f"tracking_uri: {proxy.uri}\nexperiment: own-{pipeline}\n")
    own.kedro("run", "--pipeline", pipeline)
    first, *others = batches(proxy)
    assert first == 1
    if pipeline == "dicts":
        assert others == [1, 1]
    else:
        after = [others.pop()] if pipeline == "dict_after" else []
        assert after in ([], [1])
        assert sum(others) == 49
        assert len(others) < 10


def test_a_script(own, proxy):
    """Each save is seen at once, inside the `with` block and after it, and is one request."""
    out = own.python(f"""
        import mlflow
        from kedro_mlflow_metrics import MlflowMetricsDataSet
        mlflow.set_tracking_uri("{proxy.uri}")
        metrics = MlflowMetricsDataSet(prefix="m")
        client = mlflow.MlflowClient()
        with mlflow.start_run(experiment_id="0") as run:
            for epoch in range(3):
                metrics.save({{"a": epoch}})
                print(len(client.get_metric_history(run.info.run_id, "m.a")))
        print("AFTER", client.get_run(run.info.run_id).data.metrics)
    """)
    assert out.splitlines()[:3] == ["1", "2", "3"]
    assert "AFTER {'m.a': 2.0}" in out
    assert batches(proxy) == [1, 1, 1]


def test_fail_at_the_end(own, proxy, server):
    """With `on_failure: fail` points that cannot be sent at the end fail the run before the hooks of others look."""
    own.write("src/proj/settings.py", HOOK)
    own.settings(f"tracking_uri: {proxy.uri}\nexperiment: own-fail\non_failure: fail\n")
    seen_batches = []

    def plan(path, _number):
        seen_batches.extend([path] if "log-batch" in path else [])
        return "401" if len(seen_batches) > 1 and "log-batch" in path else "pass"

    proxy.plan = plan
    out = own.kedro("run", "--pipeline", "alone", fails=True).stdout
    assert "refused the credentials" in out
    assert "STATUS" not in out
    query = "SELECT status FROM runs r JOIN experiments e ON r.experiment_id = e.experiment_id WHERE e.name = ?"
    assert server[1].rows(query, "own-fail") == [("FAILED",)]


def test_an_entry_with_a_run_of_its_own(own, proxy, server):
    """What is left of it at the end is said, and fails the run where the settings ask for that."""
    from mlflow import MlflowClient

    client = MlflowClient(server[0])
    ident = client.create_run("0").info.run_id
    own.catalog(CATALOG.replace("curve: {", f"curve: {{run_id: {ident}, "))
    own.settings(f"tracking_uri: {proxy.uri}\nexperiment: own-entry\n")
    count = []

    def plan(path, _number):
        count.extend([path] if "log-batch" in path else [])
        return "500" if len(count) > 1 else "pass"

    proxy.plan = plan
    out = own.kedro("run", "--pipeline", "alone").stdout
    (error,) = [line for line in out.splitlines() if line.startswith("ERROR kedro.mlflow_metrics")]
    assert f"49 points of run '{ident}' wait in" in error
    proxy.plan = lambda _path, _number: "pass"
    own.kedro("metrics", "sync")
    assert len(server[1].points(ident)["curve.loss"]) == 50
    own.settings(f"tracking_uri: {proxy.uri}\nexperiment: own-entry\non_failure: fail\n")
    count.clear()
    proxy.plan = plan
    assert "HTTP 500" in own.kedro("run", "--pipeline", "alone", fails=True).stdout
