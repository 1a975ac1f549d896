"""The real ``kedro`` command, forked from a process that has imported everything: a start in tenths of a second.

``python warm.py``: each line on standard input is JSON ``{"cwd", "arguments", "env", "out", "err", "ours"}``; the
answer is the child's process id. Its output goes to ``out`` and ``err``, its exit code to ``out`` + ``.code`` unless it
is killed. It is ``python -m kedro_mlflow_metrics`` if that is asked for as ``ours``.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import os
import signal
import sys
import traceback
import types
from importlib import import_module
from pathlib import Path

import yaml

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever an import prints is no answer

for name in (
    "IPython",
    "alembic.command",
    "fsspec.implementations.local",
    "git",
    "kedro.framework.cli.cli",
    "kedro.runner",
    "kedro_telemetry.plugin",
    "mlflow.store.tracking.file_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "requests",
    "rich.progress",
    "sqlalchemy.dialects.sqlite",
    "kedro_mlflow_metrics.cli.compare",
    "kedro_mlflow_metrics.cli.export",
    "kedro_mlflow_metrics.cli.import_",
    "kedro_mlflow_metrics.cli.plot",
    "kedro_mlflow_metrics.cli.sync",
    "kedro_mlflow_metrics.dataset",
    "kedro_mlflow_metrics.hook",
    "kedro_mlflow_metrics.project.settings",
    "kedro_mlflow_metrics.runs.lifetime",
    "kedro_mlflow_metrics.tracking.client",
):
    with contextlib.suppress(ImportError):  # not every environment of the tests has all of them
        import_module(name)
inspect.stack()  # Kedro's settings ask for the files of all modules: from now on they are known
gc.collect()
gc.freeze()  # the children leave alone what they share


def run(job: dict) -> int:
    os.setsid()
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    for number, name in ((1, job["out"]), (2, job["err"])):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the jobs are the factory's
    sys.modules["__main__"] = types.ModuleType("__main__")  # a spawned worker would run this file again
    logging = Path(job["env"]["KEDRO_LOGGING_CONFIG"])
    sys.modules["kedro.framework.project"].LOGGING.configure(yaml.safe_load(logging.read_text()))
    sys.argv = ["kedro", *job["arguments"]]
    try:
        (sys.modules["kedro_mlflow_metrics.cli" if job["ours"] else "kedro.framework.cli.cli"]).main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


for line in sys.stdin:
    job = json.loads(line)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    child = os.fork()
    if not child:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - for life
        code = 1
        try:
            code = run(job)
        finally:
            # As at the end of any process: exit handlers first, then out without those of the parent.
            import atexit

            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            Path(job["out"] + ".code").write_text(str(code))
            os._exit(code)
    print(child, file=answers, flush=True)
