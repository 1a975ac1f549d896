"""What the commands share: the project in which they are called, and errors as one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kedro_mlflow_metrics.errors import MetricsError, one_line_exit

if TYPE_CHECKING:
    from kedro_mlflow_metrics.project.binding import Binding

__all__ = ["in_project"]


Command = TypeVar("Command", bound=Callable[..., Any])


def in_project(command: Command) -> Command:
    """Give a command the option ``--env`` and, as its first argument, the project in which it is called."""

    @click.option("--env", "-e", default=None, help="Kedro environment whose settings and credentials are used.")
    @click.pass_obj  # type: ignore[arg-type] # click's type does not know what `wraps` returns
    @wraps(command)
    def called(metadata: Any, env: str | None, **options: Any) -> Any:  # noqa: ANN401 - kedro's ProjectMetadata
        with _one_line():
            return command(_here(metadata, env), **options)

    return called  # type: ignore[return-value] # click calls it with options alone


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except MetricsError as exc:
        raise one_line_exit(exc) from exc
    except BrokenPipeError:
        raise  # whoever reads has had enough: click ends without a word
    except OSError as exc:
        raise click.ClickException(f"{exc.filename}: {exc.strerror}") from exc


def _here(metadata: Any, env: str | None) -> Binding:  # noqa: ANN401 - kedro's ProjectMetadata
    """Read the project's context, which runs nothing and builds no dataset."""
    from kedro.framework.session import KedroSession

    from kedro_mlflow_metrics.project.binding import Binding
    from kedro_mlflow_metrics.project.context import Project

    with KedroSession.create(project_path=metadata.project_path, env=env) as session:
        project = Project.of(session.load_context())  # type: ignore[attr-defined] # not in Kedro's abstract session
    settings = project.settings()
    experiment = settings.experiment or project.package
    return Binding(server=project.server(settings), journal=project.journal(settings), experiment=experiment)
