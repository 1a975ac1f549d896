"""``kedro metrics ui``: opens MLflow's pages where the metrics of the project are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.request import ProxyHandler, build_opener

import click

from kedro_mlflow_metrics.cli.common import in_project
from kedro_mlflow_metrics.errors import MetricsError
from kedro_mlflow_metrics.process import catch_sigterm
from kedro_mlflow_metrics.runs import find
from kedro_mlflow_metrics.tracking.address import page
from kedro_mlflow_metrics.tracking.runs import asked_for, known_experiment

if TYPE_CHECKING:
    from kedro_mlflow_metrics.project.binding import Binding
    from kedro_mlflow_metrics.tracking.address import Server

__all__ = ["ui"]

_PORT = 5000  # MLflow's own
_START_SECONDS, _LOOK_SECONDS = 120, 0.1


@click.command()
@click.argument("run", required=False)
@click.option("--port", "-p", type=int, help=f"For a local store; by default {_PORT}, or a free one if it is taken.")
@click.option("--no-browser", is_flag=True, help="Print the link, open nothing.")
@in_project
def ui(here: Binding, *, run: str | None, port: int | None, no_browser: bool) -> None:
    """Open MLflow's pages at the project's runs, or at the charts of RUN.

    For a database or a folder MLflow's pages are served from here until Ctrl-C. RUN is an id, the
    first 6 or more characters of one, a name, 'latest', or 'latest~1' for the run before that.
    """
    server, target = here.server, find.named(here, run) if run else None
    if target is not None and target.offline:
        raise MetricsError(f"MLflow does not have the run {run!r} yet", f"send it: {here.journal.command('sync')}")
    ident, name = asked_for(server, here.experiment)
    experiment = target.record.experiment_id if target else ident or known_experiment(server, name)
    if not experiment:
        raise MetricsError(f"{server.where} has no experiment {name!r} yet", "run a pipeline that saves metrics")
    run_id = target.record.run_id if target else ""
    if server.http:
        _show(page(server.safe, experiment, run_id), no_browser=no_browser)
        return
    if server.uri.startswith("databricks"):
        raise MetricsError(f"{server.where} has pages of its own", "open them there")
    port = _free_port(port)
    catch_sigterm(catch=True)
    process = _serve(server, port)
    try:
        _wait(process, port)
        _show(page(f"http://127.0.0.1:{port}", experiment, run_id), no_browser=no_browser)
        click.echo("Press Ctrl-C to end.", err=True)
        while process.poll() is None:  # a library that catches SIGINT, as polars does, would have `wait` go on
            time.sleep(_LOOK_SECONDS)
        raise MetricsError("MLflow's server has ended", "its own words stand above")
    except KeyboardInterrupt:
        click.echo(err=True)
    finally:
        _stop(process)


def _show(link: str, *, no_browser: bool) -> None:
    click.echo(link)
    if not no_browser:
        webbrowser.open(link)


def _free_port(wanted: int | None) -> int:
    for port in (_PORT, 0) if wanted is None else (wanted,):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)) as found:
            return int(found.getsockname()[1])
    raise MetricsError(f"the port {wanted} is taken", "choose another with --port")


def _serve(server: Server, port: int) -> subprocess.Popen[bytes]:
    """Start MLflow's server on a store; the address goes by the environment, where nobody else reads its password."""
    light = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "UVICORN_LOG_LEVEL": "warning", **server.variables}
    return subprocess.Popen(  # noqa: S603 - MLflow's own command
        [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        env={**light, **os.environ, "MLFLOW_BACKEND_STORE_URI": server.uri},
        stdout=sys.stderr,
        start_new_session=True,
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it has started."""
    if sys.platform == "win32":
        process.terminate()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the server answers, or ends."""
    ask, end = build_opener(ProxyHandler({})).open, time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError), ask(f"http://127.0.0.1:{port}/health", timeout=1):
            return
        time.sleep(_LOOK_SECONDS)
    raise MetricsError("MLflow's server did not start", "its own words stand above")
