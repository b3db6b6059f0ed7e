"""Files as a source: CSV, JSON Lines, JSON and Parquet, plain or compressed, in any folder."""

from __future__ import annotations
