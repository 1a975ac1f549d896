"""What stops a pipeline before it computes, in one line and within seconds; and who asks no server at all."""

from __future__ import annotations

import base64
import http.server
import re
import socketserver
import threading
import time
import traceback
import urllib.error
import urllib.request

import mlflow
import pytest
from kedro.io import DatasetError
from support.bench import until
from support.project import ENTRY
from support.proxy import Proxy, always
from support.server import free_port

from kedro_mlflow_metrics import MlflowMetricsDataSet
from kedro_mlflow_metrics.delivery.clock import outbox
from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.tracking.address import Server
from kedro_mlflow_metrics.tracking.connect import open_store


class Gate(http.server.BaseHTTPRequestHandler):
    """A proxy in front of a real server that wants a password and counts."""

    backend = ""
    password: str | None = None
    seen: list[str]

    def do_GET(self):
        self.seen.append(self.path)
        wanted = self.password and "Basic " + base64.b64encode(self.password.encode()).decode()
        if wanted and self.headers.get("Authorization") != wanted:
            return self._answer(401, b"<html>who are you</html>")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        request = urllib.request.Request(self.backend + self.path, body, method=self.command)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return self._answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            return self._answer(error.code, error.read())

    do_POST = do_GET

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def gate(request):
    """Start a gate; returns its address and its handler class."""
    handler = type("Handler", (Gate,), {"seen": []})
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()


def refused(project, *arguments, env=None):
    """Run, and return the one line that says why not; nothing was computed, and it took seconds."""
    begun = time.monotonic()
    out = project.kedro("run", *arguments, env=env, fails=True).stdout
    assert time.monotonic() - begun < 40
    assert "COMPUTED" not in out
    assert "Traceback" not in out
    (line,) = [line for line in out.splitlines() if line.startswith("Error: ")]
    assert out.rstrip().endswith(line)
    return line.removeprefix("Error: ")


def test_unreachable(simple):
    """Nobody listens, and the settings want to know at once."""
    simple.settings("on_failure: fail\n")
    port = free_port()
    assert refused(simple, env={"MLFLOW_TRACKING_URI": f"http://u:secret@127.0.0.1:{port}"}) == (
        f"MLflow at http://127.0.0.1:{port} cannot be reached: Connection refused; start the server or correct "
        "tracking_uri in kedro_mlflow_metrics.yml or MLFLOW_TRACKING_URI"
    )


def test_no_password_in_a_traceback():
    """An address with a password shows it in no line of the traceback either."""
    server = Server(f"http://u:pa55word@127.0.0.1:{free_port()}")
    with pytest.raises(TrackingError) as error:
        open_store(server, retries=0).get_run("x")
    assert "pa55word" not in "".join(traceback.format_exception(error.value))


def test_unreachable_database(simple):
    """A database that is not there is found out in seconds, not after MLflow's own 100."""
    simple.settings("on_failure: fail\n")
    port = free_port()
    line = refused(simple, env={"MLFLOW_TRACKING_URI": f"postgresql://u:secret@127.0.0.1:{port}/mlflow"})
    assert line.startswith(f"MLflow at postgresql://127.0.0.1:{port}/mlflow cannot be reached: ")
    assert "secret" not in line


def test_neither_server_nor_journal(simple):
    """What is wrong with both stands in one line, the server first."""
    simple.write("taken", "a file")
    simple.settings("journal: {path: taken/journal}\n")
    uri = f"http://127.0.0.1:{free_port()}"
    assert refused(simple, env={"MLFLOW_TRACKING_URI": uri}) == (
        f"MLflow at {uri} cannot be reached: Connection refused, and the journal {simple.root}/taken/journal cannot be "
        "written: Not a directory; start the server or correct tracking_uri in kedro_mlflow_metrics.yml or "
        "MLFLOW_TRACKING_URI; make room or set journal.path in kedro_mlflow_metrics.yml"
    )


