"""``MlflowPipelineHook``: gives metrics datasets their names and a pipeline its MLflow run."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections import Counter
from inspect import isgeneratorfunction
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from kedro_mlflow_metrics.project import catalog as catalogs
from kedro_mlflow_metrics.project.context import CONFIG_KEY, Project

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from kedro_mlflow_metrics.tracking.runs import Target

__all__ = ["MlflowPipelineHook", "hook", "project_of"]

log = logging.getLogger("kedro.mlflow_metrics")
_current = threading.local()
_newest: list[Project] = []


class MlflowPipelineHook:
    """Opens, names and ends the MLflow run of a pipeline that saves metrics.

    Registered by an entry point; listing it in ``settings.py`` as well does no harm. It holds no state:
    one object serves concurrent runs.
    """

    @hook_impl
    def after_context_created(self, context: Any) -> None:  # noqa: ANN401 - KedroContext
        """Learn where the project stands; read nothing yet."""
        warnings.filterwarnings("ignore", message=r".*Got 'kedro_mlflow_metrics\.")
        patterns = context.config_loader.config_patterns
        if CONFIG_KEY not in patterns:
            patterns[CONFIG_KEY] = [f"{CONFIG_KEY}*", f"{CONFIG_KEY}*/**", f"**/{CONFIG_KEY}*"]
        _current.project = project_of(context)
        _newest[:] = [_current.project]

    @hook_impl(trylast=True)
    def after_catalog_created(self, catalog: Any, conf_catalog: dict[str, Any]) -> None:  # noqa: ANN401 - Kedro's own types
        """Remember the catalog, so that its metrics datasets find their names."""
        project = getattr(_current, "project", None) or next(iter(_newest), None)
        catalogs.remember(catalog, project, conf_catalog)

    @hook_impl(trylast=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:  # noqa: ANN401 - Kedro's own types
        """Name the metrics datasets and open or join the run, before anything is computed."""
        catalogs.remember(catalog, next(iter(_newest), None))
        catalogs.materialise(catalog, pipeline.datasets())
        used = {name: (ds, cached) for name, ds, cached in catalogs.metrics_datasets(catalog)}
        used = {name: found for name, found in used.items() if name in pipeline.datasets()}
        if not used:
            return
        from kedro_mlflow_metrics.errors import MetricsError, one_line_exit
        from kedro_mlflow_metrics.runs import lifetime as session

        if session.opened(catalog) is not None:
            return
        session.finish_interrupted()
        try:
            _prepare(run_params, pipeline, catalog, used)
        except MetricsError as exc:
            raise one_line_exit(exc) from exc

    @hook_impl(trylast=True)
    def before_node_run(self, node: Any, catalog: Any) -> None:  # noqa: ANN401 - Kedro's own types
        """Make the run active where the node runs, a worker process or thread too."""
        target = None
        for name, dataset, cached in catalogs.metrics_datasets(catalog):
            if name in node.outputs:
                dataset.expect_parts(in_parts=isgeneratorfunction(node.func))
            if dataset.binding is None and name in node.outputs:
                dataset.name_it(catalogs.short(name), cached=cached)
            elif dataset.binding is not None:
                target = target or dataset.binding.target
        if target is not None and target.active:
            from kedro_mlflow_metrics.tracking import runs

            runs.activate(target)

    @hook_impl(hookwrapper=True)
    def after_pipeline_run(self, catalog: Any) -> Generator[None, Any, None]:  # noqa: ANN401 - Kedro's own types
        """End an own run as FINISHED, after the hooks of others have had their say in it."""
        outcome = yield
        _finish(catalog, "FINISHED" if outcome.excinfo is None else "FAILED")

    @hook_impl(hookwrapper=True)
    def on_pipeline_error(self, catalog: Any) -> Generator[None, Any, None]:  # noqa: ANN401 - Kedro's own types
        """End an own run as FAILED, and say how to go on in it."""
        yield
        _finish(catalog, "FAILED")


hook = MlflowPipelineHook()


def project_of(context: Any) -> Project:  # noqa: ANN401 - KedroContext
    """Return what a context says of its project."""
    from kedro.framework.project import PACKAGE_NAME  # its import configures logging

    root = context.project_path
    package = getattr(context, "_package_name", None) or PACKAGE_NAME or root.name
    return Project(root, package, _environment(context), context.config_loader)


def _prepare(run_params: Mapping[str, Any], pipeline: Any, catalog: Any, used: dict[str, Any]) -> None:  # noqa: ANN401 - Kedro's own types
    """Check names, find or open the run, and tell every metrics dataset of the pipeline."""
    from kedro_mlflow_metrics.dataset import Binding
    from kedro_mlflow_metrics.runs import lifetime as session
    from kedro_mlflow_metrics.runs.choose import Opening

    place = catalogs.place_of(catalog)
    project = place.project if place else None
    if project is None:
        return
    settings = project.settings()
    names = _pipeline_names(run_params)
    enabled = settings.enabled and not set(settings.disabled_pipelines) & set(names)
    outputs = pipeline.all_outputs()
    _check_prefixes(used, outputs, settings.separator)
    target: Target | None = None
    if enabled:
        server = project.server(settings)
        saves = any(used[name][0].run_id is None for name in used if name in outputs)
        loads = {used[name][0].run_id for name in used if name not in outputs}
        opening = Opening(server, settings, project, names, run_params, may_open=saves)
        for run_id in sorted({dataset.run_id for dataset, _ in used.values() if dataset.run_id}):
            opening.look_at(run_id, needed=run_id in loads)
        run = opening.open(catalog)
        if run is not None:
            target = run.target
            session.begin(run)
    else:
        server = None
    siblings = frozenset(catalogs.sibling_prefixes(catalog))
    spool = None if enabled or _in_this_process(run_params) else _private_folder()
    for name, (dataset, cached) in used.items():
        binding = Binding(target, server, settings.separator, siblings, enabled, spool, cached)
        dataset.bind(catalogs.short(name), binding)


def _in_this_process(run_params: Mapping[str, Any]) -> bool:
    """Tell whether the runner is one of Kedro's that start no worker processes."""
    runner = str(run_params.get("runner"))
    return runner == "None" or "SequentialRunner" in runner or "ThreadRunner" in runner


