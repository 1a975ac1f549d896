"""``MlflowPipelineHook``: gives metrics datasets their names and a pipeline its MLflow run."""

from __future__ import annotations

import sys
import threading
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

from kedro_mlflow_metrics.errors import MetricsError, hide_our_frames, one_line_exit
from kedro_mlflow_metrics.project import catalog as catalogs
from kedro_mlflow_metrics.project.context import Project, RunRequest, add_patterns
from kedro_mlflow_metrics.project.quiet import accept_spelling, first_saves_only

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from kedro_mlflow_metrics.project.catalog import Entry
    from kedro_mlflow_metrics.project.context import Catalog, Context, Node, Pipeline
    from kedro_mlflow_metrics.runs.lifetime import OpenRun

__all__ = ["MlflowPipelineHook", "hook"]

_current = threading.local()  # the project of this thread's session
_newest: list[Project] = []  # for a catalog that is made in another thread


class MlflowPipelineHook:
    """Opens, names and ends the MLflow run of a pipeline that saves metrics.

    Registered by an entry point; listing it in ``settings.py`` as well does no harm. It holds no state:
    one object serves concurrent runs.
    """

    def __init__(self) -> None:
        """Kedro makes its hooks before it reads the catalog."""
        accept_spelling()

    @hook_impl
    def after_context_created(self, context: Context) -> None:
        """Learn where the project stands; read nothing yet."""
        add_patterns(context.config_loader)
        _current.project = Project.of(context)
        _newest[:] = [_current.project]

    @hook_impl(trylast=True)
    def after_catalog_created(self, catalog: Catalog, conf_catalog: dict[str, Any]) -> None:
        """Remember the catalog, so that its metrics datasets find their names."""
        catalogs.remember(catalog, getattr(_current, "project", None) or next(iter(_newest), None), conf_catalog)

    @hook_impl(trylast=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: Catalog) -> None:
        """Name the metrics datasets and open or join the run, before anything is computed."""
        if run_params.get("only_missing_outputs") or catalogs.satisfies(catalog, pipeline):
            _start(run_params, pipeline, catalog)  # else the runner says so a moment later, if it runs all nodes

    @hook_impl(trylast=True)
    def before_node_run(self, node: Node, catalog: Catalog) -> None:
        """Make the run active where the node runs, a worker process or thread too; in Dagster join it there."""
        if _in_dagster() and _open_run(catalog) is None:
            from kedro.pipeline import pipeline

            _start({"node_names": [node.name]}, pipeline([node]), catalog)
        _begin_step("KILLED")
        target = None
        for entry in catalogs.built(catalog):
            if entry.dataset.binding is None and entry.name in node.outputs:  # no pipeline was started in this process
                catalogs.remember(catalog, next(iter(_newest), None))
                entry.dataset.bind(catalogs.binding_of(entry.dataset))
            elif entry.dataset.binding is not None:
                target = target or entry.dataset.binding.target
        if target is not None:
            from kedro_mlflow_metrics.runs import lifetime

            lifetime.enter_node(catalog, target)

    @hook_impl(trylast=True)
    def after_node_run(self, node: Node, catalog: Catalog, outputs: Any) -> None:  # noqa: ANN401 - what the node returned
        """Refuse None, and learn when a generator node ends: Kedro saves what it yields and says nothing at the end.

        All its generators are watched, since of several only the first is sure to be gone through to its end.
        """
        _end_step()
        entries = {entry.name: entry for entry in catalogs.built(catalog) if entry.name in node.outputs}
        if not entries or not isinstance(outputs, dict):
            return
        for name, output in outputs.items():
            if output is None and name in entries:
                from kedro.io import DatasetError

                self.on_node_error(catalog)
                function = getattr(node.func, "__name__", node.short_name)
                raise DatasetError(f"dataset {name!r}: {function!r} returned None for it; is its 'return' missing?")
            if isinstance(output, GeneratorType):
                outputs[name] = _watched(output, [*entries.values()])

    @hook_impl
    def on_node_error(self, catalog: Catalog) -> None:
        """Remember for the end of a process of Dagster's, which Kedro is not told of, that its node failed."""
        run = _open_run(catalog)
        if run is not None and _in_dagster():
            run.outcome = "FAILED"

    @hook_impl(trylast=True)
    def before_dataset_saved(self) -> None:
        """Take an output of a node of Dagster's for failed until it is saved: no hook is told that it cannot be."""
        _begin_step("FAILED")

    @hook_impl(tryfirst=True)
    def after_dataset_saved(self) -> None:
        """It is saved."""
        _end_step()

    @hook_impl(hookwrapper=True, tryfirst=True)
    def after_pipeline_run(self, catalog: Catalog) -> Generator[None, Any, None]:
        """Send what waits before the hooks of others look at the run; end an own run as FINISHED after them."""
        _of_open_run(catalog, "send")
        outcome = yield
        _of_open_run(catalog, "finish", "FINISHED" if outcome.excinfo is None else "FAILED")

    @hook_impl(hookwrapper=True, tryfirst=True)
    def on_pipeline_error(self, error: Exception, catalog: Catalog) -> Generator[None, Any, None]:
        """After the hooks of others end an own run as FAILED, and say how to go on in it."""
        yield
        hide_our_frames(error)
        _of_open_run(catalog, "finish", "FAILED")


