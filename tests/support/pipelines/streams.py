"""Nodes that stream, save a lot, save once, and load; what they do is told by parameters."""

import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path

import mlflow
from kedro.pipeline import node, pipeline


def point(i):
    return {"value": i / 4, "step": i, "timestamp": 1_700_000_000_000 + i}


def epochs(p):
    """Yield ``count`` dicts, and more while the file ``hold`` stands there."""
    connects, told, yielded = [], [], os.open("yielded", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    if "kill" in p:
        sys.addaudithook(lambda what, _: what == "socket.connect" and connects.append(threading.current_thread().name))
        logging.getLogger("kedro.mlflow_metrics").addFilter(lambda record: told.append(record.levelname) or True)
    for i in count():
        if i >= p["count"] and not Path("hold").exists():
            break
        yield {"loss": point(i), **({"odd": point(i)} if "odd" in p and i % p["odd"] == 0 else {})}
        os.pwrite(yielded, b"%d" % (i + 1), 0)
        if i == p.get("at"):
            os.kill(*p["kill"])
            while "WARNING" not in told:
                time.sleep(0.01)
            connects.clear()
        time.sleep(p.get("pause", 0))
    print("CONNECTS", json.dumps(Counter(connects)))


def look(metrics, p):
    print("ACTIVE", mlflow.active_run())
    print("LOADED", json.dumps(metrics))
    if p.get("fails"):
        raise ValueError("as wished")


def big(p):
    return {"loss": [point(i) for i in range(p["count"])]}


def register_pipelines():
    stream = node(lambda p: (epochs(p), "model"), "parameters", ["curve", "model"], name="stream")
    return {
        "stream": pipeline([stream]),
        "chunks": pipeline([node(epochs, "parameters", "curve", name="chunks")]),
        "follow": pipeline([stream, node(look, ["curve", "parameters"], None, name="look")]),
        "big": pipeline([node(big, "parameters", "big", name="big")]),
        "one": pipeline(
            [
                node(lambda: ({"loss": point(0)}, 1), None, ["one", "done"], name="one"),
                node(lambda _: print("THREADS", len(threading.enumerate())), "done", None, name="threads"),
            ]
        ),
    }
