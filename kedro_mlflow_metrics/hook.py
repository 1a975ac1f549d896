"""``MlflowPipelineHook``: gives metrics datasets their names and a pipeline its MLflow run."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from kedro_mlflow_metrics import __version__
from kedro_mlflow_metrics import catalog as catalogs
from kedro_mlflow_metrics.project import CONFIG_KEY, Project

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from kedro_mlflow_metrics.runs import Target
    from kedro_mlflow_metrics.server import Server
    from kedro_mlflow_metrics.session import OpenRun
    from kedro_mlflow_metrics.settings import Settings

__all__ = ["MlflowPipelineHook", "hook"]

log = logging.getLogger("kedro.mlflow_metrics")
_current = threading.local()
_newest: list[Project] = []
_RUN_KEYS = ("KEDRO_MLFLOW_RUN_KEY", "KUBEFLOW_RUN_ID", "KEDRO_CONFIG_RUN_ID")


class MlflowPipelineHook:
    """Opens, names and ends the MLflow run of a pipeline that saves metrics.

    Registered by an entry point; listing it in ``settings.py`` as well does no harm. It holds no state:
    one object serves concurrent runs.
    """

    @hook_impl
    def after_context_created(self, context: Any) -> None:  # noqa: ANN401 - KedroContext
        """Learn where the project stands; read nothing yet."""
        from kedro.framework.project import PACKAGE_NAME  # its import configures logging

        warnings.filterwarnings("ignore", message=r".*Got 'kedro_mlflow_metrics\.")
        patterns = context.config_loader.config_patterns
        if CONFIG_KEY not in patterns:
            patterns[CONFIG_KEY] = [f"{CONFIG_KEY}*", f"{CONFIG_KEY}*/**", f"**/{CONFIG_KEY}*"]
        root = context.project_path
        package = getattr(context, "_package_name", None) or PACKAGE_NAME or root.name
        _current.project = Project(root, package, _environment(context), context.config_loader)
        _newest[:] = [_current.project]

    @hook_impl(trylast=True)
    def after_catalog_created(self, catalog: Any, conf_catalog: dict[str, Any]) -> None:  # noqa: ANN401
        """Remember the catalog, so that its metrics datasets find their names."""
        project = getattr(_current, "project", None) or next(iter(_newest), None)
        catalogs.remember(catalog, project, conf_catalog)

    @hook_impl(trylast=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:  # noqa: ANN401
        """Name the metrics datasets and open or join the run, before anything is computed."""
        catalogs.remember(catalog, next(iter(_newest), None))
        catalogs.materialise(catalog, pipeline.datasets())
        used = {name: (ds, cached) for name, ds, cached in catalogs.metrics_datasets(catalog)}
        used = {name: found for name, found in used.items() if name in pipeline.datasets()}
        if not used:
            return
        from kedro_mlflow_metrics import session
        from kedro_mlflow_metrics.errors import MetricsError, one_line_exit

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
            if dataset.binding is None and name in node.outputs:
                dataset.name_it(catalogs.short(name), cached=cached)
            elif dataset.binding is not None:
                target = target or dataset.binding.target
        if target is not None and target.active:
            from kedro_mlflow_metrics import runs

            runs.activate(target)

    @hook_impl(hookwrapper=True)
    def after_pipeline_run(self, catalog: Any) -> Generator[None, Any, None]:  # noqa: ANN401
        """End an own run as FINISHED, after the hooks of others have had their say in it."""
        outcome = yield
        _finish(catalog, "FINISHED" if outcome.excinfo is None else "FAILED")

    @hook_impl(hookwrapper=True)
    def on_pipeline_error(self, catalog: Any) -> Generator[None, Any, None]:  # noqa: ANN401
        """End an own run as FAILED, and say how to go on in it."""
        yield
        _finish(catalog, "FAILED")


hook = MlflowPipelineHook()


def _prepare(run_params: Mapping[str, Any], pipeline: Any, catalog: Any, used: dict[str, Any]) -> None:  # noqa: ANN401
    """Check names, find or open the run, and tell every metrics dataset of the pipeline."""
    from kedro_mlflow_metrics import session
    from kedro_mlflow_metrics.dataset import Binding

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
        _look_at_given_runs(used, server)
        run = _find_or_open(run_params, server, settings, project, names, catalog, may_open=saves)
        if run is not None:
            target = run.target
            run.loan = environment_for(run.target, settings)
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


def environment_for(target: Target, settings: Settings) -> Mapping[str, str]:
    """Lend MLflow's fluent functions, in nodes and worker processes, the address and the credentials."""
    from kedro_mlflow_metrics import environment

    variables = dict(settings.variables())
    if environment.own("MLFLOW_TRACKING_URI") is None:
        variables["MLFLOW_TRACKING_URI"] = target.server.uri
    if environment.own("MLFLOW_EXPERIMENT_ID") is None and environment.own("MLFLOW_EXPERIMENT_NAME") is None:
        variables["MLFLOW_EXPERIMENT_ID"] = target.run.experiment_id
    return environment.lend(variables)


