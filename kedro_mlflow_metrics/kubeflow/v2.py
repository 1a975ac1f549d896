"""The metadata of a version 2 artifact of Kubeflow Pipelines, and the file in which a task hands it over."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_mlflow_metrics.errors import InvalidMetricsError
from kedro_mlflow_metrics.journal.disk import replace_file
from kedro_mlflow_metrics.kubeflow.v1 import warn_left_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_mlflow_metrics.points.curves import MetricPoint

__all__ = ["executor_output", "leave_to_executor", "metadata", "metadata_text"]

log = logging.getLogger("kedro.mlflow_metrics")
RESERVED = frozenset(("display_name", "store_session_info", "_kfp_workspace"))


def metadata(points: Mapping[str, MetricPoint | None]) -> dict[str, float]:
    """Return the metadata of a v2 artifact; what Kubeflow would not take is left out with a warning."""
    reserved = sorted(RESERVED.intersection(points))
    if reserved:
        log.warning("Left out for Kubeflow, which uses these names itself: %s; rename them", ", ".join(reserved))
    warn_left_out([key for key, point in points.items() if point is None], ())
    return {key: point.value for key, point in sorted(points.items()) if point is not None and key not in RESERVED}


def metadata_text(points: Mapping[str, MetricPoint | None]) -> str:
    """Return the metadata as JSON."""
    return json.dumps(metadata(points), indent=1) + "\n"


def leave_to_executor(points: Mapping[str, MetricPoint | None], given: str, output: str | None) -> Path:
    """Merge metrics into the file that a task leaves to its executor; return its path.

    Args:
        points: Per key its last finite point.
        given: The executor's input, as Kubeflow puts it for ``{{$}}``, or the path of a file with it.
        output: Name of the output artifact; None if the task has only one of type ``system.Metrics``.
    """
    asked = _object(given if given.lstrip().startswith("{") else Path(given).read_bytes(), "--executor-input")
    outputs = asked.get("outputs")
    path = outputs.get("outputFile") if isinstance(outputs, dict) else None
    if not isinstance(path, str):
        raise InvalidMetricsError("--executor-input names no outputs.outputFile", "pass what Kubeflow puts for {{$}}")
    file = Path(path)
    known = _object(file.read_bytes(), str(file)) if file.exists() and file.stat().st_size else {}
    merged = executor_output(known, asked, output, metadata(points))
    try:
        text = json.dumps(merged, allow_nan=False)
    except ValueError as exc:
        raise InvalidMetricsError(f"{file} is no JSON that Kubeflow takes: {exc}") from None
    replace_file(file, text.encode())
    return file


def _object(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as exc:
        raise InvalidMetricsError(f"{where} is no JSON: {exc}") from None
    if not isinstance(data, dict):
        raise InvalidMetricsError(f"{where} is no JSON object")
    return data


def executor_output(
    known: Mapping[str, Any], executor_input: Mapping[str, Any], output: str | None, values: Mapping[str, float]
) -> dict[str, Any]:
    """Merge metrics into the JSON that a v2 task leaves to its executor."""
    outputs = executor_input.get("outputs", {}).get("artifacts", {})
    name = output or _metrics_output(outputs)
    if name not in outputs or not outputs[name].get("artifacts"):
        raise InvalidMetricsError(
            f"the task has no output artifact {name!r}; accepted: {', '.join(outputs) or 'it has none at all'}"
        )
    given = outputs[name]["artifacts"][0]
    artifacts = dict(known.get("artifacts", {}))
    found = [*artifacts.get(name, {}).get("artifacts", ())]
    first = dict(found[0]) if found else {field: given[field] for field in ("name", "uri") if field in given}
    first["metadata"] = {**first.get("metadata", {}), **values}
    artifacts[name] = {"artifacts": [first, *found[1:]]}
    return {**known, "artifacts": artifacts}


def _metrics_output(outputs: Mapping[str, Any]) -> str:
    kinds = {
        name: [artifact.get("type", {}).get("schemaTitle") for artifact in listed.get("artifacts", ())]
        for name, listed in outputs.items()
    }
    fitting = [name for name, titles in kinds.items() if "system.Metrics" in titles]
    if len(fitting) != 1:
        raise InvalidMetricsError(
            f"the task has {len(fitting)} outputs of type system.Metrics; name one with --output-name: "
            f"{', '.join(fitting or outputs) or 'it has no output artifacts'}"
        )
    return fitting[0]
