"""The hook: it finds the metrics of a pipeline, and is not in the way of others."""

from __future__ import annotations

import pytest
from support.project import ENTRY


def test_without_metrics(simple):
    """A pipeline without metrics datasets opens no run and never imports mlflow."""
    out = simple.kedro("run", "--pipeline", "without", cold=True).stdout
    assert "MLFLOW LOADED False" in out
    assert simple.store.runs == []


def test_hook_twice(simple):
    """The hook from the entry point and from settings.py at once logs once, into one run."""
    simple.write(
        "src/proj/settings.py",
        "from kedro_mlflow_metrics import MlflowPipelineHook\nHOOKS = (MlflowPipelineHook(),)\n",
    )
    simple.kedro("run")
    assert simple.store.points() == {"m.a": [(0, 1.0)]}
    assert simple.store.run["status"] == "FINISHED"


def test_iterator_trains_inside_save(project):
    """`return epochs(), model` trains inside save with the run active; steps go on; the model is saved after."""
    project.catalog(ENTRY)
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def train():
            import mlflow
            model = []
            def epochs():
                for epoch in range(3):
                    model.append(epoch)
                    mlflow.log_metric("inside", epoch, step=epoch)
                    yield {"loss": 1 / (epoch + 1)}
            return epochs(), model
        def chunks():
            for value in (5, 6):
                yield {"chunk": value}
        def use(model):
            print("MODEL", model)
        def register_pipelines():
            return {"__default__": pipeline([node(train, None, ["m", "model"]), node(use, "model", None)]),
                    "chunks": pipeline([node(chunks, None, "m")])}
    """)
    assert "MODEL [0, 1, 2]" in project.kedro("run").stdout
    assert project.store.points() == {
        "m.loss": [(0, 1.0), (1, 0.5), (2, 1 / 3)],
        "inside": [(0, 0.0), (1, 1.0), (2, 2.0)],
    }
    project.kedro("run", "--pipeline", "chunks")
    assert project.store.points(project.store.runs[1]["run_uuid"]) == {"m.chunk": [(0, 5.0), (1, 6.0)]}


@pytest.mark.parametrize("server", ["answers", "down"])
def test_missing_inputs(project, server):
    """A pipeline that Kedro refuses for its inputs shows Kedro's error; nothing is opened in MLflow or the journal."""
    project.catalog(ENTRY)
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def register_pipelines():
            return {"__default__": pipeline([node(lambda x: {"a": x}, "missing", "m")])}
    """)
    if server == "down":
        project.settings("tracking_uri: http://127.0.0.1:9\n")
    out = project.kedro("run", fails=True).stdout
    assert out.splitlines()[-1].startswith("ValueError: Pipeline input(s) {'missing'} not found in the ")
    assert "kedro.mlflow_metrics" not in out
    assert project.store.runs == []
    assert not (project.root / ".kedro_mlflow_metrics").exists()


@pytest.mark.newest
def test_missing_inputs_of_nodes_that_are_left_out(project):
    """With ``--only-missing-outputs`` Kedro does not look for the inputs of a node that has run: the rest runs."""
    project.catalog(ENTRY + "text: {type: proj.files.Text}\n")
    project.write(
        "src/proj/files.py",
        """
        from pathlib import Path
        from kedro.io import AbstractDataset
        class Text(AbstractDataset):
            def load(self):
                return Path("text").read_text()
            def save(self, data):
                Path("text").write_text(data)
            def _exists(self):
                return Path("text").exists()
            def _describe(self):
                return {}
        """,
    )
    project.pipeline("""
        from kedro.pipeline import node, pipeline
        def register_pipelines():
            nodes = [node(lambda x: x, "missing", "text"), node(lambda text: {"a": len(text)}, "text", "m")]
            return {"__default__": pipeline(nodes)}
    """)
    (project.root / "text").write_text("four")
    project.kedro("run", "--only-missing-outputs")
    assert project.store.points() == {"m.a": [(0, 4.0)]}
    assert project.store.run["status"] == "FINISHED"
