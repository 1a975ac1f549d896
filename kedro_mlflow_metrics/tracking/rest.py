"""MLflow's REST API, with MLflow's own credentials but bounded time, which its client does not offer."""

from __future__ import annotations

import math
import re
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from kedro_mlflow_metrics.errors import TrackingError
from kedro_mlflow_metrics.points.curves import Curve, MetricPoint, joined
from kedro_mlflow_metrics.points.forms import json_value
from kedro_mlflow_metrics.process import uncollected
from kedro_mlflow_metrics.tracking.environment import lent
from kedro_mlflow_metrics.tracking.store import Experiment, error_code, to_run_info

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kedro_mlflow_metrics.tracking.address import Server
    from kedro_mlflow_metrics.tracking.store import Found, RunInfo

__all__ = ["RestStore"]

_PAGE = 25_000
_LONGEST_RETRY_SECONDS = 3600.0
_CUT = ("Connection aborted", "Connection broken", "ended prematurely")
_HOPELESS = ("InvalidURL", "Invalid URL", "Failed to parse")
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED\] certificate verify failed: ([\w ,'.-]+)")


class RestStore:
    """Each request of `Store` as one HTTP request."""

    at_a_time = 8

    def __init__(self, server: Server, retries: int) -> None:
        self._server, self._retries = server, retries

    def experiment(self, name: str) -> Experiment | None:
        try:
            found = self._ask("GET", "experiments/get-by-name", "experiment", params={"experiment_name": name})
        except TrackingError as exc:
            if exc.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return Experiment(found["experiment_id"], found["lifecycle_stage"], _pairs(found, "tags"))

    def create_experiment(self, name: str, tags: Mapping[str, str] | None = None) -> str:
        body = {"name": name, "tags": _listed(tags or {})}
        return str(self._ask("POST", "experiments/create", "experiment_id", json=body))

    def delete_experiment(self, experiment_id: str) -> None:
        self._ask("POST", "experiments/delete", json={"experiment_id": experiment_id})

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str], start_time: int) -> RunInfo:
        body = {
            "experiment_id": experiment_id,
            "run_name": name,
            "start_time": start_time,
            "user_id": tags.get("mlflow.user", "unknown"),
            "tags": _listed(tags),
        }
        return _run(self._ask("POST", "runs/create", "run", json=body))[0]

    def get_run(self, run_id: str) -> tuple[RunInfo, list[MetricPoint]]:
        return _run(self._ask("GET", "runs/get", "run", params={"run_id": run_id}))

    def described(self, run_id: str) -> tuple[dict[str, str], dict[str, str]]:
        data = self._ask("GET", "runs/get", "run", params={"run_id": run_id}).get("data", {})
        return _pairs(data, "tags"), _pairs(data, "params")

    def search(self, experiment_id: str, where: str, order: str, most: int = 10, *, deleted: bool = False) -> Found:
        body = {
            "experiment_ids": [experiment_id],
            "filter": where,
            "order_by": [order],
            "max_results": most,
            "run_view_type": "ALL" if deleted else "ACTIVE_ONLY",
        }
        found = self._ask("POST", "runs/search", json=body).get("runs", ())
        with uncollected():
            return list(map(_run, found))

    def delete_run(self, run_id: str) -> None:
        self._ask("POST", "runs/delete", json={"run_id": run_id})

    def end_run(self, run_id: str, status: str, end_time: int) -> None:
        self._ask("POST", "runs/update", json={"run_id": run_id, "status": status, "end_time": end_time})

    def resume_run(self, run_id: str) -> None:
        self._ask("POST", "runs/update", json={"run_id": run_id, "status": "RUNNING"})

    def set_tag(self, run_id: str, tag: str, text: str) -> None:
        self._ask("POST", "runs/set-tag", json={"run_id": run_id, "key": tag, "value": text})

    def log_batch(self, run_id: str, batch: Sequence[Curve]) -> None:
        text = f'{{"run_id":{encode_basestring_ascii(run_id)},"metrics":[{",".join(map(_json_metrics, batch))}]}}'
        self._ask("POST", "runs/log-batch", data=text.encode(), extra_headers={"Content-Type": "application/json"})

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        self._ask("POST", "runs/log-batch", json={"run_id": run_id, "params": _listed(params)})

    def history(self, run_id: str, key: str) -> Curve:
        pages: list[Curve] = []
        query = {"run_id": run_id, "metric_key": key, "max_results": str(_PAGE)}
        while True:
            page = self._ask("GET", "metrics/get-history", params=query)
            with uncollected():
                pages.append(Curve.of(key, map(_point, page.get("metrics", ()))))
            if not page.get("next_page_token"):
                return joined(key, pages)
            query["page_token"] = page["next_page_token"]

    def _ask(self, method: str, path: str, field: str = "", **body: Any) -> Any:  # noqa: ANN401 - JSON
        """Make one request and return the JSON object of its answer, or a field that this must have."""
        from mlflow.exceptions import MlflowException
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        with lent(self._server.variables):
            try:
                answer = http_request(
                    get_default_host_creds(self._server.uri),
                    f"/api/2.0/mlflow/{path}",
                    method,
                    max_retries=self._retries,
                    backoff_factor=0.5,
                    raise_on_status=False,
                    timeout=self._server.timeout,
                    **body,
                )
            except MlflowException as exc:
                raise self._unreachable(exc) from None  # MLflow's own text shows the address with its password
        data = self._read(answer, method, field)
        return data[field] if field else data

    def _read(self, answer: Any, method: str, field: str) -> dict[str, Any]:  # noqa: ANN401 - requests.Response
        """Tell a success from a refusal and from an answer that is not MLflow's."""
        where, status = self._server.where, answer.status_code
        try:
            with uncollected():
                data = answer.json()
        except ValueError:
            data = None
        asked = status == HTTPStatus.OK and answer.request.method == method
        if asked and isinstance(data, dict) and (not field or field in data):
            return data  # a redirect turns POST into GET, which writes nothing
        if status == HTTPStatus.FORBIDDEN:
            text = str(data.get("message", "")) if isinstance(data, dict) else answer.text
            words = "" if not text.strip() or "<" in text else f": {self._server.one_line(text)}"
            raise TrackingError(
                f"{where} refused{words} (HTTP {status})",
                "this user may not do that: ask for the permission, or set other credentials or another experiment",
                code="PERMISSION_DENIED",
            )
        if status == HTTPStatus.UNAUTHORIZED:
            raise TrackingError(
                f"{where} refused the credentials (HTTP {status})",
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD or MLFLOW_TRACKING_TOKEN, or 'credentials' "
                "in kedro_mlflow_metrics.yml",
                code="PERMISSION_DENIED",
            )
        pause = min(_seconds(answer.headers.get("Retry-After")), _LONGEST_RETRY_SECONDS)
        if isinstance(data, dict) and "error_code" in data:
            text = str(data.get("message", ""))
            code = error_code(str(data["error_code"]), text)
            text = self._server.one_line(text)
            refusal = TrackingError(f"{where} refused: {text}", code=code)
            if not refusal.outage:
                raise refusal
            raise TrackingError(f"{where} cannot be used at the moment: {text}", code=code, retry_after=pause)
        raise TrackingError(
            f"{where} did not answer as MLflow does (HTTP {status})",
            "a login page?" if answer.history else "is it the address of a tracking server?",
            code=TrackingError.TOO_LARGE if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else "",
            retry_after=pause,
        )

    def _unreachable(self, error: Exception) -> TrackingError:
        text = str(error)
        if untrusted := _UNTRUSTED.search(text):
            return TrackingError(
                f"{self._server.where} cannot be trusted: {untrusted[1].strip()}",
                "set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of its certificate, or "
                "MLFLOW_TRACKING_INSECURE_TLS to true, which checks none",
                code=TrackingError.UNUSABLE_ADDRESS,
            )
        found = re.search(r"\[Errno -?\d+\] ([\w ,]+)", text)
        late = "timed out" in text.lower() or "timeout" in text.lower()
        if late:
            reason = f"no answer within {self._server.timeout:g} s"
        elif found:
            reason = found.group(1).strip()
        elif any(mark in text for mark in _CUT):
            reason = "the connection was cut"
        else:
            reason = self._server.one_line(text)
        if any(mark in text for mark in _HOPELESS):
            never = f"{self._server.where} can never be reached: {reason}"
            return TrackingError(never, "correct the address", code=TrackingError.UNUSABLE_ADDRESS)
        return TrackingError(
            f"{self._server.where} cannot be reached: {reason}",
            "start the server or correct tracking_uri in kedro_mlflow_metrics.yml or MLFLOW_TRACKING_URI",
            code=TrackingError.TIMED_OUT if late else "",
        )


