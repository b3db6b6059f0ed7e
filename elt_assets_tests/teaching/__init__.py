"""The original examples as tests: what goes wrong, why, and the pattern that holds."""
