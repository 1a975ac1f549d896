"""How an address may be written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from kedro_mlflow_metrics.tracking.address import Server


@pytest.mark.parametrize(
    ("uri", "portable"),
    [
        ("sqlite:////proj/mlflow.db", "sqlite:///mlflow.db"),
        ("sqlite+pysqlite:////proj/a/b.db", "sqlite+pysqlite:///a/b.db"),
        ("file:///proj/mlruns", "mlruns"),
        ("sqlite:////project/mlflow.db", "sqlite:////project/mlflow.db"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("file:///else/mlruns", "file:///else/mlruns"),
        ("mlruns", "mlruns"),
        ("databricks://profile", "databricks://profile"),
        ("http://127.0.0.1:5000/proj/x", "http://127.0.0.1:5000/proj/x"),
        ("https://ann:pw@host:5000/a?token=t", "https://host:5000/a"),
        ("https://host/a?token=t", "https://host/a"),
        ("postgresql://ann:pw@db:5432/mlflow?sslpassword=x", "postgresql://db:5432/mlflow"),
        ("postgresql:///mlflow?host=db&password=pw", "postgresql:///mlflow"),
        ("https://[x/", "an address that cannot be read"),
    ],
)
def test_portable_uri(uri, portable):
    """Local addresses below the root become relative, others stay; passwords and queries are gone."""
    assert Server(uri).portable(Path("/proj")) == portable
