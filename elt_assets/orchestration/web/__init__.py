"""Dagster's web server as `dev` runs it: behind a guard against requests from elsewhere."""
