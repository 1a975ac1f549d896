"""A journal of its own for each test."""

from __future__ import annotations

import pytest

from kedro_mlflow_metrics.journal.folder import Journal


@pytest.fixture
def journal(tmp_path):
    return Journal(str(tmp_path))
