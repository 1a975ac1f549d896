"""The project's pipelines."""

from .pipeline import data, forests, network


def register_pipelines():
    return {
        "__default__": data() + network() + forests(),
        "network": data() + network(),
        "forests": data() + forests(),
    }
