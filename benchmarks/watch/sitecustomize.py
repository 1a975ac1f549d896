"""Notes which processes import MLflow and which HTTP requests they send; put on ``PYTHONPATH`` by a benchmark."""

from __future__ import annotations

import os
import sys

_FILE = os.open(os.environ["WATCHED"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
_METHODS = (b"GET ", b"POST ", b"PATCH ", b"PUT ", b"DELETE ")


def _note(event: str, arguments: tuple[object, ...]) -> None:
    """Write a line per request, and one or more per process that imports MLflow."""
    if event == "import" and str(arguments[0]).partition(".")[0] == "mlflow":
        os.write(_FILE, b"%d import\n" % os.getpid())
    elif event == "http.client.send" and isinstance(arguments[1], bytes) and arguments[1].startswith(_METHODS):
        os.write(_FILE, b"%d %s\n" % (os.getpid(), b" ".join(arguments[1].split(b" ", 2)[:2])))


sys.addaudithook(_note)
