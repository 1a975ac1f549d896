"""MLflow: its addresses, its stores, its runs."""
