"""elt_assets: a Dagster asset graph that keeps every customer's users in sync.

docs/architecture.md describes the folders and the direction of the imports between them, which
`lint-imports` enforces. This module imports and executes nothing.
"""
