"""What the commands share: the project or the folder in which they are called, and errors as one line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kedro_mlflow_metrics.errors import MetricsError, one_line_exit
from kedro_mlflow_metrics.journal.folder import Journal

if TYPE_CHECKING:
    from kedro.framework.startup import ProjectMetadata

    from kedro_mlflow_metrics.project.binding import Binding
    from kedro_mlflow_metrics.project.context import Project
    from kedro_mlflow_metrics.views.tables import Display, Table

__all__ = ["Looking", "in_project", "looking", "matching", "one_line", "project_of"]


_LINES = 3  # of a foreign message
Command = TypeVar("Command", bound=Callable[..., Any])


def in_project(command: Command) -> Command:
    """Give a command the option ``--env`` and, as its first argument, what it has to know of where it is called."""

    @click.option("--env", "-e", default=None, help="Kedro environment whose settings and credentials are used.")
    @click.pass_obj  # type: ignore[arg-type] # click's type does not know what `wraps` returns
    @wraps(command)
    def called(metadata: ProjectMetadata | None, env: str | None, **options: object) -> object:
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
        raise click.ClickException(f"{exc.filename or 'the output'}: {exc.strerror}") from exc


def _here(metadata: ProjectMetadata | None, env: str | None) -> Binding:
    """Return MLflow and the journal of the project, or of this folder if there is no project."""
    with _reading():
        project = project_of(metadata, env)
        return project.here(project.settings())


@contextmanager
def _reading() -> Iterator[None]:
    """Keep what Kedro logs and the project prints from the answer, and say in one line why it cannot be read."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (MetricsError, click.ClickException):
        raise
    except Exception as exc:
        lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
        reason = f"the project cannot be read: {type(exc).__name__}: {' '.join(lines[:_LINES])}"
        raise MetricsError(reason, "correct its configuration or code") from exc


@dataclass(frozen=True)
class Looking:
    """What a command needs that shows runs.

    Attributes:
        here: MLflow and the journal.
        experiment: Another experiment than the project's, if one is asked for.
        display: How the project wants its metrics shown.
        form: ``json``, ``md``, or empty for a table.
    """

    here: Binding
    experiment: str
    display: Display
    form: str

    def answer(self, table: Callable[[], Table], data: Callable[[], object]) -> None:
        """Print what was asked for: a table, or the same as JSON or Markdown."""
        from kedro_mlflow_metrics.views import text
        from kedro_mlflow_metrics.views.terminal import print_table

        if self.form == "json":
            click.echo(text.strict(data()), nl=False)
        elif self.form == "md":
            click.echo(text.markdown(table()), nl=False)
        else:
            print_table(table())


def looking(command: Command) -> Command:
    """Give a command that shows runs the options that all of these have, and `Looking` as its first argument."""

    @click.option("--experiment", metavar="NAME", default="", help="Another experiment than the project's.")
    @click.option("--json", "as_json", is_flag=True, help="For programs.")
    @click.option("--md", "as_md", is_flag=True, help="A Markdown table, for a pull request.")
    @click.option("--env", "-e", default=None, help="Kedro environment whose settings and credentials are used.")
    @click.pass_obj  # type: ignore[arg-type] # click's type does not know what `wraps` returns
    @wraps(command)
    def called(
        metadata: ProjectMetadata | None,
        env: str | None,
        experiment: str,
        *,
        as_json: bool,
        as_md: bool,
        **options: object,
    ) -> object:
        if as_json and as_md:
            raise click.UsageError("--json and --md exclude each other")
        with one_line():
            from kedro_mlflow_metrics.project.catalog import display_of
            from kedro_mlflow_metrics.views.terminal import lossy

            with _reading():
                project = project_of(metadata, env)
                settings = project.settings()
                display = display_of(settings, project.config("catalog"))
            form = "json" if as_json else "md" if as_md else ""
            with lossy(sys.stdout):
                return command(Looking(project.here(settings), experiment, display, form), **options)

    return called  # type: ignore[return-value] # click calls it with options alone


def matching(globs: Sequence[str]) -> Callable[[str], bool]:
    """Return what tells whether a metric is among those that were asked for; all are if none were."""
    return lambda key: not globs or any(fnmatchcase(key, glob) for glob in globs)


def project_of(metadata: ProjectMetadata | None, env: str | None) -> Project:
    """Read the project's context, which runs nothing and builds no dataset; without Kedro's command find it first.

    A folder in a project is taken for itself while its own journal holds what a script has left there.
    """
    from kedro_mlflow_metrics.project.context import Project, project_root

    here = Path.cwd()
    root = metadata.project_path if metadata else project_root(here)
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
