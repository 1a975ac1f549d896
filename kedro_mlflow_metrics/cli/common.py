"""What the commands share: the project or the folder in which they are called, and errors as one line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kedro_mlflow_metrics.errors import MetricsError, one_line_exit
from kedro_mlflow_metrics.journal.folder import Journal

if TYPE_CHECKING:
    from kedro_mlflow_metrics.project.binding import Binding
    from kedro_mlflow_metrics.project.context import Project

__all__ = ["in_project", "one_line", "project_of"]


Command = TypeVar("Command", bound=Callable[..., Any])


def in_project(command: Command) -> Command:
    """Give a command the option ``--env`` and, as its first argument, what it has to know of where it is called."""

    @click.option("--env", "-e", default=None, help="Kedro environment whose settings and credentials are used.")
    @click.pass_obj  # type: ignore[arg-type] # click's type does not know what `wraps` returns
    @wraps(command)
    def called(metadata: Any, env: str | None, **options: Any) -> Any:  # noqa: ANN401 - kedro's ProjectMetadata
        with one_line():
            return command(_here(metadata, env), **options)

    return called  # type: ignore[return-value] # click calls it with options alone


@contextmanager
def one_line() -> Iterator[None]:
    """Show what goes wrong as one line instead of a traceback."""
    try:
        yield
    except MetricsError as exc:
        raise one_line_exit(exc) from exc
    except BrokenPipeError:
        raise  # whoever reads has had enough: click ends without a word
    except OSError as exc:
        raise click.ClickException(f"{exc.filename}: {exc.strerror}") from exc


def _here(metadata: Any, env: str | None) -> Binding:  # noqa: ANN401 - kedro's ProjectMetadata, or None
    """Return MLflow and the journal of the project, or of this folder if there is no project."""
    from kedro_mlflow_metrics.project.binding import Binding

    with redirect_stdout(sys.stderr):  # what Kedro logs and the project prints is no answer
        project = project_of(metadata, env)
        settings = project.settings()
        experiment = settings.experiment or project.package
        return Binding(server=project.server(settings), journal=project.journal(settings), experiment=experiment)


def project_of(metadata: Any, env: str | None) -> Project:  # noqa: ANN401 - kedro's ProjectMetadata, or None
    """Read the project's context, which runs nothing and builds no dataset; without Kedro's command find it first.

    A folder in a project is taken for itself while its own journal holds what a script has left there.
    """
    from kedro_mlflow_metrics.project.context import Project

    here = Path.cwd()
    above = (folder for folder in (here, *here.parents) if Journal(str(folder)).in_project)
    root = metadata.project_path if metadata else next(above, None)
    if root is None and env is not None:
        raise click.UsageError("--env is for a Kedro project, and there is none in this folder or above it")
    if root is None or (metadata is None and env is None and root != here and Journal(str(here)).runs()):
        return Project(here, "Default", "", {})  # MLflow's own experiment, and no settings
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Kedro's own doings, which no command is about
        if metadata is None:
            bootstrap_project(root)
        with KedroSession.create(project_path=root, env=env) as session:
            return Project.of(session.load_context())  # type: ignore[attr-defined] # not in Kedro's abstract session
