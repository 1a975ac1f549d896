"""The settings file ``kedro_mlflow_metrics.yml``, with MLflow's own environment variables above it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from pydantic import Field, SecretStr

from kedro_mlflow_metrics.errors import SettingsError, did_you_mean
from kedro_mlflow_metrics.points.names import suggestion
from kedro_mlflow_metrics.schema import Model, as_tuple, changed, checked, validator
from kedro_mlflow_metrics.tracking.environment import own, takes

__all__ = ["BetterSettings", "RunSettings", "Settings", "read_settings", "seconds"]

FILE = "kedro_mlflow_metrics.yml"
FIELDS = ("pipeline", "started", "env", "project")  # of a run's name
_USUAL = (
    "accepted: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN and the like; set any other "
    "variable in the environment"
)


class RunSettings(Model):
    """What the run is called, whether nodes find it active, and whether the machine is measured.

    Attributes:
        name: Name of a new run, with fields for the pipeline, its local start, the Kedro environment and the project.
        tags: Tags of a new run.
        key: Runs of several sessions that share this key are one MLflow run.
        active: Whether ``mlflow.log_metric`` inside a node lands in this run.
        system_metrics: Whether MLflow measures the machine; its environment variable stands above it.
    """

    name: str = "{pipeline} {started}"
    tags: dict[str, str] = Field(default_factory=dict)
    key: str | None = None
    active: bool = True
    system_metrics: bool | None = None

    @validator("name")
    @classmethod
    def _has_known_fields(cls, name: str) -> str:
        accepted = f"accepted: {', '.join(f'{{{field}}}' for field in FIELDS)}"
        try:
            name.format(**dict.fromkeys(FIELDS, ""))
        except KeyError as exc:
            field = str(exc.args[0])
            raise ValueError(f"there is no field {{{field}}}; {did_you_mean(field, FIELDS) or accepted}") from None
        except (ValueError, IndexError, AttributeError):
            raise ValueError(f"a field cannot be read; {accepted}; a brace itself is {{{{ or }}}}") from None
        return name

    @validator("tags", before=True)
    @classmethod
    def _as_text(cls, tags: object) -> object:
        return {str(k): str(v) for k, v in tags.items()} if isinstance(tags, Mapping) else tags


class JournalSettings(Model):
    """Where points wait that could not be sent."""

    path: str = ".kedro_mlflow_metrics"
    max_bytes: int = Field(default=2**30, gt=0)


class BetterSettings(Model):
    """Which metrics are the better the higher or the lower; in a comparison the best of a row is marked.

    Attributes:
        higher: Globs of their keys.
        lower: The same.
    """

    higher: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()

    _as_list = validator("higher", "lower", before=True)(as_tuple)


class Settings(Model):
    """All settings; every one has a default.

    Attributes:
        enabled: Switched off, nothing goes to MLflow, and a later node loads from a temporary folder.
        disabled_pipelines: Names of pipelines for which it is switched off.
        tracking_uri: MLflow's address; MLflow's own default if absent.
        experiment: Name of the experiment; the project's package name if absent.
        credentials: A key of ``credentials.yml``, whose entries become environment variables of MLflow.
        run: See `RunSettings`.
        separator: What stands between prefix and metric name.
        on_failure: What a failed sending does.
        timeout: Seconds for one request.
        journal: See `JournalSettings`.
        summary: Whether a run on a terminal ends with a table of its metrics.
        better: See `BetterSettings`.
    """

    enabled: bool = True
    disabled_pipelines: tuple[str, ...] = ()
    tracking_uri: str | None = None
    experiment: str | None = None
    credentials: str | None = None
    run: RunSettings = RunSettings()
    separator: str = "."
    on_failure: Literal["journal", "fail"] = "journal"
    timeout: float = Field(default=10.0, gt=0)
    journal: JournalSettings = JournalSettings()
    summary: bool = True
    better: BetterSettings = BetterSettings()
    secrets: dict[str, SecretStr] = Field(default_factory=dict, exclude=True, repr=False)

    _as_list = validator("disabled_pipelines", before=True)(as_tuple)

    @validator("separator")
    @classmethod
    def _takes(cls, separator: str) -> str:
        if not separator or suggestion(f"a{separator}b") != f"a{separator}b":
            raise ValueError("MLflow does not take it in a name; accepted: . or / or another of _ - : and space")
        return separator

    def variables(self) -> dict[str, str]:
        """Return the credentials as environment variables; one that is set already wins."""
        return {name: value.get_secret_value() for name, value in self.secrets.items() if own(name) is None}


def read_settings(data: object, credentials: Mapping[str, Any], where: str = FILE) -> Settings:
    """Check the content of the settings file."""
    if data is None:
        data = {}
    if not isinstance(data, Mapping):
        raise SettingsError(f"{where}: got {type(data).__name__}", "accepted: keys such as tracking_uri, experiment")
    if "secrets" in data:
        raise SettingsError(f"{where}: 'secrets' is no setting", "name a key of credentials.yml in 'credentials'")
    settings = checked(Settings, data, where, run=RunSettings, journal=JournalSettings, better=BetterSettings)
    if settings.credentials is None:
        return settings
    entry = credentials.get(settings.credentials)
    if not isinstance(entry, Mapping):
        raise SettingsError(
            f"{where}: credentials.yml has no key {settings.credentials!r} with a dict of MLflow's environment "
            "variables, such as MLFLOW_TRACKING_TOKEN",
            did_you_mean(settings.credentials, map(str, credentials)),
        )
    secrets = {str(name).upper(): SecretStr(str(value)) for name, value in entry.items()}
    for name in entry:
        accepted, close = takes(str(name).upper())
        if not accepted:
            what = f"{settings.credentials!r} has {str(name)!r}, which is no environment variable of MLflow's"
            raise SettingsError(f"credentials.yml: {what}", f"did you mean {close!r}?" if close else _USUAL)
    return changed(settings, secrets=secrets)


def seconds(given: str) -> float:
    """Read MLFLOW_HTTP_REQUEST_TIMEOUT."""
    with suppress(ValueError):
        if (number := float(given)) > 0:
            return number
    raise SettingsError(f"MLFLOW_HTTP_REQUEST_TIMEOUT is {given!r}", "accepted: seconds, as a number above 0")
