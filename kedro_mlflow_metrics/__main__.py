"""``python -m kedro_mlflow_metrics``: the commands of ``kedro metrics``, in a Kedro project and anywhere else."""

from __future__ import annotations

from kedro_mlflow_metrics.cli import main

if __name__ == "__main__":
    main()
