"""MLflow's own server app, forked from a warm process so that a new one, or a killed one, is there within a second.

``python serve.py``: each line on standard input is JSON ``{"store", "port", "log"}``; it starts a server and prints its
process id.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
from importlib import import_module

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever an import prints is no answer
os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = "mlflow-artifacts:/"
try:
    import uvicorn
    from mlflow.server.fastapi_app import app

    def serve(port: int) -> None:
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_keep_alive=60)

except ImportError:  # MLflow 2
    from mlflow.server import app
    from werkzeug.serving import run_simple

    def serve(port: int) -> None:
        run_simple("127.0.0.1", port, app, threaded=True)


for name in (  # what the first request imports
    "alembic.command",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "psycopg2.extras",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
):
    with contextlib.suppress(ImportError):  # not every version has it, nor every environment
        import_module(name)
gc.collect()
gc.freeze()  # the children leave alone what they share

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # die with the process that forks
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the jobs are the factory's
        for number in (1, 2):
            os.dup2(log, number)
        os.environ["_MLFLOW_SERVER_FILE_STORE"] = job["store"]
        serve(job["port"])
        os._exit(0)
    print(child, file=answers, flush=True)
