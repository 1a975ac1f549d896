"""Metrics as a person or another program looks at them."""
