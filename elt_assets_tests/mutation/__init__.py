"""Mutation checks: every comparison and boolean of the modules that judge is held by a test."""