def _pipeline_names(run_params: Mapping[str, Any]) -> list[str]:
    """Return the names of the pipelines that run; the parameter changed its name in Kedro 1.2."""
    names = run_params.get("pipeline_names") or [run_params.get("pipeline_name") or "__default__"]
    return [str(name) for name in names]


def _check_prefixes(used: dict[str, Any], outputs: set[str], separator: str) -> None:
    """Stop for a prefix that MLflow does not take; warn of one that two outputs share."""
    from kedro_mlflow_metrics.errors import InvalidMetricsError
    from kedro_mlflow_metrics.names import check_prefix

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


def _find_or_open(  # noqa: PLR0913, PLR0917 - the rule of precedence in one place
    run_params: Mapping[str, Any],
    server: Server,
    settings: Settings,
    project: Project,
    names: list[str],
    catalog: Any,  # noqa: ANN401
    *,
    may_open: bool,
) -> OpenRun | None:
    """Find the run by the order of precedence, or open a new one if the pipeline saves metrics."""
    from kedro_mlflow_metrics import runs
    from kedro_mlflow_metrics.environment import lent, own
    from kedro_mlflow_metrics.server import Server
    from kedro_mlflow_metrics.session import OpenRun

    active = settings.run.active
    params = run_params.get("runtime_params") or run_params.get("extra_params") or {}
    with lent(settings.variables()):
        elsewhere = runs.active_elsewhere()
        given = params.get("mlflow_run_id") or (None if elsewhere else own("MLFLOW_RUN_ID"))
        if given:
            return OpenRun(catalog, runs.join(server, str(given), active=active), owner=False)
        if elsewhere:
            there = Server(elsewhere[0], server.timeout, server.variables)
            return OpenRun(catalog, runs.join(there, elsewhere[1], active=active), owner=False)
        if not may_open:
            return None
        name = settings.run.name or "+".join(names)
        own_tags = {
            "kedro.pipeline": "+".join(names),
            "kedro.env": project.env,
            "kedro.run_id": str(run_params.get("run_id") or run_params.get("session_id") or ""),
            "kedro.version": str(run_params.get("kedro_version") or ""),
            "kedro_mlflow_metrics.version": __version__,
        }
        tags = {**{tag: text for tag, text in own_tags.items() if text}, **settings.run.tags}
        experiment = settings.experiment or project.package
        key = settings.run.key or _run_key()
        if key:
            target = runs.open_shared_run(server, experiment, name, tags, key, active=active)
            return OpenRun(catalog, target, owner=True, shared=True)
        return OpenRun(catalog, runs.open_run(server, experiment, name, tags, active=active), owner=True)


def _run_key() -> str | None:
    """Return what makes several Kedro sessions one run: our own variable, or the orchestrator's id."""
    task = [os.environ.get(name) for name in ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_DAG_RUN_ID")]
    if all(task):
        return "/".join(filter(None, task))
    return next((os.environ[name] for name in _RUN_KEYS if os.environ.get(name)), None)


def _look_at_given_runs(used: dict[str, Any], server: Server) -> None:
    """Make sure that the runs exist which entries name themselves."""
    from kedro_mlflow_metrics import runs

    for run_id in sorted({dataset.run_id for dataset, _ in used.values() if dataset.run_id}):
        runs.join(server, run_id)


def _finish(catalog: Any, status: str) -> None:  # noqa: ANN401
    """End the run of a catalog if one is open, and say where its metrics are."""
    if "kedro_mlflow_metrics.session" not in sys.modules:
        return
    from kedro_mlflow_metrics import session
    from kedro_mlflow_metrics.server import safe_uri

    run = session.opened(catalog)
    if run is None:
        return
    trouble = session.finish(run, status)
    info, uri = run.target.run, safe_uri(run.target.server.uri)
    if trouble is not None:
        log.error("The run %s could not be marked %s: %s", info.run_id, status, trouble)
    if uri.startswith("http"):
        where = f"{uri}/#/experiments/{info.experiment_id}/runs/{info.run_id}"
    else:
        where = f"{uri}, run {info.run_name!r}, id {info.run_id}"
    log.info("Metrics are in MLflow: %s", where)
    if status == "FAILED":
        log.warning("To go on in the same MLflow run, add to the command: --params mlflow_run_id=%s", info.run_id)
