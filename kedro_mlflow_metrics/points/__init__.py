"""What a node returned, as checked points; pure functions that know neither MLflow nor Kedro."""
