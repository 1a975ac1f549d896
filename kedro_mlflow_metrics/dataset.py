"""``MlflowMetricsDataSet``: a catalog entry whose data is metrics of an MLflow run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset, DatasetError

from kedro_mlflow_metrics.delivery import read
from kedro_mlflow_metrics.delivery.stream import Stream
from kedro_mlflow_metrics.errors import MetricsError, NotThereError
from kedro_mlflow_metrics.points.forms import from_points
from kedro_mlflow_metrics.project import catalog as catalogs
from kedro_mlflow_metrics.project import entry
from kedro_mlflow_metrics.runs.fluent import made_active, new_target, source_of, target_of, what_is_known
from kedro_mlflow_metrics.runs.sinks import sinks_of

if TYPE_CHECKING:
    import os

    from kedro_mlflow_metrics.delivery.stream import Sink
    from kedro_mlflow_metrics.kubeflow.v1 import Manner
    from kedro_mlflow_metrics.project.binding import Binding

    PlotlyPreview = dict[str, Any]  # Kedro-Viz reads the name

__all__ = ["MlflowMetricsDataSet", "MlflowMetricsDataset"]

log = logging.getLogger("kedro.mlflow_metrics")


class MlflowMetricsDataSet(AbstractDataset[Any, Any]):
    """Logs the metrics that a node returns to an MLflow run, and loads them back.

    Each metric's key is the dataset's name in the catalog, a dot and the metric's name, or the explicit
    ``prefix``. ``MlflowMetricsDataset``, Kedro's spelling since 0.19, is the same class.

    Examples:
        Using the YAML API:

        ```yaml
        my_model_metrics:
          type: kedro_mlflow_metrics.MlflowMetricsDataSet

        test_metrics:
          type: kedro_mlflow_metrics.MlflowMetricsDataSet
          prefix: test
        ```

        Using the Python API:

        >>> from kedro_mlflow_metrics import MlflowMetricsDataSet
        >>> import mlflow
        >>> mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
        >>> metrics = MlflowMetricsDataSet(prefix="model")
        >>> with mlflow.start_run():
        ...     metrics.save({"accuracy": 0.93, "loss": [0.7, 0.4]})
        >>> metrics.load()
        {'accuracy': 0.93, 'loss': [{'value': 0.7, 'step': 0}, {'value': 0.4, 'step': 1}]}
    """

    DEFAULT_LOAD_ARGS: Mapping[str, Any] = {"as": "auto"}
    DEFAULT_SAVE_ARGS: Mapping[str, Any] = {"on_invalid": "raise", "names": "nearest", "kubeflow": {}}

    def __init__(  # noqa: PLR0913 - one argument per key of a catalog entry
        self,
        *,
        prefix: str | None = None,
        key: str | None = None,
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
            key: In place of a prefix, the whole name of a metric: the data is then that metric alone, a number or a
                list of numbers say, without a dict around it.
            run_id: The MLflow run to write to and read from; None for the pipeline's run. ``latest``, only to load
                from, is the newest run of the project's experiment that has metrics of this entry.
            filepath: Where the metrics are also written as a metrics file of Kubeflow Pipelines v1; entries with
                the same path share one file per run.
            load_args: ``as``: one of auto, points, values, last, frame.
            save_args: ``on_invalid``: ``raise`` refuses a bad dict, ``warn`` leaves it out. ``names``: ``nearest``
                renames a metric whose name MLflow does not take, ``exact`` refuses it. ``kubeflow``: a dict with
                percentage, raw, order, names, strict; see `kedro_mlflow_metrics.kubeflow.v1.Options`.
            version: Not accepted: every MLflow run is a version.
            metadata: Anything; kept for other tools.

        Raises:
            DatasetError: An argument that is not accepted.
        """
        entry.refuse_without_hook()
        entry.refuse_tracking(version, filepath)
        self.explicit_prefix, self.single = entry.name(key, prefix)
        self.run_id = entry.text("run_id", run_id)
        self._load_args = entry.merged("load_args", self.DEFAULT_LOAD_ARGS, load_args)
        self._save_args = entry.merged("save_args", self.DEFAULT_SAVE_ARGS, save_args)
        self.filepath, self._options = entry.file(filepath, self._save_args["kubeflow"])
        self.metadata = metadata
        self.binding: Binding | None = None  # what the hook told; None outside a pipeline run
        self._stream = Stream()

    def bind(self, binding: Binding) -> None:
        """Take the name and the run of a pipeline run; called by the hook."""
        self.binding, self._stream = binding, Stream(binding.target)

    def save(self, data: Any) -> None:  # noqa: ANN401 - the table in docs/reference/dataset.md
        """Check, stamp and log metrics; all of one save is checked before any of it is written.

        Args:
            data: A dict of metric name to value, a list of such dicts, an iterator of them (each is logged
                as it comes), or a pandas or polars frame.

        Raises:
            DatasetError: The data is not accepted, or MLflow did not take it; one line.
        """
        with self._bound() as binding:
            if not isinstance(data, Iterator):
                self._take(data, binding)
                return
            if binding.cached:
                raise MetricsError(
                    "an iterator cannot be cached, it can be read only once",
                    "remove the CachedDataset around this entry, or return a list",
                )
        self._consume(data, binding)

    def _consume(self, items: Iterator[Any], binding: Binding) -> None:
        """Log each mapping as it comes, with the run active while the iterator computes."""
        self.begin_stream()
        try:
            with made_active(binding.target, self.run_id):
                for item in items:
                    with self._bound(binding):
                        self._take(item, binding)
        except BaseException as exc:
            self.end_stream(exc)
            raise
        self.end_stream()

    def begin_stream(self) -> None:
        """Expect saves that follow one another and may be sent together, once a second."""
        self._stream.begin()

    def end_stream(self, error: BaseException | None = None) -> None:
        """Send what was collected since `begin_stream`; after Ctrl-C and the like that waits for the end of the run.

        An ``error`` that ended it before its time is the one to see: none is raised on top of it.
        """
        with nullcontext() if error is None else suppress(DatasetError), self._bound() as binding:
            interrupted = error is not None and not isinstance(error, Exception)
            self._stream.end(() if interrupted else self._sinks(binding))

    def _take(self, data: Any, binding: Binding) -> None:  # noqa: ANN401 - what `save` takes
        """Save one dict, list or frame."""
        self._stream.save(
            entry.alone(binding.plain_prefix, data) if binding.single else data,
            prefix=binding.prefix,
            warn=partial(log.warning, "%s%s", binding.label),
            lenient=self._save_args["on_invalid"] == "warn",
            exact=self._save_args["names"] == "exact",
            find=lambda: target_of(binding, self.run_id, self._stream.last),
            open_new=lambda: new_target(binding),
            sinks=self._sinks(binding),
        )

    def _sinks(self, binding: Binding) -> list[Sink]:
        """Return where points go."""
        return sinks_of(binding, self.filepath, partial(self.manner, binding))

    def manner(self, binding: Binding) -> Manner:
        """Return how its metrics stand in Kubeflow's file."""
        from kedro_mlflow_metrics.kubeflow.v1 import Manner, Options

        return Manner(self._options or Options(), binding.prefix, binding.owns)

    def load(self) -> Any:  # noqa: ANN401 - depends on `as`
        """Return this dataset's metrics, keys without prefix, in the form that ``load_args: {as}`` names.

        Raises:
            DatasetError: There is no run, or it has no metrics of this dataset.
        """
        form = self._load_args["as"]
        with self._bound() as binding:
            target = source_of(binding, self.run_id, self._stream.last)
            for each in binding.readings:
                found = read.load(target, each.owns, last=form == "last", patient=bool(self.binding))
                loaded = from_points(((each.strip(key), points) for key, points in found), form)
                if len(loaded):  # a frame has no truth
                    return loaded[binding.plain_prefix] if binding.single and form != "frame" else loaded
            if not binding.enabled:
                raise MetricsError("logging is switched off and nothing was saved in this run")
            run = f"the run {target.record.shown} in {target.server.where}"
            what = f"metric {binding.given!r}" if binding.single else f"metrics that start with {binding.prefix!r}"
            raise MetricsError(f"{run} has no {what}")

    def preview(self, runs: int = 1) -> PlotlyPreview:
        """Return the curves and last values of the newest ``runs`` of this entry, for Kedro-Viz as a Plotly figure."""
        from kedro_mlflow_metrics.runs.preview import as_figure

        return as_figure(self, runs)

    def _repr_html_(self) -> str:
        from kedro_mlflow_metrics.runs.preview import as_html

        return as_html(self)

    def _exists(self) -> bool:
        """Tell whether the run that ``save`` would write to has a metric of this dataset; create nothing."""
        with self._bound() as binding, suppress(NotThereError):
            target = source_of(binding, self.run_id, self._stream.last)
            found = read.load(target, binding.reads, last=True, patient=bool(self.binding))
            return any(True for _ in found)
        return False

    def _describe(self) -> dict[str, Any]:
        binding = self.binding or catalogs.binding_of(self, complete=False)  # Kedro asks for this at each call
        return {
            **what_is_known(binding, self._stream.last),
            "run_id": self.run_id,
            "filepath": None if self.filepath is None else self.filepath.as_posix(),
            "load_args": self._load_args,
            "save_args": self._save_args,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Take the name along: a worker process knows no catalog to find it in."""
        with self._bound() as binding:
            return {**self.__dict__, "binding": binding}

    @contextmanager
    def _bound(self, known: Binding | None = None) -> Iterator[Binding]:
        """Lend what is known of the dataset for one call, and name it in the error if the call fails."""
        label = ""
        try:
            binding = known or self.binding or catalogs.binding_of(self)
            label = binding.label
            yield binding
        except MetricsError as exc:
            raise DatasetError(f"{label}{exc}") from exc.__cause__  # no word of how we came here


MlflowMetricsDataset = MlflowMetricsDataSet
