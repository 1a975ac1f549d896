"""``MlflowMetricsDataset``: a catalog entry whose data is metrics of an MLflow run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from kedro.io import AbstractDataset, DatasetError

from kedro_mlflow_metrics.delivery.memory import Memory
from kedro_mlflow_metrics.errors import InvalidMetricsError, MetricsError
from kedro_mlflow_metrics.points.curves import Points, Progress, to_points
from kedro_mlflow_metrics.points.forms import FORMS, from_points
from kedro_mlflow_metrics.project import catalog as catalogs
from kedro_mlflow_metrics.project import entry as arguments

if TYPE_CHECKING:
    import os

    from kedro_mlflow_metrics.kubeflow.metrics_file import MetricsFile
    from kedro_mlflow_metrics.tracking.address import Server
    from kedro_mlflow_metrics.tracking.runs import Target

__all__ = ["Binding", "MlflowMetricsDataSet", "MlflowMetricsDataset"]

log = logging.getLogger("kedro.mlflow_metrics")


@dataclass(frozen=True)
class Binding:
    """What the hook tells a dataset for one pipeline run; it travels to worker processes.

    Attributes:
        target: The run, None if there is none.
        server: The project's MLflow, for an entry with a ``run_id`` of its own.
        separator: What stands between prefix and metric name.
        siblings: The prefixes of all metrics datasets of the catalog.
        enabled: Switched off, the dataset keeps its metrics in memory.
        spool: Switched off under worker processes, the folder through which they share that memory.
        cached: Whether a CachedDataset stands around the dataset.
    """

    target: Target | None = None
    server: Server | None = None
    separator: str = "."
    siblings: frozenset[str] = field(default_factory=frozenset)
    enabled: bool = True
    spool: str | None = None
    cached: bool = False


class MlflowMetricsDataset(AbstractDataset[Any, Any]):
    """Logs the metrics that a node returns to an MLflow run, and loads them back.

    Each metric's key is the dataset's name in the catalog, a dot and the metric's name, or the explicit
    ``prefix``. ``MlflowMetricsDataSet`` is the same class.

    Examples:
        Using the YAML API:

        ```yaml
        my_model_metrics:
          type: kedro_mlflow_metrics.MlflowMetricsDataSet

        test_metrics:
          type: kedro_mlflow_metrics.MlflowMetricsDataSet
          prefix: test
          load_args:
            as: last
        ```

        Using the Python API:

        >>> from kedro_mlflow_metrics import MlflowMetricsDataset
        >>> import mlflow
        >>> mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
        >>> metrics = MlflowMetricsDataset(prefix="model")
        >>> with mlflow.start_run():
        ...     metrics.save({"accuracy": 0.93, "loss": [0.7, 0.4]})
        >>> metrics.load()
        {'accuracy': 0.93, 'loss': [{'value': 0.7, 'step': 0}, {'value': 0.4, 'step': 1}]}
    """

    DEFAULT_LOAD_ARGS: Mapping[str, Any] = {"as": "auto"}
    DEFAULT_SAVE_ARGS: Mapping[str, Any] = {"on_invalid": "raise", "kubeflow": {}}
    _CHOICES: Mapping[str, tuple[str, ...]] = {"as": FORMS, "on_invalid": ("raise", "warn")}

    def __init__(  # noqa: PLR0913 - one argument per key of a catalog entry
        self,
        *,
        prefix: str | None = None,
        run_id: str | None = None,
        filepath: str | os.PathLike[str] | None = None,
        load_args: dict[str, Any] | None = None,
        save_args: dict[str, Any] | None = None,
        version: Any = None,  # noqa: ANN401 - kedro.io.Version
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Store the arguments; nothing is opened and nobody is asked.

        Args:
            prefix: What stands before each metric's name; ``""`` for nothing, None for the dataset's name.
            run_id: The MLflow run to write to and read from; None for the pipeline's run.
            filepath: Where the metrics are also written as a metrics file of Kubeflow Pipelines v1; entries with
                the same path share one file per run.
            load_args: ``as``: one of auto, points, values, last, frame.
            save_args: ``on_invalid``: ``raise`` refuses a bad dict, ``warn`` leaves it out. ``kubeflow``: a dict
                with percentage, raw, order, names, strict; see `kedro_mlflow_metrics.kubeflow.v1.Options`.
            version: Not accepted: every MLflow run is a version.
            metadata: Anything; kept for other tools.

        Raises:
            DatasetError: An argument that is not accepted.
        """
        arguments.refuse_version(version)
        self._prefix = arguments.text("prefix", prefix)
        self._run_id = arguments.text("run_id", run_id)
        self._load_args = arguments.merged("load_args", self.DEFAULT_LOAD_ARGS, self._CHOICES, load_args)
        self._save_args = arguments.merged("save_args", self.DEFAULT_SAVE_ARGS, self._CHOICES, save_args)
        self._filepath, self._options = arguments.file(filepath, self._save_args["kubeflow"])
        self.metadata = metadata
        self._name: str | None = None
        self._binding: Binding | None = None
        self._last: Target | None = None
        self._progress: tuple[str, Progress] = ("", Progress())
        self._memory = Memory()
        self._in_parts = False

    @property
    def explicit_prefix(self) -> str | None:
        """The ``prefix`` of the entry; None if the name is the prefix."""
        return self._prefix

    @property
    def run_id(self) -> str | None:
        """The ``run_id`` of the entry."""
        return self._run_id

    @property
    def binding(self) -> Binding | None:
        """What the hook told this dataset; None outside a pipeline run."""
        return self._binding

    def bind(self, name: str, binding: Binding) -> None:
        """Take the name and the run of a pipeline run; called by the hook."""
        self._name, self._binding = name, binding
        self._last = binding.target
        self._progress = ("", Progress())
        self._memory = Memory()

    def name_it(self, name: str, *, cached: bool) -> None:
        """Take the name alone, in a process where no pipeline was started; called by the hook."""
        self._name = name
        self._binding = replace(self._surroundings(), cached=cached)

    def expect_parts(self, *, in_parts: bool) -> None:
        """Take whether a generator node is about to run, whose yields Kedro saves one by one; called by the hook."""
        self._in_parts = in_parts

    def save(self, data: Any) -> None:  # noqa: ANN401 - the table in docs/reference/dataset.md
        """Check, stamp and log metrics; all of one save is checked before any of it is written.

        Args:
            data: A dict of metric name to value, a list of such dicts, an iterator of them (each is logged
                as it comes), or a pandas or polars frame.

        Raises:
            DatasetError: The data is not accepted, or MLflow did not take it; one line.
        """
        if self._binding is not None:
            self._accept(data)
            return
        name = self._name
        self._name, self._binding = self._own_name(), self._surroundings()  # settings are read once per save
        try:
            self._accept(data)
        finally:
            self._name, self._binding = name, None

    def _accept(self, data: Any) -> None:  # noqa: ANN401 - what `save` takes
        """Save; Kedro would take a method of the name `_save` for the real one."""
        if not isinstance(data, Iterator):
            self._write(data)
            self._update_file(final=not self._in_parts)
            return
        if self._surroundings().cached:
            data_name = self._label()
            raise DatasetError(
                f"{data_name}an iterator cannot be cached, it can be read only once; remove the CachedDataset "
                "around this entry, or return a list"
            )
        self._consume(data)

    def _consume(self, items: Iterator[Any]) -> None:
        """Log each mapping as it comes, with the run active while the iterator computes."""
        from kedro_mlflow_metrics.tracking import runs

        target = self._target()
        here = nullcontext() if target is None or self._run_id is not None else runs.while_active(target)
        try:
            with here:
                for item in items:
                    self._write(item)
                    self._update_file(complain=False)
        except Exception:
            self._flush(complain=False)
            self._update_file(final=True, complain=False)
            raise
        self._flush()
        self._update_file(final=True)

    def _flush(self, *, complain: bool = True) -> None:
        """Send what waits, for as long as MLflow answers."""
        from kedro_mlflow_metrics.delivery import clock as logger

        if self._last is None:
            return
        try:
            logger.flush(self._last.server, self._last.record)
        except MetricsError as exc:
            if complain:
                raise DatasetError(f"{self._label()}{exc}") from exc

    def _write(self, data: Any) -> None:  # noqa: ANN401 - what `save` takes
        """Check the whole save, then log it, then remember how far it came."""
        enabled = self._surroundings().enabled
        target = self._target() if enabled else None
        where = target.run.run_id if target else ""
        progress = self._progress[1] if self._progress[0] == where else Progress()
        draft = progress.draft()
        points = self._points(data, draft)
        if not points:
            return
        if not enabled:
            self._memory.add(points, self._spool())
            progress.adopt(draft)
            self._progress = ("", progress)
            return
        from kedro_mlflow_metrics.delivery.clock import write

        try:
            target = target or self._new_target()
            write(target.server, target.record, points, name=self._prefix or self._own_name() or "metrics")
        except MetricsError as exc:
            raise DatasetError(f"{self._label()}{exc}") from exc
        self._last = target
        progress.adopt(draft)
        self._progress = (target.run.run_id, progress)
        file = self._file()
        if file is not None and self._options is not None:
            file.take(points, self._options, self._full_prefix())

    def _file(self) -> MetricsFile | None:
        """Return Kubeflow's file of the run that was last saved to, None if the entry asks for none."""
        if self._filepath is None or self._last is None or not self._surroundings().enabled:
            return None
        from kedro_mlflow_metrics.kubeflow.metrics_file import open_file

        return open_file(self._filepath, self._last.server, self._last.record)

    def _update_file(self, *, final: bool = False, complain: bool = True) -> None:
        """Bring Kubeflow's file up to date; at the end of a save say what it leaves out."""
        file = self._file()
        if file is None or self._options is None:
            return
        strict = complain and self._options.strict
        try:
            if not final:
                file.refresh(strict=strict)
                return
            file.complete(strict=strict)
            file.warn()
        except MetricsError as exc:
            raise DatasetError(f"{self._label()}{exc}") from exc

    def _points(self, data: Any, progress: Progress) -> list[Points]:  # noqa: ANN401 - what `save` takes
        """Turn a save into points; ``on_invalid: warn`` leaves a bad mapping out."""
        from kedro_mlflow_metrics.tracking.runs import now

        several = isinstance(data, list | tuple)
        points: list[Points] = []
        time = now()
        for position, item in enumerate(data if several else (data,)):
            attempt = progress.draft()
            where = f"{self._label()}dict {position}, " if several else self._label()
            try:
                points += to_points(item, prefix=self._full_prefix(), now=time, progress=attempt, where=where)
            except InvalidMetricsError as exc:
                if self._save_args["on_invalid"] == "raise":
                    raise DatasetError(str(exc)) from exc
                log.warning("Left out, nothing of it is logged: %s", exc)
            else:
                progress.adopt(attempt)
        return points

    def load(self) -> Any:  # noqa: ANN401 - depends on `as`
        """Return this dataset's metrics, keys without prefix, in the form that ``load_args: {as}`` names.

        Raises:
            DatasetError: There is no run, or it has no metrics of this dataset.
        """
        form = self._load_args["as"]
        if not self._surroundings().enabled:
            remembered = [(self._stripped(key), points) for key, points in self._memory.read(self._spool()).items()]
            if not remembered:
                raise DatasetError(f"{self._label()}logging is switched off and nothing was saved in this run")
            return from_points(remembered, form)
        try:
            target = self._reading_target()
            if target is None:
                self._no_run()
            from kedro_mlflow_metrics.delivery import read as reading

            found = reading.load(target.server, target.record, self._owns, last=form == "last")
            loaded = from_points(((self._stripped(key), points) for key, points in found), form)
            if not len(loaded):  # a frame has no truth
                from kedro_mlflow_metrics.tracking.address import safe_uri

                raise DatasetError(
                    f"{self._label()}the run {target.run.run_id} in MLflow at {safe_uri(target.server.uri)} has no "
                    f"metrics that start with {self._full_prefix()!r}"
                )
        except MetricsError as exc:
            raise DatasetError(f"{self._label()}{exc}") from exc
        return loaded

    def _exists(self) -> bool:
        """Tell whether the run that ``save`` would write to has a metric of this dataset; create nothing."""
        if not self._surroundings().enabled:
            return bool(self._memory.read(self._spool()))
        target = self._reading_target()
        if target is None:
            return False
        from kedro_mlflow_metrics.delivery import read as reading

        return any(True for _ in reading.load(target.server, target.record, self._owns, last=True))

    def _describe(self) -> dict[str, Any]:
        return {
            "prefix": self._prefix,
            "run_id": self._run_id,
            "filepath": None if self._filepath is None else self._filepath.as_posix(),
            "load_args": self._load_args,
            "save_args": self._save_args,
        }

    def _spool(self) -> Path | None:
        """Return the file that worker processes share for this dataset while logging is switched off."""
        folder = self._surroundings().spool
        return Path(folder, quote(self._own_name() or "", safe="")) if folder else None

    def __getstate__(self) -> dict[str, Any]:
        """Take the name along: a worker process knows no catalog to find it in."""
        return {**self.__dict__, "_name": self._own_name(), "_binding": self._surroundings()}

    # Names

    def _own_name(self) -> str | None:
        if self._name is None:
            found = catalogs.find(self)
            return found[0] if found else None
        return self._name

    def _label(self) -> str:
        name = self._own_name()
        return f"dataset {name!r}, " if name else ""

    def _full_prefix(self) -> str:
        prefix = self._prefix if self._prefix is not None else self._own_name()
        return f"{prefix}{self._surroundings().separator}" if prefix else ""

    def _owns(self, key: str) -> bool:
        """Tell whether a key of the run is this dataset's and not of one with a longer prefix."""
        mine, separator = self._full_prefix(), self._surroundings().separator
        longer = (f"{prefix}{separator}" for prefix in self._surroundings().siblings if prefix)
        return key.startswith(mine) and not any(len(other) > len(mine) and key.startswith(other) for other in longer)

    def _stripped(self, key: str) -> str:
        return key[len(self._full_prefix()) :]

    # Runs

    def _surroundings(self) -> Binding:
        """Return what the hook said, or what the catalog's project says in a notebook."""
        if self._binding is not None:
            return self._binding
        found = catalogs.find(self)
        if found is None:
            return Binding()
        _, place = found
        catalog = place.catalog()
        siblings = frozenset(catalogs.sibling_prefixes(catalog))
        cached = any(dataset is self and cached for _, dataset, cached in catalogs.metrics_datasets(catalog))
        if place.project is None:
            return Binding(siblings=siblings, cached=cached)
        try:
            settings = place.project.settings()
            server = place.project.server(settings)
        except MetricsError as exc:
            raise DatasetError(str(exc)) from exc
        return Binding(
            server=server,
            separator=settings.separator,
            siblings=siblings,
            enabled=settings.enabled,
            cached=cached,
        )

    def _target(self) -> Target | None:
        """Return the run that a save would write to; None where a new one would be opened."""
        binding = self._surroundings()
        if self._run_id is not None:
            return self._given_target(self._run_id, binding)
        if binding.target is not None:
            return binding.target
        return self._active_target()

    def _reading_target(self) -> Target | None:
        return self._target() or self._last

    def _given_target(self, run_id: str, binding: Binding) -> Target:
        from kedro_mlflow_metrics.tracking.address import RunInfo, Server
        from kedro_mlflow_metrics.tracking.runs import Target

        server = binding.server
        if server is None:
            import mlflow

            server = Server(mlflow.get_tracking_uri())
        return Target(server, RunInfo(run_id, "", "", "", 0, "", "", ""), active=False)

    def _active_target(self) -> Target | None:
        """Return MLflow's active run: its own rule, outside a pipeline run."""
        from kedro_mlflow_metrics.runs import fluent

        return fluent.active(self._surroundings().server, self._last)

    def _new_target(self) -> Target:
        """Start a run that becomes MLflow's active one."""
        from kedro_mlflow_metrics.runs import fluent

        found = catalogs.find(self)
        return fluent.start(self._surroundings().server, found[1].project if found else None)

    def _no_run(self) -> NoReturn:
        raise DatasetError(
            f"{self._label()}there is no MLflow run to load from; give the entry a run_id, start the pipeline with "
            "--params mlflow_run_id=..., or save metrics first"
        )


MlflowMetricsDataSet = MlflowMetricsDataset
