"""Nodes that write down how far they came, until they or their processes are killed."""

import itertools
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path

from kedro.pipeline import node, pipeline


def point(step):
    return {"value": step / 7, "step": step, "timestamp": 1_700_000_000_000 + step // 3}


def stream(name, number=-1, pause=0.001, dies=-1):
    """Yield points, and write down each that is asked for: then the one before it was accepted."""
    asked = os.open(f"asked-{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for step in itertools.count():
        os.write(asked, b"%d\n" % step)
        while step == dies // 2 and not Path("asked-n").exists():
            time.sleep(0.1)
        if step == dies:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == number or Path("stop").exists():
            return
        time.sleep(pause)
        yield {"a": point(step)}


def big():
    yield {"first": point(0)}
    while not Path("go").exists():
        time.sleep(0.01)
    yield {f"a{key}": [point(step) for step in range(key, 30_000, 3)] for key in range(3)}


def look(m):
    Path("seen").write_text(str(len(m["a"])))
    return {"seen": point(len(m["a"]))}


def other():
    return {"x": point(0)}


def child(steps, killed):
    from proj.settings import catalogs

    for step in steps:
        catalogs[-1].save("m", {"b": point(step)})
    if killed:
        os.kill(os.getpid(), signal.SIGKILL)


def forks():
    fork = multiprocessing.get_context("fork")
    children = {
        step: fork.Process(target=child, args=(range(step, step + 300), step == 900)) for step in (300, 900, 1500)
    }
    for item in stream("m", 3000):
        yield item
        if item["a"]["step"] in children:
            children[item["a"]["step"]].start()
    for each in children.values():
        each.join()


def register_pipelines():
    def of(name, *how):
        return node(partial(stream, name, *how), None, name, name=name)

    return {
        "short": pipeline([of("m", 5000, 0)]),
        "endless": pipeline([of("m")]),
        "big": pipeline([node(big, None, "m")]),
        "dies": pipeline([of("m", -1, 0.001, 1200), of("n", 2500)]),
        "workers": pipeline([of("m", 1500), of("n", 3000), node(look, "m", "seen")]),
        "other": pipeline([node(other, None, "seen")]),
        "forks": pipeline([node(forks, None, "m")]),
    }
