"""The number of rows that move from one engine to another at once."""

from __future__ import annotations

ROWS_AT_ONCE = 10_000
"""Rows in one piece. DuckDB reserves memory for so many of every column of an answer; its own
choice is a million, 80 MB for each answer, however small."""