def test_a_host_that_nobody_knows(simple):
    """It may be an outage, so the pipeline goes on; the warning says what to do if it is a typo, and that works."""
    simple.settings("tracking_uri: http://nobody.invalid\n")
    out = simple.kedro("run").stdout
    (warning,) = [line for line in out.splitlines() if line.startswith("WARNING kedro.mlflow_metrics")]
    begin, _, end = warning.partition("; start ")
    assert re.fullmatch(r".* MLflow at http://nobody\.invalid cannot be reached: [\w ]+", begin)
    assert re.fullmatch(
        r"the server or correct tracking_uri in kedro_mlflow_metrics\.yml or MLFLOW_TRACKING_URI\. "
        r"The pipeline goes on; its metrics wait in \S+; 'kedro metrics sync' sends what is left, "
        r"with --to URI elsewhere",
        end,
    )
    simple.settings("")
    simple.kedro("metrics", "sync", "--to", simple.store.uri)
    assert simple.store.points() == {"m.a": [(0, 1.0)]}


@pytest.mark.parametrize("uri", ["htp://somewhere", "ftp://127.0.0.1/x", "http://", "sqlite:////proc/no/mlflow.db"])
def test_an_address_that_can_never_work(simple, uri):
    """The line names the address."""
    simple.settings(f"tracking_uri: {uri}\n")
    assert uri in refused(simple)


def test_not_a_database(simple):
    """A SQLite address that points to some other file."""
    simple.write("other.db", "this is no database, " * 100)
    simple.settings("tracking_uri: sqlite:///other.db\n")
    line = refused(simple)
    assert line == f"MLflow at sqlite:///{simple.root}/other.db cannot be used: file is not a database"


@pytest.mark.parametrize("answer", [b"<html>login</html>", b"{}"], ids=["page", "object"])
def test_not_mlflow(simple, gate, answer):
    """Something answers there, but not MLflow."""
    uri, handler = gate
    handler.do_GET = lambda self: self._answer(200, answer)
    simple.settings(f"tracking_uri: {uri}\non_failure: fail\n")
    assert refused(simple) == (
        f"MLflow at {uri} did not answer as MLflow does (HTTP 200); is it the address of a tracking server?"
    )


def test_refused_credentials(simple, gate):
    """A wrong password."""
    uri, handler = gate
    handler.password = "me:right"
    env = {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": "wrong-one",
    }
    line = refused(simple, env=env)
    assert line == (
        f"MLflow at {uri} refused the credentials (HTTP 401); set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN, or 'credentials' in kedro_mlflow_metrics.yml"
    )


@pytest.mark.parametrize("runner", ["SequentialRunner", "ParallelRunner"])
def test_secrets_reach_the_server_and_nothing_else(simple, gate, server, runner):
    """What credentials.yml holds is used in workers too, and stands in no log, tag or store."""
    uri, handler = gate
    handler.backend, handler.password = server[0], "me:pa55word-x"
    simple.write(
        "conf/local/credentials.yml",
        "tracker:\n  mlflow_tracking_username: me\n  mlflow_tracking_password: pa55word-x\n",
    )
    simple.settings(f"tracking_uri: {uri}\ncredentials: tracker\nexperiment: secrets-{runner}\n")
    done = simple.kedro("run", "--runner", runner, env={"KEDRO_MP_CONTEXT": "spawn"})
    assert handler.seen
    assert "pa55word-x" not in done.stdout
    assert "pa55word-x" not in str(server[1].rows("SELECT key, value FROM tags"))
    rows = server[1].rows(
        "SELECT m.key, m.value FROM metrics m JOIN runs r ON m.run_uuid = r.run_uuid "
        "JOIN experiments e ON e.experiment_id = r.experiment_id WHERE e.name = ?",
        f"secrets-{runner}",
    )
    assert rows == [("m.a", 1.0)]


@pytest.mark.parametrize("way", ["parameter", "entry", "environment"])
def test_unknown_run(simple, way):
    """A run id that does not exist."""
    arguments, env = (), {}
    if way == "parameter":
        arguments = ("--params", "mlflow_run_id=nobody")
    elif way == "environment":
        env = {"MLFLOW_RUN_ID": "nobody"}
    else:
        simple.catalog(ENTRY.replace("}", ", run_id: nobody}"))
    assert refused(simple, *arguments, env=env) == (
        f"MLflow at {simple.store.uri} has no run 'nobody'; correct the run id, or the address"
    )
    assert simple.store.runs == []


