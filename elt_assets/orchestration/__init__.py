"""Everything that Dagster runs: assets, checks, jobs, sensors and its instance."""
