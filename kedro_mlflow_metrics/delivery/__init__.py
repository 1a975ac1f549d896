"""The one way of points into MLflow, and the one way back."""
