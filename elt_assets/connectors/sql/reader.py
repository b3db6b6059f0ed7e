"""The interface of a database reader; `sql_source` reads pages through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

BESIDES = 1 << 20
"""Bytes of an answer in addition to its rows: names of columns, and the rows' framing."""
GRACE = 10.0
"""Seconds that a server has to end a statement by itself after statement_timeout."""
PAGE_OVERRUN = (
    "the server sends more bytes for one page of rows than ELT_ASSETS_PAGE_BYTES allows; lower "
    "page_size, leave large columns out, or raise the setting"
)
ROW_OVERRUN = (
    "the server sends more bytes for one row than ELT_ASSETS_RECORD_BYTES allows; leave large "
    "columns out, or raise the setting"
)

Key = int | float | str | dict[str, str]
"""A key's value as a cursor keeps it; the form is specific to the database."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The database's counts of the whole result: rows, rows with a key, distinct keys."""

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
        """Count rows and keys. Raises `ProviderRefused` or `ProviderUnavailable`."""

    def rows(self, after: Key | None, limit: int) -> Rows:
        """The next rows after the key `after`, at most `limit`. Raises as `survey`.

        A row or page beyond the limits raises `PageUnreadable`.
        """

    def close(self) -> None:
        """End the session."""
