"""Nodes that save, and one that asks MLflow what it has."""

import json

import mlflow
from kedro.pipeline import node, pipeline


def seen():
    """Ask MLflow itself, as a node or a hook of the user's may."""
    client = mlflow.MlflowClient()
    run_id = mlflow.active_run().info.run_id
    keys = client.get_run(run_id).data.metrics
    return {key: len(client.get_metric_history(run_id, key)) for key in keys}


def look(*_):
    print("SEEN", json.dumps(seen(), sort_keys=True), flush=True)


def save(number, *_):
    return {"a": number}, number


def first():
    return save(1)


def second(_):
    return save(2)


def third(_):
    return save(3)


def metrics_first():
    for epoch in range(50):
        yield {"loss": epoch}, epoch


def metrics_second():
    for epoch in range(50):
        yield epoch, {"loss": epoch}


def iterator():
    return ({"loss": epoch} for epoch in range(50)), 49


def alone():
    for epoch in range(50):
        yield {"loss": epoch}


def after(_):
    return {"a": 1}


def register_pipelines():
    last = node(look, "done", None, name="z_look")
    return {
        "dicts": pipeline(
            [
                node(first, None, ["m1", "d1"]),
                node(second, "d1", ["m2", "d2"]),
                node(third, "d2", ["m3", "done"]),
                last,
            ]
        ),
        "metrics_first": pipeline([node(metrics_first, None, ["curve", "done"]), last]),
        "metrics_second": pipeline([node(metrics_second, None, ["done", "curve"]), last]),
        "iterator": pipeline([node(iterator, None, ["curve", "done"]), last]),
        "alone": pipeline([node(alone, None, "curve")]),
        "dict_after": pipeline([node(metrics_first, None, ["curve", "done"]), node(after, "done", "after")]),
    }
