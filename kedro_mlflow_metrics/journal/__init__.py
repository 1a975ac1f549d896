"""Points and runs on local disk until MLflow has answered."""
