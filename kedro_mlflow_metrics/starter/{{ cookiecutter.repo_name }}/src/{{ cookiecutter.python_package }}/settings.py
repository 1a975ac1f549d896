"""Kedro's settings. Nothing is needed here: the plugin's hook registers itself."""
