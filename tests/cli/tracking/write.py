"""Wrote the files in this folder, with kedro-datasets 6, the last one that has `tracking`.

uv run --no-project --with 'kedro<1' --with kedro-datasets==6.0.0 --with numpy tests/cli/tracking/write.py
"""

import math
import time
from pathlib import Path

import numpy as np
from kedro.io import DataCatalog

FOLDER = Path(__file__).parent / "09_tracking"


def write(version: int) -> None:
    """Save as a session does: a catalog of its own, and one version for all its datasets."""
    kinds = {"metrics": "MetricsDataset", "report": "JSONDataset"}
    catalog = DataCatalog.from_config(
        {name: {"type": f"tracking.{kind}", "filepath": f"{FOLDER}/{name}.json"} for name, kind in kinds.items()}
    )
    special = {"n": True, "worst": math.nan, "best": -math.inf, "hits@10": "0.5"}
    catalog.save("metrics", {"r2": 0.5 + version / 10, "mae": np.float32(3.25), **special})
    numbers = {"max_error": 1.5 + version, "test": {"rows": 20}, "loss": [0.5, 0.25]}
    catalog.save("report", {"model": "linear", "columns": ["a", "b"], "flag": True, "none": None, **numbers})


for version in range(2):
    write(version)
    time.sleep(0.01)
