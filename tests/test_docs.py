"""The examples that users copy are run."""

from __future__ import annotations

import doctest

import mlflow

import kedro_mlflow_metrics.dataset


def test_the_docstring_of_the_dataset(tmp_path):
    """The Python example prints what it says."""
    try:
        result = doctest.testmod(kedro_mlflow_metrics.dataset, extraglobs={"tmp_path": tmp_path})
    finally:
        mlflow.set_tracking_uri(None)
    assert (result.failed, result.attempted) == (0, 6)
