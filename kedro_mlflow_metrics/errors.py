"""What can go wrong, each with a message of one line: what came, what is accepted, what to do."""

from __future__ import annotations

__all__ = ["InvalidMetricsError", "MetricsError", "SettingsError", "TrackingError", "one_line_exit"]


class MetricsError(Exception):
    """Base of all errors of this package."""


class InvalidMetricsError(MetricsError):
    """The data given to ``save`` is not metrics; nothing of it was written."""


class SettingsError(MetricsError):
    """``kedro_mlflow_metrics.yml`` says something that cannot be used."""


class TrackingError(MetricsError):
    """MLflow refused a request, or could not be reached.

    Args:
        message: One line.
        code: MLflow's error code where it gave one, e.g. ``RESOURCE_DOES_NOT_EXIST``.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[TrackingError], tuple[str, str]]:
        """Survive the way back from a worker process."""
        return type(self), (str(self), self.code)


def one_line_exit(error: MetricsError) -> Exception:
    """Return an error that the ``kedro`` command prints as one line instead of a traceback."""
    from click import ClickException

    return ClickException(str(error))
