"""How much patience and room one extraction has.

Belongs here: the limits every kind of source respects, as one value. Does not: their
defaults (settings) or their enforcement (http, rest).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Limits of one file, whatever it says of itself; a file beyond one of them is not read."""

    bytes: int = 16 * 2**30
    """Largest file, decompressed."""
    spill_bytes: int = 2 * 2**30
    """Largest JSON document that must be decompressed into a temporary file."""
    expansion: int = 100
    """How many times its size a file may become, from 32 MiB on."""
    columns: int = 2_000
    """Columns of a CSV or Parquet file."""
    depth: int = 64
    """How deep lists and objects of a Parquet file's columns may be nested."""
    group_bytes: int = 2**30
    """Largest row group of a Parquet file, decompressed."""
    open_bytes: int = 128 * 2**20
    """What of a row group is in memory at once: a page of each column, its dictionary, lists."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one extraction; each ends in an error or a cut that says so, never in silence."""

    attempts: int
    """Tries for one page."""
    first_wait: float
    """Seconds before the second try; the wait doubles from there, with jitter."""
    timeout: float
    """Seconds for one request, from sending it to the last byte of the answer."""
    page_bytes: int
    """Largest page after decompression."""
    max_pages: int
    """Pages of one extraction before it is cut short."""
    retry_budget: int = 200
    """Further tries that all pages of one extraction may use together."""
    files: FileLimits = FileLimits()
    """Limits of a file, for sources that read files."""
