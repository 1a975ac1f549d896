"""No secret is written down."""

from __future__ import annotations

from support.journal import save
from support.server import free_port

from kedro_mlflow_metrics.delivery import clock
from kedro_mlflow_metrics.journal.folder import Journal
from kedro_mlflow_metrics.journal.points_file import waiting_points
from kedro_mlflow_metrics.journal.session import notes_in
from kedro_mlflow_metrics.project.binding import Binding
from kedro_mlflow_metrics.project.context import Project, RunRequest
from kedro_mlflow_metrics.project.settings import read_settings
from kedro_mlflow_metrics.runs import ending
from kedro_mlflow_metrics.runs.choose import Chooser
from kedro_mlflow_metrics.tracking.address import Server


def test_no_secret(tmp_path):
    """No password, token or query of an address, a tag or a variable stands in the journal."""
    uri = f"http://ann:s3cret@127.0.0.1:{free_port()}/ml?token=s3cret"
    variables = {"MLFLOW_TRACKING_PASSWORD": "s3cret", "MLFLOW_TRACKING_TOKEN": "s3cret"}
    about = Binding(server=Server(uri, 2.0, variables), journal=Journal(str(tmp_path)), experiment="Default")
    tags = {"repository": "https://s3cret@github.com/a/b", "build": "https://ci.example/1?token=s3cret"}
    run = read_settings({"run": {"tags": tags}}, {})
    project, request = Project(tmp_path, "p", "", {}), RunRequest(("p",), {}, {"key": "s3cret"}, "", "")
    chosen = Chooser(project, about, run, request, saves=True).choose()
    target = chosen.target
    clock.outbox(target).save(save(0), print)
    assert ending.end(target, chosen.note, "FINISHED", owner=True) is not None
    assert sum(map(len, waiting_points(target.folder))) == 3
    (found,) = notes_in(target.folder)
    assert "127.0.0.1" in found.note.reason
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"github.com/a/b" in written
    assert b"s3cret" not in written
    assert "127.0.0.1" in repr(target)
    assert "s3cret" not in repr(about) + repr(target)
