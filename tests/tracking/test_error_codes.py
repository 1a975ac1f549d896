"""What an answer of MLflow's database means."""

from __future__ import annotations

import pytest

from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.tracking.store import error_code

THERE, REFUSED, OUTAGE = TrackingError.ALREADY_THERE, "BAD_REQUEST", ""
SQL = "[SQL: INSERT INTO metrics (key, value, timestamp) VALUES (?, ?, ?)]"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (f"(sqlite3.IntegrityError) UNIQUE constraint failed: metrics.key, metrics.step\n{SQL}", THERE),
        (f'(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint "metric_pk"\n{SQL}', THERE),
        (f"(1062, \"Duplicate entry 'a-1' for key 'metrics.PRIMARY'\")\n{SQL}", THERE),
        (f"(1062, \"Duplicate entry 'a-1' for key 'PRIMARY'\")\n{SQL}", THERE),
        (f"Violation of PRIMARY KEY constraint 'metric_pk'. Cannot insert duplicate key\n{SQL}", THERE),
        ("(sqlite3.IntegrityError) UNIQUE constraint failed: latest_metrics.key, latest_metrics.run_uuid", OUTAGE),
        ('duplicate key value violates unique constraint "latest_metric_pk"', OUTAGE),
        ("(1062, \"Duplicate entry 'a' for key 'PRIMARY'\")\n[SQL: INSERT INTO latest_metrics (key) VALUES]", OUTAGE),
        ("QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00", OUTAGE),
        ("(sqlite3.IntegrityError) NOT NULL constraint failed: metrics.value", REFUSED),
        ('insert or update violates foreign key constraint "metrics_run_uuid_fkey"', REFUSED),
    ],
)
def test_what_a_failure_of_the_database_means(text, meaning):
    """An overload passes, a stored point is a success, a violated constraint stays a refusal."""
    assert error_code("BAD_REQUEST", text) == meaning
    assert TrackingError(text, code=meaning).outage == (meaning == OUTAGE)
    assert error_code("INVALID_PARAMETER_VALUE", text) == "INVALID_PARAMETER_VALUE"
