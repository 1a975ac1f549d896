"""``kedro metrics init``: writes a settings file to fill in, and keeps local stores out of Git."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kedro_mlflow_metrics.cli.common import one_line, project_of

if TYPE_CHECKING:
    from kedro.framework.startup import ProjectMetadata

__all__ = ["init"]

IGNORED = ("mlflow.db*", "mlruns/")
SETTINGS = """\
# Settings of kedro-mlflow-metrics. All are optional; what stands here are the defaults, or examples.
# MLflow's own environment variables, such as MLFLOW_TRACKING_URI, win over this file.

# Where metrics go: the address of an MLflow server, a database or a folder. The default is mlflow.db in this project.
# tracking_uri: https://mlflow.example.com

# The experiment of new runs; by default the name of the project's package.
# experiment: churn

# A key of credentials.yml. Its entries are MLflow's environment variables, such as MLFLOW_TRACKING_TOKEN.
# credentials: mlflow

# run:
#   name: "{pipeline} {started}"  # of a new run; {env} and {project} may stand there too
#   tags: {}                      # of a new run
#   key: null                     # sessions with the same key log to one run
#   active: true                  # whether mlflow.log_figure in a node lands in the same run
#   system_metrics: null          # whether MLflow measures CPU, memory and GPU

# What stands between a dataset's name and a metric's. With "/" MLflow's charts have a section for each dataset.
# separator: "."

# Points that cannot be sent wait on disk (journal), or stop the pipeline (fail).
# on_failure: journal

# Seconds for one request.
# timeout: 10

# Set enabled to false to log nothing, or name pipelines that log nothing.
# enabled: true
# disabled_pipelines: []

# Whether a run on a terminal ends with a table of its metrics.
# summary: true

# Which metrics are the better the higher, or the lower: 'kedro metrics compare' marks the best of a row.
# better:
#   higher: []                    # patterns of names, such as "*accuracy"
#   lower: []                     # such as "*loss"

# journal:
#   path: .kedro_mlflow_metrics   # where points wait
#   max_bytes: 1073741824         # how much of them, 1 GiB
"""


@click.command()
@click.pass_obj
def init(metadata: ProjectMetadata | None) -> None:
    """Write a settings file that has every setting as a comment, and keep local stores out of Git.

    The file is conf/base/kedro_mlflow_metrics.yml; the lines go to .gitignore. What is there already is left as it is.
    """
    with one_line():
        project = project_of(metadata, None)
        file, ignore = project.settings_file, project.root / ".gitignore"
        if file is None:
            raise click.UsageError("there is no Kedro project in this folder or above it")
        if file.exists():
            click.echo(f"{file} is there already.")
        else:
            file.write_text(SETTINGS, encoding="utf-8")
            click.echo(f"Wrote {file}")
        text = ignore.read_text(encoding="utf-8") if ignore.exists() else ""
        missing = [line for line in IGNORED if line not in text.split()]
        if missing:
            above = text if not text or text.endswith("\n") else f"{text}\n"
            ignore.write_text(above + "".join(f"{line}\n" for line in missing), encoding="utf-8")
            click.echo(f"Added {' and '.join(missing)} to {ignore}")
