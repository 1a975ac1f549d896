"""``kedro metrics sync``: what it shows, and where it sends."""

from __future__ import annotations

import pytest
from support.journal import abandon

from kedro_mlflow_metrics.journal.folder import Journal
from kedro_mlflow_metrics.points.curves import Curve


@pytest.mark.parametrize("timestamp", [1_700_000_000_000_000_000, 2**63 - 1, -(2**63)])
def test_timestamps_beyond_any_calendar(project, timestamp):
    """Nanoseconds given for milliseconds are shown as they are."""
    abandon(Journal(str(project.root)), [[Curve("m.a", [0.5], [0], [timestamp])]])
    out = project.kedro("metrics", "sync", "--dry-run", fails=True).stdout
    assert f"timestamp {timestamp}" in out
    assert "Traceback" not in out
