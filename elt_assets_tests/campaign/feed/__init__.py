"""The feed campaign: every process around the change feed dies, and nothing is lost."""
