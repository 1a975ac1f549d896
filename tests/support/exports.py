"""A file of ``kedro metrics export --format json`` with one point, as Python data."""

from __future__ import annotations

POINT = {"value": 1.0, "step": 0, "timestamp": 1_700_000_000_000}
EXPORT = {
    "run_id": "0123456789abcdef0123456789abcdef",
    "name": "a run",
    "status": "FINISHED",
    "start_time": 1_700_000_000_000,
    "end_time": 1_700_000_001_000,
    "tags": {"mlflow.user": "ann"},
    "params": {},
    "metrics": {"a": [POINT]},
}
