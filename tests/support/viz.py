"""A real Kedro-Viz, from a folder of its own: installed beside us its hooks would run in every test."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

VIZ = Path(__file__).parents[2] / ".viz"
KEDRO = Path(sys.executable).with_name("kedro")


def environment() -> dict[str, str]:
    """Return what lets ``kedro`` find Kedro-Viz."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(VIZ), os.environ.get("PYTHONPATH"))))}


@contextmanager
def kedro_viz(project: Path, *options: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Start ``kedro viz run`` in a project; lend its address, and the ids of its nodes by name."""
    port = next(port for port in range(4141, 5000) if _free(port))  # it takes none above 49151
    command = [KEDRO, "viz", "run", "--no-browser", "--port", str(port), *options]
    process = subprocess.Popen(
        command, cwd=project, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        nodes = _nodes(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}", {node["name"]: node["id"] for node in nodes}
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait()


def _free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def _nodes(address: str, process: subprocess.Popen[bytes]) -> list[dict[str, str]]:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), urlopen(f"{address}/api/main", timeout=5) as answer:
            return json.load(answer)["nodes"]
        time.sleep(0.5)
    raise AssertionError("kedro viz did not start")
