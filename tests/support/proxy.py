"""A proxy in front of a server that misbehaves on demand, and plans for it."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import inspect
import socketserver
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

OVERLOADED = b"""{"error_code": "BAD_REQUEST", "message": "QueuePool limit of size 5 overflow 10 reached, connection \
timed out, timeout 30.00 (Background on this error at: https://sqlalche.me/e/20/3o7r)"}"""


class Proxy:
    """A proxy in front of a server; ``plan`` decides what happens to each request.

    Attributes:
        plan: Called with the request's path and its number (from 0), and with its body if it takes a third
            argument; returns one of: ``pass``, ``refuse`` (hang up without an answer), ``lose`` (let the server
            do it, then hang up), ``cut`` (let the server do it, send half of the answer), ``delay SECONDS``,
            ``redirect`` (302 to a login page that answers 200), ``invalid`` (400 with MLflow's own JSON for a bad
            parameter), ``overload`` (400 with MLflow's own JSON for a database that has no connection left), or a
            status such as ``401``, ``404``, ``413``, ``429`` (with ``Retry-After: 1``), ``500``, ``503``.
        seen: Path, action and body of every request so far.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.plan: Callable[[str, int], str] | Callable[[str, int, bytes], str] = lambda _path, _number: "pass"
        self.seen: list[tuple[str, str, bytes]] = []
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    proxy: Proxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy = self.proxy
        seen = (self.path, len(proxy.seen), body)
        action = proxy.plan(*seen[: len(inspect.signature(proxy.plan).parameters)])
        proxy.seen.append((self.path, action, body))
        if action.startswith("delay"):
            time.sleep(float(action.split()[1]))
        if self.path.startswith("/login"):
            self._answer(200, b"<html>who are you</html>")
        elif action == "redirect":
            self._answer(302, b"", Location="/login")
        elif action == "invalid":
            self._answer(400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "that is no metric"}')
        elif action == "overload":
            self._answer(400, OVERLOADED)
        elif action.isdigit():
            headers = {"Retry-After": "1"} if action == "429" else {}
            self._answer(int(action), b"<html>" + action.encode() + b"</html>", **headers)
        elif action != "refuse":
            status, answer = self._forward(body)
            if action == "cut":
                self._answer(status, answer, cut=True)
            elif action != "lose":
                self._answer(status, answer)

    do_POST = do_GET

    def _forward(self, body: bytes) -> tuple[int, bytes]:
        there = http.client.HTTPConnection(urlsplit(self.proxy.backend).netloc, timeout=60)
        try:
            there.request(self.command, self.path, body, {"Content-Type": "application/json"})
            answer = there.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 502, b"<html>bad gateway</html>"
        finally:
            there.close()

    def _answer(self, status: int, body: bytes, *, cut: bool = False, **headers: str) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body) + 10 * cut), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def on_batches(action: str, numbers: range) -> Callable[..., str]:
    """Plan a fault for some of the batches."""
    seen = iter(range(10**9))
    return lambda path, _number: action if "log-batch" in path and next(seen) in numbers else "pass"


def from_batch(first: int, action: str) -> Callable[..., str]:
    """Plan a fault for everything from some batch on."""
    seen: list[str] = []

    def plan(path: str, _number: int) -> str:
        seen.extend([path] if "log-batch" in path else [])
        return action if len(seen) > first else "pass"

    return plan


def large(limit: int) -> Callable[..., str]:
    """Plan 413 for large bodies."""
    return lambda _path, _number, body: "413" if len(body) > limit else "pass"


def always(action: str) -> Callable[..., str]:
    return lambda _path, _number: action
