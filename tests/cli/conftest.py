"""What the tests of several commands stand on."""

from __future__ import annotations

import pytest
from support.project import PIPELINES, PLAIN, Project


@pytest.fixture(scope="session")
def rich(tmp_path_factory, empty_store, kedro):
    """A project with a run of all kinds of metrics and, later, a small one; the commands change nothing."""
    project = Project(tmp_path_factory.mktemp("rich") / "project", empty_store)
    project.catalog(PLAIN)
    project.pipeline(PIPELINES / "rich.py")
    for pipeline in ("rich", "small"):
        kedro.run(project.root, "run", "--pipeline", pipeline)
    return project
