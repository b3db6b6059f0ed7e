"""The number of rows that pass from one database engine to another at once."""

from __future__ import annotations

ROWS_AT_ONCE = 10_000
"""Rows in one Arrow batch. DuckDB reserves memory for this many values of every column of a
result; its default is a million, which takes 80 MB for each result, however small."""
