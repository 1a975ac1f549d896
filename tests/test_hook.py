"""The hook: it finds the metrics of a pipeline, and is not in the way of others."""

from __future__ import annotations

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
