"""Metrics of all kinds, and a few."""

import math

from kedro.pipeline import node, pipeline

nan, inf = math.nan, math.inf


def curve(*values):
    return [{"value": value, "step": step, "timestamp": 1_700_000_000_000 + step} for step, value in enumerate(values)]


def metrics():
    return {
        "train.loss": curve(*(1 / (step + 3) for step in range(100))),
        "one": curve(0.1),
        "twice": [*curve(1), {"value": 2, "step": 0, "timestamp": 1_700_000_000_001}],
        "nan last": curve(0.5, nan),
        "inf_last": curve(7, inf),
        "-inf_last": curve(8, -inf),
        "only nan": curve(nan),
        "big": curve(1.5e308, -1.5e308),
        "tiny": curve(5e-324),
        "an odd/name:1": curve(1),
        "Größe": curve(2),
        "_x-": curve(3),
        "long" * 25: curve(4),
        "acc": curve(5),
        "Acc": curve(6),
        "display_name": curve(9),
        **{f"n{number:02}": curve(number, number / 7) for number in range(60)},
    }


def small():
    return {"a": curve(1, 2), "b.c": curve(3)}


def register_pipelines():
    return {
        "rich": pipeline([node(metrics, None, "m")]),
        "small": pipeline([node(small, None, "m")]),
    }
