"""Show the metrics that MLflow holds for the latest run of the digits example."""

import logging
import sys
from pathlib import Path

from mlflow import MlflowClient
from rich.console import Console
from rich.table import Table

STORE = Path(__file__).parent / "digits" / "mlflow.db"


def latest_run(client):
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)
    return runs[0] if runs else None


def metrics_table(client, run):
    table = Table(title=f"What MLflow holds of the run '{run.info.run_name}'", title_justify="left")
    table.add_column("metric")
    for heading in ("points", "last step", "last value"):
        table.add_column(heading, justify="right")
    for key in sorted(run.data.metrics):
        points = client.get_metric_history(run.info.run_id, key)
        last = max(points, key=lambda point: (point.step, point.timestamp))
        table.add_row(key, str(len(points)), str(last.step), f"{last.value:.4g}")
    return table


def main():
    if not STORE.exists():
        sys.exit(f"{STORE} does not exist: run the example first, with `make demo`.")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    client = MlflowClient(f"sqlite:///{STORE}")
    run = latest_run(client)
    if run is None:
        sys.exit(f"{STORE} holds no run: run the example first, with `make demo`.")
    console = Console()
    console.print(metrics_table(client, run))
    print("\nSee the curves on MLflow's pages:\n\n  cd examples/digits && ../../.venv/bin/kedro metrics ui\n")


if __name__ == "__main__":
    main()
