"""What an address leads to, and how it may be written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from kedro_mlflow_metrics.tracking.address import Server, absolute


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


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///mlflow.db", "sqlite:////proj/mlflow.db"),
        ("sqlite+pysqlite:///./a/../b.db?x=1", "sqlite+pysqlite:////proj/b.db?x=1"),
        ("mlruns", "file:///proj/mlruns"),
        ("./my runs", "file:///proj/my%20runs"),
        ("file:mlruns", "file:///proj/mlruns"),
        ("file:./mlruns", "file:///proj/mlruns"),
        ("file:my%20runs", "file:///proj/my%20runs"),
        ("/else/mlruns", "file:///else/mlruns"),
        *[(uri, uri) for uri in ("file:/else/mlruns", "sqlite:////else.db", "sqlite://", "sqlite:///:memory:")],
        *[(uri, uri) for uri in ("http://host", "postgresql:///mlflow?host=db", "databricks", "uc:x", "arn:aws:x")],
        ("plugin:x", "plugin:x"),
    ],
)
def test_relative_paths(uri, expected):
    """Those of databases and folders, however they are written, start at the folder that is said."""
    assert absolute(uri, Path("/proj")) == expected


@pytest.mark.parametrize("uri", ["http://host/", "https://ann:pw@host:5000/ml//", "http://", "file:///"])
def test_a_trailing_slash(uri):
    """It makes no other address of a server."""
    assert Server(uri) == Server(uri.rstrip("/") if len(uri) > 8 else uri)