def test_unknown_run_of_one_of_two_entries(simple):
    """One entry names a run that does not exist: the other's run is not opened either."""
    simple.catalog(ENTRY + ENTRY.replace("m:", "n:").replace("}", ", run_id: nobody}"))
    assert "has no run 'nobody'" in refused(simple, "--pipeline", "two")
    assert simple.store.runs == []


def test_deleted_run_and_experiment(simple):
    """Both say how to restore them."""
    from mlflow import MlflowClient

    client = MlflowClient(simple.store.uri)
    ident = client.create_experiment("gone")
    run = client.create_run("0").info.run_id
    client.delete_run(run)
    client.delete_experiment(ident)
    assert refused(simple, "--params", f"mlflow_run_id={run}") == (
        f"the run '{run}' in MLflow at {simple.store.uri} is deleted; restore it with "
        f"'mlflow runs restore --run-id {run}' or choose another"
    )
    simple.settings("experiment: gone\n")
    assert refused(simple) == (
        f"the experiment 'gone' in MLflow at {simple.store.uri} is deleted; restore it with "
        f"'mlflow experiments restore --experiment-id {ident}' or set another 'experiment' in "
        "kedro_mlflow_metrics.yml"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tracking_url: x", "there is no setting 'tracking_url'; did you mean 'tracking_uri'?"),
        ("run: {nam: x}", "there is no setting 'run.nam'; did you mean 'name'?"),
        ("timeout: soon", "'timeout' is 'soon'; accepted: a number"),
        ("enabled: perhaps", "'enabled' is 'perhaps'; accepted: true or false"),
        ("run: nightly", "'run' is 'nightly'; accepted: a group of keys"),
        ("journal:", "'journal' is empty; accepted: a group of keys"),
        ("credentials: {MLFLOW_TRACKING_TOKEN: s3cret}", "'credentials' is a group of keys; accepted: text"),
        ("disabled_pipelines: {ns: true}", "'disabled_pipelines' is a group of keys; accepted: a list"),
        ("disabled_pipelines: [ns, [a]]", "'disabled_pipelines.1' is a list; accepted: text"),
        ("journal: {max_bytes: 1.5}", "'journal.max_bytes' is 1.5; accepted: a whole number"),
        (
            "separator: '@'",
            "'separator': MLflow does not take it in a name; accepted: . or / or another of _ - : and space",
        ),
        (
            "credentials: tracker",
            "credentials.yml has no key 'tracker' with a dict of MLflow's environment "
            "variables, such as MLFLOW_TRACKING_TOKEN",
        ),
    ],
)
def test_settings(simple, text, message):
    """A typo in the settings is an error with a close match."""
    simple.settings(text + "\n")
    assert refused(simple) == f"kedro_mlflow_metrics.yml: {message}"


def test_pipelines_of_which_some_are_switched_off(simple):
    """One run logs all of them or none."""
    if "--pipelines" not in simple.kedro("run", "--help").stdout:
        pytest.skip("this Kedro runs one pipeline at a time")
    simple.settings("disabled_pipelines: [breaks, waits]\n")
    assert refused(simple, "--pipelines", "__default__,breaks") == (
        "kedro_mlflow_metrics.yml: 'disabled_pipelines' has 'breaks' and not '__default__', and this run has both; "
        "run them apart, or name all of them or none"
    )
    assert simple.store.runs == []


def test_prefix(simple):
    """A prefix that MLflow does not take."""
    simple.catalog(ENTRY.replace("}", ', prefix: "loss (%)"}'))
    assert refused(simple) == (
        "dataset 'm': MLflow does not take the prefix 'loss (%)'; give the entry one that it takes, "
        "such as prefix: loss _"
    )


@pytest.mark.newest  # Kedro 0.19's catalog builds its datasets before any hook, and fails in words of its own
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("prefx: a", "there is no argument 'prefx'; did you mean 'prefix'?"),
        ("load_arg: {as: last}", "there is no argument 'load_arg'; did you mean 'load_args'?"),
        (
            "credentials: x",
            "there is no argument 'credentials'; accepted: "
            "prefix, key, run_id, filepath, load_args, save_args, metadata",
        ),
        (
            "versioned: true, filepath: data/m.json",
            "every MLflow run is a version of its metrics; remove 'versioned' from this entry, and 'filepath' too "
            "unless Kubeflow reads the file",
        ),
    ],
)
@pytest.mark.parametrize("name", ["m", '"{any}"'])
def test_an_argument_of_an_entry(simple, argument, message, name):
    """One that is not accepted is refused in one line, in an entry of a factory too."""
    simple.write("conf/local/credentials.yml", "x: {}\n")
    simple.catalog(ENTRY.replace("m:", f"{name}:").replace("}\n", f", {argument}}}\n"))
    assert refused(simple) == f"dataset 'm': {message}"
    assert simple.store.runs == []


