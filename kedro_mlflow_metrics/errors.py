"""What can go wrong, each with a message of one line: what came, what is accepted, what to do."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "InvalidMetricsError",
    "JournalError",
    "MetricsError",
    "NotThereError",
    "SettingsError",
    "TrackingError",
    "counted",
    "did_you_mean",
    "hide_our_frames",
    "one_line_exit",
]

_CREDENTIALS = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")
_REFUSALS = (
    *_CREDENTIALS,
    "ALREADY_THERE",
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "MALFORMED_REQUEST",
    "NOT_FOUND",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
    "UNUSABLE_ADDRESS",
)


class MetricsError(Exception):
    """Base of all errors of this package.

    Args:
        reason: What happened, in one line.
        advice: What to do about it, if that is not obvious.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"{reason}; {advice}" if advice else reason)
        self.reason, self.advice = reason, advice

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive the way back from a worker process."""
        return type(self), (self.reason, self.advice), self.__dict__


class InvalidMetricsError(MetricsError):
    """The data given to ``save`` is not metrics; nothing of it was written."""


class NotThereError(MetricsError):
    """No run is what was asked for."""


class SettingsError(MetricsError):
    """``kedro_mlflow_metrics.yml`` says something that cannot be used."""


class JournalError(MetricsError):
    """The journal's folder takes no more: it is read-only, its disk is full, or its limit is reached."""

    def after(self, trouble: MetricsError | None) -> JournalError:
        """Return the same, said after what keeps the points from MLflow."""
        if trouble is None:
            return self
        advice = "; ".join(filter(None, (trouble.advice, self.advice)))
        return JournalError(f"{trouble.reason}, and {self.reason}", advice)


class TrackingError(MetricsError):
    """MLflow refused a request, or gave no answer of its own.

    Args:
        reason: What happened, in one line.
        advice: What to do about it.
        code: MLflow's error code where it gave one, e.g. ``RESOURCE_DOES_NOT_EXIST``, or one of those below.
        retry_after: Seconds that the server asked to wait.
    """

    ALREADY_THERE = "ALREADY_THERE"  # points of the request are stored, so the request was refused as a whole
    NO_STORE = "NO_STORE"  # the database file or folder is not there
    TIMED_OUT = "TIMED_OUT"
    TOO_LARGE = "TOO_LARGE"
    UNUSABLE_ADDRESS = "UNUSABLE_ADDRESS"  # it can never work, whatever is there

    def __init__(self, reason: str, advice: str = "", *, code: str = "", retry_after: float = 0.0) -> None:
        super().__init__(reason, advice)
        self.code, self.retry_after = code, retry_after

    @property
    def outage(self) -> bool:
        """Whether trying again later may help: nobody answered, or with something that is not a refusal of MLflow's."""
        return self.code not in _REFUSALS

    @property
    def credentials(self) -> bool:
        """Whether it is the user who is refused, not what was asked."""
        return self.code in _CREDENTIALS


def counted(number: int, what: str) -> str:
    """Return how many of something there are: ``1 point``, ``2 points``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def did_you_mean(wrong: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return the question for the nearest known word, or nothing if none is near."""
    close = get_close_matches(wrong, list(known), 1, cutoff)
    return f"did you mean {close[0]!r}?" if close else ""


def hide_our_frames(error: BaseException | None) -> None:
    """Let the traceback of an error that we raised end where Kedro called us: the line says all."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:  # somebody's errors may be causes of each other
        seen.append(error)
        steps, step = [], error.__traceback__
        while step is not None:
            steps.append((step.tb_frame.f_globals.get("__name__", "").partition(".")[0], step))
            step = step.tb_next
        names = [name for name, _ in steps]
        if names and names[-1] == "kedro_mlflow_metrics":
            callers = [step for name, step in steps[: names.index(names[-1])] if name == "kedro"]
            if callers:
                callers[-1].tb_next = None
        error = error.__cause__


def one_line_exit(error: MetricsError) -> Exception:
    """Return an error that the ``kedro`` command prints as one line instead of a traceback."""
    from click import ClickException

    return ClickException(str(error))
