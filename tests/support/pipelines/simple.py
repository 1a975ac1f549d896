"""One entry, ``m``, and nodes that save into it, fail, wait, or have nothing to do with MLflow."""

import sys
import time

from kedro.pipeline import node, pipeline


def metrics():
    print("COMPUTED")
    return {"a": 1}


def others():
    return {"b": 1}


def look():
    print("MLFLOW LOADED", "mlflow" in sys.modules)
    return 1


def breaks():
    raise RuntimeError("on purpose")


def waits():
    print("WAITING", flush=True)
    time.sleep(60)


def register_pipelines():
    first = node(metrics, None, "m")
    return {
        "__default__": pipeline([first]),
        "two": pipeline([first, node(others, None, "n")]),
        "breaks": pipeline([first, node(breaks, None, "x", name="zbreaks")]),
        "waits": pipeline([first, node(waits, None, "x", name="zwaits")]),
        "without": pipeline([node(look, None, "x")]),
    }
