"""The interface that a database implements to be a source.

Paging is in `sql_source`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

BESIDES = 1 << 20
"""Bytes of an answer besides its rows: names of columns, and the rows' framing."""
GRACE = 10.0
"""Seconds after which a server that ends a statement by itself has ended it."""
PAGE_OVERRUN = (
    "the server sends more bytes for one page of rows than ELT_ASSETS_PAGE_BYTES allows; lower "
    "page_size, leave large columns out, or raise the setting"
)
ROW_OVERRUN = (
    "the server sends more bytes for one row than ELT_ASSETS_RECORD_BYTES allows; leave large "
    "columns out, or raise the setting"
)

Key = int | float | str | dict[str, str]
"""A key's value as a cursor keeps it; each database reads what it wrote."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What the database says of the whole result: rows, rows with a key, different keys."""

    rows: int
    with_key: int
    distinct: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows as JSON texts, in the order of the key, and the last one's key."""

    records: list[bytes]
    last: Key | None


class SqlReader(Protocol):
    """One read-only session."""

    def survey(self) -> Survey:
        """Count. Raises `ProviderRefused` or `ProviderUnavailable`."""

    def rows(self, after: Key | None, limit: int) -> Rows:
        """The next rows behind `after`. Raises the same."""

    def close(self) -> None:
        """End the session."""
