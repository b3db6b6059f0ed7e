"""Faults of the embedded provider, for `demo --chaos` and the tests."""