hook = MlflowPipelineHook()


def _start(run_params: dict[str, Any], pipeline: Pipeline, catalog: Catalog) -> None:
    """Name the metrics datasets of a pipeline, and open or join its run if it has any."""
    catalogs.remember(catalog, next(iter(_newest), None))
    names = pipeline.datasets()
    try:
        catalogs.materialise(catalog, names)
        place = catalogs.place_of(catalog)
        if not (place and place.project and any(entry.name in names for entry in catalogs.built(catalog))):
            return
        from kedro_mlflow_metrics.runs import lifetime

        if lifetime.opened(catalog) is None:  # else this hook is registered twice
            _when_the_cell_ends(lifetime.finish_interrupted)
            lifetime.start(place.project, RunRequest.of(run_params), pipeline, catalog)
    except MetricsError as exc:
        raise one_line_exit(exc) from exc


def _lifetime() -> Any:  # noqa: ANN401 - a module
    """Return what knows the open runs of this process, if anything was opened here; it is not loaded to say no."""
    return sys.modules.get("kedro_mlflow_metrics.runs.lifetime")


def _open_run(catalog: Catalog) -> OpenRun | None:
    """Return the open run of a catalog in this process."""
    lifetime = _lifetime()
    return lifetime.opened(catalog) if lifetime else None


def _in_dagster() -> bool:
    if "dagster" not in sys.modules:
        return False
    from kedro_mlflow_metrics.runs.key import op

    return op() is not None


def _begin_step(broken: str) -> None:
    """Remember how a process of Dagster's ends if what begins here does not come to its end."""
    if _lifetime() and _in_dagster():
        _lifetime().begin_step(broken)


def _end_step() -> None:
    """What began last has come to its end."""
    if _lifetime() and _in_dagster():
        _lifetime().end_step()


def _when_the_cell_ends(call: Callable[[], object]) -> None:
    """In a notebook, call something after the cell that runs: Ctrl-C ends a cell, and reaches no hook of Kedro's."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return

    def cell_ended(_result: object) -> None:
        shell.events.unregister("post_run_cell", cell_ended)
        call()

    shell.events.register("post_run_cell", cell_ended)


def _watched(items: Generator[Any, Any, Any], entries: Sequence[Entry]) -> Generator[Any, Any, Any]:
    """Go through a generator of a node, and tell the datasets when it begins and ends."""
    for entry in entries:
        entry.dataset.begin_stream()
    try:
        with first_saves_only([entry.name for entry in entries]):
            returned = yield from items
    except BaseException as exc:
        for entry in entries:
            entry.dataset.end_stream(exc)
        raise
    for entry in entries:
        entry.dataset.end_stream()
    return returned


def _of_open_run(catalog: Catalog, step: str, *arguments: str) -> None:
    """Send or finish what a pipeline writes to, if it writes to any run."""
    run = _open_run(catalog)
    if run is None:
        return
    try:
        getattr(_lifetime(), step)(run, *arguments)
    except MetricsError as exc:
        raise one_line_exit(exc) from exc