def _run(data: Mapping[str, Any]) -> tuple[RunInfo, list[MetricPoint]]:
    about = data.get("data", {})
    return to_run_info(data["info"], _pairs(about, "tags")), list(map(_point, about.get("metrics", ())))


def _pairs(data: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Read tags or parameters; MLflow leaves out those that there are none of, and a value that is empty."""
    return {each["key"]: each.get("value", "") for each in data.get(kind, ())}


def _listed(pairs: Mapping[str, str]) -> list[dict[str, str]]:
    """Spell tags or parameters as requests have them."""
    return [{"key": key, "value": value} for key, value in pairs.items()]


def _point(data: Mapping[str, Any]) -> MetricPoint:
    return MetricPoint(data["key"], float(data["value"]), int(data.get("step") or 0), int(data["timestamp"]))


def _seconds(retry_after: str | None) -> float:
    """Read a Retry-After header: seconds, or a date."""
    if not retry_after:
        return 0.0
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0


def _json_metrics(curve: Curve) -> str:
    """Spell the points of one key; a dict per point and JSON of it would cost three times as much."""
    key = encode_basestring_ascii(curve.key)
    values = map(repr, curve.values) if all(map(math.isfinite, curve.values)) else map(_json_number, curve.values)
    return ",".join(
        [
            f'{{"key":{key},"value":{value},"timestamp":{timestamp},"step":{step}}}'
            for value, step, timestamp in zip(values, curve.steps, curve.timestamps, strict=True)
        ]
    )


def _json_number(value: float) -> str:
    return repr(value) if math.isfinite(value) else f'"{json_value(value)}"'
