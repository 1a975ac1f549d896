"""Streams that are interrupted, forked, or change their run: nothing is missing, and the next dict goes at once."""

from __future__ import annotations

import pytest

START = """
import os, signal, sqlite3, sys, threading, time
import mlflow
from kedro_mlflow_metrics import MlflowMetricsDataSet
mlflow.set_tracking_uri("sqlite:///" + os.path.abspath("mlflow.db"))
def count(key, run="%", store="mlflow.db"):
    query = "SELECT COUNT(*) FROM metrics WHERE key LIKE ? AND run_uuid LIKE ?"
    return sqlite3.connect(store).execute(query, (key, run)).fetchone()[0]
"""


@pytest.fixture
def script(project):
    """Run a script beside an empty store; it fails the test if an assertion in it fails."""
    return lambda code, **more: project.python(START + code, **more)


@pytest.mark.parametrize("pause", [0.5, 0.95, 1.0])
def test_a_folder_store_has_all_when_the_iterator_ends(script, pause):
    """Also if it ends while the background thread sends, where nothing may be sent twice."""
    script(
        f"""
mlflow.set_tracking_uri("file://" + os.path.abspath("mlruns"))
metrics = MlflowMetricsDataSet(prefix="m")
def values():
    for number in range(300):
        yield {{f"k{{number}}": number}}
    time.sleep({pause})
with mlflow.start_run() as run:
    metrics.save(values())
    assert len(mlflow.get_run(run.info.run_id).data.metrics) == 300
""",
        env={"MLFLOW_ALLOW_FILE_STORE": "true"},
    )


def test_another_address_is_another_run(script):
    """A dataset with a ``run_id`` follows `mlflow.set_tracking_uri`, also where both stores have a run of that id."""
    script("""
import shutil
run_id = mlflow.MlflowClient().create_run("0").info.run_id
shutil.copy("mlflow.db", "other.db")
metrics = MlflowMetricsDataSet(prefix="m", run_id=run_id)
metrics.save({"a": 1})
mlflow.set_tracking_uri("sqlite:///" + os.path.abspath("other.db"))
metrics.save({"a": 2})
assert (count("m.a"), count("m.a", store="other.db")) == (1, 1)
""")


def test_a_fork_while_a_server_hangs(script):
    """Neither the parent nor the child hangs, whatever begins in other threads meanwhile."""
    script("""
import http.server, socketserver
hang, free = threading.Event(), threading.Event()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if hang.is_set() and b'"run_id":"A"' in body:
            free.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    def log_message(self, *_):
        pass
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
mlflow.set_tracking_uri(f"http://127.0.0.1:{server.server_address[1]}")
a, b, c = (MlflowMetricsDataSet(prefix="m", run_id=run) for run in "ABC")
b.save({"y": 0})
def values():
    yield {"x": 1}
    hang.set()
    yield {"x": 2}
    time.sleep(1.5)  # the background thread sends, and hangs
    threading.Thread(target=lambda: (time.sleep(0.5), c.save({"y": 1}))).start()
    if not (child := os.fork()):
        from kedro_mlflow_metrics.delivery import clock
        os._exit(len(clock._clock.value.boxes))  # it has begun anew
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    hang.clear()
    free.set()
a.save(values())
b.save({"y": 2})
""")


def test_a_bad_yield_ends_the_stream_of_a_node(script):
    """The error keeps the generator alive; what is saved afterwards is sent at once all the same."""
    script("""
from kedro.io import DataCatalog
from kedro.pipeline import node, pipeline
from kedro.runner import SequentialRunner
from kedro.framework.hooks.manager import _create_hook_manager
from kedro_mlflow_metrics.hook import hook
metrics, manager = MlflowMetricsDataSet(prefix="m"), _create_hook_manager()
manager.register(hook)
def values():
    yield from ({"loss": number} for number in range(5))
    yield {"loss": "bad"}
with mlflow.start_run():
    try:
        SequentialRunner().run(pipeline([node(values, None, "m")]), DataCatalog({"m": metrics}), hook_manager=manager)
    except Exception as exc:
        kept = exc
    for number in range(3):
        metrics.save({"acc": number})
        assert count("m.acc") == number + 1
""")


def test_a_child_in_the_middle_of_a_stream(script):
    """A dict that it saves is in MLflow when its save returns."""
    script("""
metrics = MlflowMetricsDataSet(prefix="m")
def values():
    yield {"loss": 0}
    yield {"loss": 1}
    if not (child := os.fork()):
        for number in range(3):
            metrics.save({f"child{number}": number})
        os._exit(0)
    os.waitpid(child, 0)
    assert count("m.child%") == 3
    yield {"loss": 2}
with mlflow.start_run():
    metrics.save(values())
assert count("m.loss") == 3
""")


def test_the_run_changes_in_the_middle(script):
    """All of each run is there when the save returns."""
    script("""
metrics, runs = MlflowMetricsDataSet(prefix="m"), []
def values():
    for _ in range(3):
        with mlflow.start_run() as run:
            runs.append(run.info.run_id)
            yield from ({"loss": number} for number in range(5))
metrics.save(values())
assert [count("m.loss", run) for run in runs] == [5, 5, 5]
""")


KEDRO = """
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
bootstrap_project(os.getcwd())
"""


@pytest.fixture
def kedro_script(project):
    project.catalog("m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}\n")
    project.pipeline("""
        import time
        from kedro.pipeline import node, pipeline
        def metrics(parameters):
            time.sleep(parameters.get("seconds", 0))
            return {"a": 1}
        def register_pipelines():
            return {"__default__": pipeline([node(metrics, "parameters", "m"), node(lambda m: None, "m", None)])}
    """)
    return lambda code, **more: project.python(START + KEDRO + code, **more)


def test_switched_off_leaves_nothing(kedro_script, project, tmp_path):
    """Neither open files while the process lives nor temporary folders after it."""
    project.settings("enabled: false\n")
    (tmp_path / "temporary").mkdir()
    kedro_script(
        """
for _ in range(3):
    with KedroSession.create() as session:
        session.run()
opened = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
assert not [path for path in opened if os.path.exists(path) and os.readlink(path).endswith(".jsonl")]
""",
        env={"TMPDIR": str(tmp_path / "temporary")},
    )
    assert not list((tmp_path / "temporary").glob("kedro_mlflow_metrics_*"))


def test_the_handler_of_sigterm_is_put_back(kedro_script):
    """Also if a session in another thread ends last."""
    kedro_script("""
def run(seconds):
    try:
        session = KedroSession.create(runtime_params={"seconds": seconds})
    except TypeError:  # Kedro 0.19
        session = KedroSession.create(extra_params={"seconds": seconds})
    with session:
        session.run()
other = threading.Thread(target=run, args=(4,))
other.start()
run(0)
other.join()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
""")


def test_a_generator_keeps_what_it_returns(project):
    """A generator that goes to another dataset beside ours is passed on with its result."""
    project.catalog("""
        m: {type: kedro_mlflow_metrics.MlflowMetricsDataSet}
        g: {type: MemoryDataset, copy_mode: assign}
    """)
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def numbers():
            yield 1
            return 42
        def both():
            return numbers(), {"loss": 1.0}
        def use(g):
            def inner():
                print("RETURNED", (yield from g))
            list(inner())
        def register_pipelines():
            return {"__default__": pipeline([node(both, None, ["g", "m"]), node(use, "g", None)])}
    """)
    assert "RETURNED 42" in project.kedro("run").stdout
