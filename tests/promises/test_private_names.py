"""What we touch of MLflow and Kedro that is no public API: a new version of theirs may move it without a word."""

from __future__ import annotations

from pkgutil import resolve_name

import pytest
from kedro.framework.context import KedroContext
from kedro.io import CachedDataset, DataCatalog, MemoryDataset
from mlflow import MlflowClient
from mlflow.entities import Metric, RunData


@pytest.mark.parametrize(
    "name",
    [
        "mlflow.system_metrics.system_metrics_monitor:SystemMetricsMonitor.finish",
        "mlflow.tracking._tracking_service.utils:_tracking_uri",
        "mlflow.tracking._tracking_service.utils:set_tracking_uri",
        "mlflow.tracking.context.registry:resolve_tags",
        "mlflow.tracking.fluent:_active_experiment_id",
        "mlflow.tracking.fluent:_active_run_stack.get",
        "mlflow.utils.credentials:get_default_host_creds",
        "mlflow.utils.rest_utils:http_request",
    ],
)
def test_in_a_module_of_mlflow(name):
    """It is where it was."""
    resolve_name(name)


def test_on_an_object_of_mlflow():
    """The store behind a client takes batches; a run's data keeps the steps of its latest points."""
    assert callable(MlflowClient("http://127.0.0.1:9")._tracking_client.store.log_batch)
    (latest,) = RunData(metrics=[Metric("m", 0.5, 0, 3)])._metric_objs
    assert latest.step == 3


def test_on_an_object_of_kedro():
    """A catalog and a cached dataset keep what they hold, a context the name of its package."""
    dataset = MemoryDataset()
    assert DataCatalog({"m": dataset})._datasets["m"] is dataset
    assert isinstance(CachedDataset(dataset)._dataset, MemoryDataset)
    assert "_package_name" in {field.name for field in KedroContext.__attrs_attrs__}
