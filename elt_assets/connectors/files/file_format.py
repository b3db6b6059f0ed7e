"""Formats of files: which one a name means, and whether half a file can pass for a whole one."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

Format = Literal["csv", "jsonl", "json", "parquet"]

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSED = frozenset({".gz", ".gzip", ".zst", ".zstd"})
_CHECKED = frozenset({".gz", ".gzip"})


def format_of_name(name: str) -> Format | None:
    """The format that a file's name or a pattern of names means, by its suffix."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return _FORMATS.get(suffixes[-1]) if suffixes else None


def proves_itself(name: str, stated: Format | None = None) -> bool:
    """Whether half of such a file cannot be read as a whole one.

    A Parquet file ends with its footer, a JSON document with its closing bracket, and gzip
    (RFC 1952) with a checksum and a length.
    """
    kind = stated or format_of_name(name)
    return kind in ("parquet", "json") or PurePosixPath(name).suffix.lower() in _CHECKED
