"""Logs and traces of this package's own code."""
