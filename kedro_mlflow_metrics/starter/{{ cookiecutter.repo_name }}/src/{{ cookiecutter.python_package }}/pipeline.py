"""Train a small network that shows its curve, and two forests that are compared."""

from kedro.pipeline import node, pipeline

from .nodes import compare, evaluate, grow_forest, split, train_network


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
    comparison = node(compare, ["small_forest.metrics", "large_forest.metrics"], "margin")
    return forest("small_forest") + forest("large_forest") + pipeline([comparison])