def test_a_hook_that_is_switched_off(simple):
    """Without it names would have no prefix, in a run with a random name; the hook in HOOKS is as good."""
    disabled = 'DISABLE_HOOKS_FOR_PLUGINS = ("kedro-mlflow-metrics",)\n'
    simple.write("src/proj/settings.py", disabled)
    out = simple.kedro("run", fails=True).stdout
    assert (
        "DISABLE_HOOKS_FOR_PLUGINS in settings.py has 'kedro-mlflow-metrics': without its hook, metrics have no prefix "
        "and no run; remove the name, and to log nothing set 'enabled: false' in kedro_mlflow_metrics.yml"
    ) in out.splitlines()[-2]
    assert "COMPUTED" not in out
    assert simple.store.runs == []
    hooks = "from kedro_mlflow_metrics import MlflowPipelineHook\nHOOKS = (MlflowPipelineHook(),)\n"
    simple.write("src/proj/settings.py", disabled + hooks)
    simple.kedro("run")
    assert simple.store.points() == {"m.a": [(0, 1.0)]}


def test_nobody_asks_the_server(simple, gate):
    """Catalog and registry commands, a notebook's catalog and a run without metrics make no request."""
    uri, handler = gate
    simple.settings(f"tracking_uri: {uri}\n")
    help_text = simple.kedro("catalog", "--help").stdout
    command = "describe-datasets" if "describe-datasets" in help_text else "list"
    simple.kedro("catalog", command)
    simple.kedro("registry", "list")
    simple.kedro("run", "--pipeline", "without")
    out = simple.python("""
        from pathlib import Path
        import sys
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        from kedro.ipython import reload_kedro
        reload_kedro(Path.cwd())
        catalog = shell.user_ns["catalog"]
        print(catalog["m"] if not hasattr(catalog, "_get_dataset") else catalog._get_dataset("m"))
        print("MLFLOW", "mlflow" in sys.modules)
    """)
    assert "MlflowMetricsDataSet(" in out
    assert "MLFLOW False" in out
    assert handler.seen == []


def test_requests_of_a_run(simple, gate, server):
    """A run with one metrics dataset makes five requests: experiment (2), run, batch, end."""
    uri, handler = gate
    handler.backend = server[0]
    simple.settings(f"tracking_uri: {uri}\nexperiment: counted\n")
    simple.kedro("run")
    assert [path.partition("?")[0].removeprefix("/api/2.0/mlflow/") for path in handler.seen] == [
        "experiments/get-by-name",
        "experiments/create",
        "runs/create",
        "runs/log-batch",
        "runs/update",
    ]


def test_refused_after_an_outage(server, tmp_path, monkeypatch):
    """Who was never accepted hears of it at the next save; what was kept during the outage is sent later."""
    monkeypatch.chdir(tmp_path)
    uri, store = server
    proxy = Proxy(uri)
    mlflow.set_tracking_uri(proxy.uri)
    try:
        run_id = mlflow.MlflowClient(uri).create_run("0").info.run_id
        metrics = MlflowMetricsDataSet(prefix="m", run_id=run_id)
        proxy.plan = always("500")
        metrics.save({"a": 1})
        proxy.plan = always("401")
        until(lambda: any(action == "401" for _, action, _ in proxy.seen))
        until(lambda: not outbox(metrics._stream.last)._sending.locked())
        with pytest.raises(DatasetError, match="refused the credentials"):
            metrics.save({"a": 2})
        proxy.plan = always("pass")
        until(lambda: store.points(run_id) == {"m.a": [(0, 1)]})
    finally:
        mlflow.set_tracking_uri(None)
        proxy.close()
