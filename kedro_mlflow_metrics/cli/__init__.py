"""``kedro metrics``: commands for metrics outside a pipeline. Each is loaded when it is called."""

from __future__ import annotations

from importlib import import_module
from keyword import iskeyword

import click

__all__ = ["commands", "main", "metrics"]

COMMANDS = ("compare", "end", "export", "import", "init", "plot", "runs", "show", "start", "sync", "ui", "validate")


class _Lazy(click.Group):
    """A group whose commands stand in files of their own, each as a function of the file's name.

    ``import`` is a word of Python's: its file is ``import_``.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        """Return the names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as click calls it
        """Load a command."""
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(import_module(f"{__name__}.{name}"), name)
        return command


@click.group(name="kedro-mlflow-metrics")
def commands() -> None:
    """Hold the group that Kedro's own command takes in."""


@commands.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def metrics() -> None:
    """Metrics that pipelines log to MLflow."""


def main() -> None:
    """Run ``python -m kedro_mlflow_metrics``, where only the answer of a command is on standard output."""
    import rich

    rich.reconfigure(stderr=True)  # where Kedro's log goes by default
    metrics(prog_name="python -m kedro_mlflow_metrics")
