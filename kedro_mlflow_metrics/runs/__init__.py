"""Which MLflow run a pipeline writes to, from its first node to its end."""
