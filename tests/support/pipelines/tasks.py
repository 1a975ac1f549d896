"""A pipeline whose nodes are tasks of their own: each saves a value and a curve, fails if told to, waits if told to."""

import time
from functools import partial, update_wrapper
from pathlib import Path

from kedro.pipeline import node, pipeline

POINTS, TASKS = 1000, 32


def task(number):
    if Path(f"fail-{number}").exists():
        raise RuntimeError("on purpose")
    yield {"value": number, "loss": [step / 8 for step in range(POINTS - 1)]}
    Path(f"saved-{number}").touch()
    while Path(f"hold-{number}").exists():
        time.sleep(0.02)


def named(number):
    return node(update_wrapper(partial(task, number), task), None, f"task_{number}", name=f"t{number}")


def register_pipelines():
    return {"__default__": pipeline([named(number) for number in range(TASKS)])}
