"""elt_assets: a Dagster asset graph that keeps every customer's users in sync.

The package's rooms and the direction of the imports between them are described in
docs/architecture.md; `lint-imports` enforces them. Nothing is imported or executed here.
"""
