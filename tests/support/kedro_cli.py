"""The real ``kedro`` command in tenths of a second."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path


class WarmKedro:
    """Starts the real ``kedro`` command in tenths of a second, by forking a process that has imported it."""

    def __init__(self) -> None:
        command = [sys.executable, Path(__file__).with_name("warm.py")]
        self._factory = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._number = 0
        atexit.register(self.close)

    def start(self, root: Path, *arguments: str, env: dict[str, str] | None = None, ours: bool = False) -> Command:
        """Start ``kedro ARGUMENTS`` in a project, or ``python -m kedro_mlflow_metrics ARGUMENTS``, errors apart."""
        self._number += 1
        out = root / f"out-{self._number}.txt"
        logging = {"KEDRO_LOGGING_CONFIG": str(root / "conf/logging.yml")}
        job = {
            "cwd": str(root),
            "arguments": arguments,
            "env": {**os.environ, **logging, **(env or {})},
            "out": str(out),
            "err": f"{out}.err" if ours else str(out),
            "ours": ours,
        }
        self._factory.stdin.write(json.dumps(job) + "\n")
        self._factory.stdin.flush()
        return Command(int(self._factory.stdout.readline()), out)

    def run(self, root: Path, *arguments: str, env: dict[str, str] | None = None, code: int | None = 0) -> str:
        """Run ``kedro ARGUMENTS`` to its end, with any exit code if ``code`` is None; return its output."""
        command = self.start(root, *arguments, env=env)
        found = command.wait()
        assert code is None or found == code, command.output
        return command.output

    def answer(self, root: Path, *arguments: str, env: dict[str, str] | None = None, code: int = 0) -> tuple[str, str]:
        """Run ``python -m kedro_mlflow_metrics ARGUMENTS`` to its end; return its answer, and what else it said."""
        command = self.start(root, *arguments, env=env, ours=True)
        found = command.wait()
        assert found == code, command.output + command.errors
        return command.output, command.errors

    def close(self) -> None:
        self._factory.stdin.close()
        self._factory.wait(20)


class Command:
    """A ``kedro`` command that `WarmKedro` started."""

    def __init__(self, pid: int, out: Path) -> None:
        self.pid, self._out = pid, out

    @property
    def output(self) -> str:
        return self._out.read_text()

    @property
    def errors(self) -> str:
        return Path(f"{self._out}.err").read_text()

    @property
    def alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float = 120) -> int | None:
        """Wait for the end; return the exit code, None if it was killed."""
        deadline = time.monotonic() + seconds
        while self.alive:
            assert time.monotonic() < deadline, self.output
            time.sleep(0.01)
        code = Path(f"{self._out}.code")
        return int(code.read_text()) if code.exists() else None


@cache
def warm_kedro() -> WarmKedro:
    """Return the one of this test process."""
    return WarmKedro()
