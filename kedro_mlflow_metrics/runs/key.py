"""The run key: what makes several Kedro sessions one MLflow run, and what each of them is called there."""

from __future__ import annotations

import json
import os
import sys
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_mlflow_metrics.errors import SettingsError
from kedro_mlflow_metrics.tracking.shared import SESSION_TAG
from kedro_mlflow_metrics.tracking.store import quoted

if TYPE_CHECKING:
    from kedro_mlflow_metrics.project.context import RunRequest

__all__ = ["RunKey", "op", "run_key", "session_tag"]

_VARIABLES = (  # ours; then those of orchestrators whose Kedro plugins make one task of each node
    ("KEDRO_MLFLOW_RUN_KEY",),
    ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_DAG_RUN_ID"),
    ("KUBEFLOW_RUN_ID",),
    ("KEDRO_CONFIG_RUN_ID",),  # Vertex AI
)


class RunKey(NamedTuple):
    """What several sessions have in common, and where it was found."""

    key: str = ""
    source: str = ""


def run_key(setting: str | None) -> RunKey:
    """Return the run key: the setting, our own variable, or the id that an orchestrator gives to all of its tasks."""
    found = RunKey(setting, "run.key") if setting else _of_orchestrator()
    if not found.key.isascii() and found.key != found.key.encode(errors="ignore").decode():
        raise SettingsError(f"the run key {found.key!r} is no Unicode", "set another")  # MLflow would look for any run
    if found.key and not quoted(found.key):
        raise SettingsError(f"the run key {found.key!r} has both kinds of quotes", "leave one out")
    return found


def _of_orchestrator() -> RunKey:
    for names in _VARIABLES:
        texts = [os.environ.get(name, "") for name in names]
        if all(texts):
            return RunKey("/".join(texts), " and ".join(names))
    around = op()
    return RunKey(around.run_id, "Dagster's run id") if around else RunKey()


def op() -> Any:  # noqa: ANN401 - dagster.OpExecutionContext
    """Return the op of Dagster in which this is called, None outside of one.

    There each node, and each of Kedro's hooks, may have a process of its own.
    """
    dagster = sys.modules.get("dagster")
    if dagster is None:
        return None
    try:
        return dagster.OpExecutionContext.get()
    except Exception:  # noqa: BLE001 - what it raises outside an op is not documented
        return None


def session_tag(request: RunRequest, env: str) -> str:
    """Return the tag in which a session says how it is: it follows from what Kedro was asked for.

    So a task that is tried again takes back that it failed. Of values only a digest leaves this machine.
    """
    asked = [
        env,
        *request.pipelines,
        dict(request.asked),
        {key: str(value) for key, value in request.parameters.items()},
    ]
    return SESSION_TAG + blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=6).hexdigest()
