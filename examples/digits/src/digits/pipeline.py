"""Train a small network, and two forests to compare it with."""

from kedro.pipeline import node, pipeline

from digits.nodes import evaluate, grow_forest, split, train_network


def data():
    return pipeline([node(split, "params:test_size", ["train", "test"])])


def network():
    return pipeline(
        [
            node(train_network, ["train", "params:network"], ["training_metrics", "model"]),
            node(evaluate, ["model", "test"], "test_metrics"),
        ]
    )


def forest(namespace):
    return pipeline(
        [
            node(grow_forest, ["train", "params:trees"], "model"),
            node(evaluate, ["model", "test"], "metrics"),
        ],
        inputs={"train", "test"},
        namespace=namespace,
    )


def forests():
    return forest("small_forest") + forest("large_forest")
