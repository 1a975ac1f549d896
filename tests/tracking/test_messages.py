"""What MLflow or a database says, as one line of ours."""

from __future__ import annotations

import contextlib
import http.server
import socketserver
import ssl
import subprocess
import sys
import textwrap
import threading

import pytest

from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.tracking.address import Server
from kedro_mlflow_metrics.tracking.connect import open_store

WORDS = "the database said something long " * 20


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("first; second\nthird", "first; second"),
        ("\n  first [x]. \n", "first (x)"),
        ("no answer from http://ann:s3cret@host/ml", "no answer from http://host/ml"),
        ("the password s3cret is wrong", "the password *** is wrong"),
    ],
)
def test_one_line(text, line):
    """The first line of it, without square brackets, full stop or password."""
    assert Server("http://ann:s3cret@host/ml").one_line(text) == line


def test_a_long_one_is_cut_between_words():
    """Never inside a word."""
    line = Server("http://host").one_line(WORDS)
    assert line.endswith(" ...") and len(line) <= 310
    assert WORDS.startswith(line.removesuffix("...")) and line.split()[-2] in WORDS.split()


def test_the_reason_is_what_came_before_the_advice():
    """Also where the text of somebody else has semicolons of its own."""
    error = TrackingError("MLflow refused: a; b", "try c")
    assert (str(error), error.reason, error.advice) == ("MLflow refused: a; b; try c", "MLflow refused: a; b", "try c")


def refusal(uri):
    """Return the error of the first request to an address."""
    with pytest.raises(TrackingError) as error:
        open_store(Server(uri), retries=0, create=True).experiment("any")
    return error.value


@pytest.mark.parametrize(
    ("uri", "shown", "right"),
    [
        ("localhost:5000", "localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:5000", "127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("mlflow.example.com:80/ml", "mlflow.example.com:80/ml", "http://mlflow.example.com:80/ml"),
        ("ann:s3cret@host:5000", "host:5000", "http://host:5000"),
        ("htp://somewhere", "htp://somewhere", "http://somewhere"),
        ("htps://ann:s3cret@somewhere", "htps://somewhere", "https://somewhere"),
        ("http:/somewhere:5000", "http:/somewhere:5000", "http://somewhere:5000"),
        ("HTTPS://somewhere", "https://somewhere", "https://somewhere"),
    ],
)
def test_http_is_missing_or_misspelt(uri, shown, right):
    """The line has the corrected address, and no password."""
    error = refusal(uri)
    assert str(error) == (
        f"the address {shown} cannot work: http:// or https:// is missing or misspelt; "
        f"write {right} in tracking_uri in kedro_mlflow_metrics.yml or MLFLOW_TRACKING_URI"
    )
    assert not error.outage


@pytest.mark.parametrize("uri", ["ftp://127.0.0.1/x", "postgresql://u@h/x", "file:mlruns", "sqlite:///x.db", "mlruns"])
def test_another_scheme_is_not_taken_for_http(uri):
    """Nothing is corrected in it."""
    from kedro_mlflow_metrics.tracking.address import spelt_right

    assert not spelt_right(uri)


def test_databricks_without_a_login(tmp_path, monkeypatch):
    """What to set, or to call."""
    monkeypatch.setenv("HOME", str(tmp_path))
    error = refusal("databricks://nobody")
    assert str(error) == (
        "MLflow at databricks://nobody cannot be used: no login was found; set DATABRICKS_HOST and DATABRICKS_TOKEN "
        "or run 'databricks auth login'"
    )
    assert not error.outage


def test_databricks_without_its_package(tmp_path):
    """What to install; here another package of that name stands before it."""
    (tmp_path / "databricks").mkdir()
    (tmp_path / "databricks/__init__.py").touch()
    script = """
        import sys
        sys.path.insert(0, ".")
        from kedro_mlflow_metrics.errors import TrackingError
        from kedro_mlflow_metrics.tracking.address import Server
        from kedro_mlflow_metrics.tracking.connect import open_store
        try:
            open_store(Server("databricks")).experiment("any")
        except TrackingError as exc:
            print(exc, exc.outage)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == (
        "MLflow at databricks cannot be used: No module named 'databricks.sdk'; pip install databricks-sdk False"
    )


class Answer(http.server.BaseHTTPRequestHandler):
    """Always the same answer."""

    status, body = 200, b""

    def do_GET(self):
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):
        """Say nothing."""


@contextlib.contextmanager
def serving(tls=None, **answer):
    """Start a server that always answers the same; yields its address."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), type("Handler", (Answer,), answer))
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"Permission denied", ": Permission denied"),  # MLflow's own basic-auth app
        (
            b'{"error_code": "PERMISSION_DENIED", "message": "ann may not [EDIT] experiment 1."}',
            ": ann may not (EDIT) experiment 1",
        ),
        (b"<html>403</html>", ""),
        (b"", ""),
    ],
)
def test_a_user_who_may_not(body, words):
    """403 says nothing against the password: the line has the server's own words."""
    with serving(status=403, body=body) as uri:
        error = refusal(uri)
    assert str(error) == (
        f"MLflow at {uri} refused{words} (HTTP 403); this user may not do that: ask for the permission, or set "
        "other credentials or another experiment"
    )
    assert error.credentials and not error.outage


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate that nobody has signed but its owner."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(f"{path}.crt", path)
    return tls, f"{path}.crt"


def test_a_certificate_that_nobody_knows(certificate, monkeypatch):
    """The variables that help are named, and they help."""
    with serving(certificate[0], status=404, body=b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}') as uri:
        error = refusal(uri)
        assert str(error) == (
            f"MLflow at {uri} cannot be trusted: self-signed certificate; set MLFLOW_TRACKING_SERVER_CERT_PATH to the "
            "file of its certificate, or MLFLOW_TRACKING_INSECURE_TLS to true, which checks none"
        )
        assert not error.outage
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", certificate[1])
        assert open_store(Server(uri)).experiment("any") is None
        monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
        monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
        with pytest.warns(match="Unverified HTTPS request"):
            assert open_store(Server(uri)).experiment("any") is None
