"""Read handwritten digits: a small project that shows kedro-mlflow-metrics at work."""
