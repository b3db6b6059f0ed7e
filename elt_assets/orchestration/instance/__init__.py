"""Dagster's instance: its home, dagster.yaml, storage and run history."""
