"""MLflow's own server app, forked from a warm process so that a killed one is back within a second.

``python serve.py STORE PORT``: each line on standard input starts a server and prints its process id.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

store, port = sys.argv[1], int(sys.argv[2])
os.environ["_MLFLOW_SERVER_FILE_STORE"] = store
os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = "mlflow-artifacts:/"
try:
    import uvicorn
    from mlflow.server.fastapi_app import app

    def serve() -> None:
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_keep_alive=60)

except ImportError:  # MLflow 2
    from mlflow.server import app
    from werkzeug.serving import run_simple

    def serve() -> None:
        run_simple("127.0.0.1", port, app, threaded=True)


signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in sys.stdin:
    child = os.fork()
    if not child:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # die with the process that forks
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        serve()
        os._exit(0)
    print(child, flush=True)
