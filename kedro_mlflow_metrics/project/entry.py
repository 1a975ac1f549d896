"""What an entry of the catalog may say, checked when the dataset is built; each refusal is one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError

from kedro_mlflow_metrics.errors import InvalidMetricsError, SettingsError, did_you_mean
from kedro_mlflow_metrics.points.forms import FORMS
from kedro_mlflow_metrics.points.shapes import FIELDS

if TYPE_CHECKING:
    from kedro_mlflow_metrics.kubeflow.v1 import Options

__all__ = ["alone", "file", "merged", "name", "refuse_tracking", "refuse_without_hook", "text"]


_CHOICES = {"as": FORMS, "on_invalid": ("raise", "warn"), "names": ("nearest", "exact")}


def refuse_without_hook() -> None:
    """Refuse an entry in a project that switches our hook off: names would have no prefix, and no run an end."""
    project, ours = (sys.modules.get(name) for name in ("kedro.framework.project", "kedro_mlflow_metrics.hook"))
    if project is None or project.PACKAGE_NAME is None:
        return  # a catalog in a script
    settings, name = project.settings, "kedro-mlflow-metrics"  # Kedro compares with the distribution's exact name
    if name in settings.DISABLE_HOOKS_FOR_PLUGINS and not (
        ours and any(isinstance(each, ours.MlflowPipelineHook) for each in settings.HOOKS)
    ):
        raise DatasetError(
            f"DISABLE_HOOKS_FOR_PLUGINS in settings.py has {name!r}: without its hook, metrics have no prefix and no "
            "run; remove the name, and to log nothing set 'enabled: false' in kedro_mlflow_metrics.yml"
        )


def refuse_tracking(version: object, filepath: object) -> None:
    """Refuse what Kedro's own ``tracking.MetricsDataset`` leaves where only its type was changed."""
    if version is not None:
        also = "" if filepath is None else ", and 'filepath' too unless Kubeflow reads the file"
        raise DatasetError(f"every MLflow run is a version of its metrics; remove 'versioned' from this entry{also}")
    if "09_tracking" in Path(str(filepath)).parts:
        raise DatasetError(
            f"'filepath' is {str(filepath)!r}, where tracking.MetricsDataset wrote; remove it from this entry: metrics "
            "go to MLflow, and a file is for Kubeflow alone"
        )


def text(name: str, given: object) -> str | None:
    """Check an argument that is text or null."""
    if given is not None and not isinstance(given, str):
        raise DatasetError(f"{name!r} is {given!r} ({type(given).__name__}); accepted: text, or null")
    return given


def name(key: object, prefix: object) -> tuple[str | None, bool]:
    """Check what names the metrics of an entry; return it, and whether it is the whole name of one metric."""
    key, prefix = text("key", key), text("prefix", prefix)
    if key is None:
        return prefix, False
    if not key or prefix is not None:
        raise DatasetError(f"'key' is {key!r}; accepted: the whole name of a metric, and no 'prefix' beside it")
    return key, True


def alone(key: str, data: object) -> dict[str, object]:
    """Return what a node saves to an entry that is one metric, as a dict of metrics."""
    if isinstance(data, Mapping) and not data.keys() & FIELDS and any(isinstance(name, str) for name in data):
        raise InvalidMetricsError(
            f"the entry is one metric, {key!r}, and got a dict of several",
            "return a number or a list of numbers, or write 'prefix' instead of 'key' in the entry",
        )
    return {key: data}


def merged(kind: str, defaults: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Merge arguments over their defaults; an unknown one is an error with a close match."""
    for name, value in (given or {}).items():
        what, wrong, accepted = f"{kind}: {name}", value, _CHOICES.get(name, (value,))
        if name not in defaults:
            what, wrong, accepted = kind, name, tuple(defaults)
        if wrong not in accepted:
            close = did_you_mean(str(wrong), accepted)
            raise DatasetError(f"{what} has no {wrong!r}; accepted: {', '.join(accepted)}{close and '; '}{close}")
    return {**defaults, **(given or {})}


def file(filepath: Any, options: object) -> tuple[Path | None, Options | None]:  # noqa: ANN401 - unchecked yet
    """Check where Kubeflow's file is written, and how."""
    fits = isinstance(filepath, str | os.PathLike) and str(filepath) and "://" not in str(filepath)
    if filepath is not None and not fits:
        raise DatasetError(f"'filepath' is {filepath!r}; accepted: the path of a file on this machine, or null")
    if filepath is None and not options:
        return None, None
    from kedro_mlflow_metrics.kubeflow.v1 import read_options

    try:
        checked = read_options(options, "save_args: kubeflow")
    except SettingsError as exc:
        raise DatasetError(str(exc)) from exc
    if filepath is None:
        raise DatasetError("save_args: kubeflow says how a file is written; name the file with 'filepath'")
    return Path(filepath), checked
