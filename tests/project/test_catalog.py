"""A project's catalog outside a pipeline run."""

from __future__ import annotations


def test_notebook(simple):
    """A catalog from `context.catalog` gives prefixes, and finds the project's store from any folder."""
    (simple.root / "notebooks").mkdir()
    out = simple.python(
        """
        from pathlib import Path
        from kedro.framework.session import KedroSession
        from kedro.framework.startup import bootstrap_project
        root = Path.cwd().parent
        bootstrap_project(root)
        with KedroSession.create(project_path=root) as session:
            catalog = session.load_context().catalog
        assert not catalog.exists("m")
        catalog.save("m", {"a": 1})
        catalog.save("m", {"a": 2})
        print("LOADED", catalog.load("m"))
        """,
        cwd="notebooks",
    )
    assert "LOADED {'a': [{'value': 1.0, 'step': 0}, {'value': 2.0, 'step': 1}]}" in out
    assert simple.store.points() == {"m.a": [(0, 1.0), (1, 2.0)]}
    assert simple.store.experiment(simple.store.run["run_uuid"]) == "proj"
    assert simple.store.run["status"] == "FINISHED"
