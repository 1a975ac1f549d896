"""What Kedro says of a project: its context, settings, catalog and entries."""