def _private_folder() -> str:
    """Make a folder that goes with this process."""
    import atexit
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="kedro_mlflow_metrics_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _environment(context: Any) -> str:  # noqa: ANN401 - KedroContext
    """Return the Kedro environment that is in force."""
    return context.env or getattr(context.config_loader, "default_run_env", None) or ""


def _pipeline_names(run_params: Mapping[str, Any]) -> list[str]:
    """Return the names of the pipelines that run; the parameter changed its name in Kedro 1.2."""
    names = run_params.get("pipeline_names") or [run_params.get("pipeline_name") or "__default__"]
    return [str(name) for name in names]


def _check_prefixes(used: dict[str, Any], outputs: set[str], separator: str) -> None:
    """Stop for a prefix that MLflow does not take; warn of one that two outputs share."""
    from kedro_mlflow_metrics.errors import InvalidMetricsError
    from kedro_mlflow_metrics.points.names import check_prefix

    prefixes = {}
    for name, (dataset, _) in used.items():
        explicit = dataset.explicit_prefix
        prefixes[name] = catalogs.short(name) if explicit is None else explicit
        try:
            check_prefix(prefixes[name], separator)
        except InvalidMetricsError as exc:
            raise InvalidMetricsError(f"dataset {name!r}: {exc}") from None
    counts = Counter(prefix for name, prefix in prefixes.items() if name in outputs)
    for prefix in [prefix for prefix, count in counts.items() if count > 1]:
        both = sorted(name for name in prefixes if name in outputs and prefixes[name] == prefix)
        log.warning(
            "The datasets %s log under the same prefix %r: their metrics of the same name become one; "
            "give each a prefix of its own",
            " and ".join(both),
            prefix,
        )


def _finish(catalog: Any, status: str) -> None:  # noqa: ANN401 - Kedro's own types
    """End the run of a catalog if one is open."""
    if "kedro_mlflow_metrics.runs.lifetime" not in sys.modules:
        return
    from kedro_mlflow_metrics.errors import MetricsError, one_line_exit
    from kedro_mlflow_metrics.runs import lifetime as session

    run = session.opened(catalog)
    if run is None:
        return
    try:
        session.finish(run, status)
    except MetricsError as exc:
        raise one_line_exit(exc) from exc
