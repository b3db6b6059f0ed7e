"""How many rows go from one engine to another at once.

Belongs here: that number. Does not: anything that moves rows.
"""

from __future__ import annotations

ROWS_AT_ONCE = 10_000
"""Rows in one piece. DuckDB reserves memory for so many of every column of an answer; its own
choice is a million, 80 MB for each answer, however small."""
