"""A stream of a SQL integration, page by page in the order of its key.

A cursor is `{"pages": number, "after": the last key, "total": rows at the beginning}`. `WHERE key >
last` skips a row whose key is null or equals the last one. So the source first checks that no key
is null or repeated. The database's count of rows is the `total` of the pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple
from typing import TYPE_CHECKING, cast

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.json.record_list import sound_list
from elt_assets.connectors.limits import FetchLimits, page_limit_reached
from elt_assets.connectors.mapping.field_map import parsed
from elt_assets.connectors.source import Cursor, ListsOnly, Page
from elt_assets.connectors.sql.reader import Key, SqlReader
from elt_assets.connectors.sql.server_address import server_address
from elt_assets.connectors.sql.sql_data import FileConnection, SqlData
from elt_assets.errors import PageUnreadable, PermanentError, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef

if TYPE_CHECKING:
    from elt_assets.connectors.sql.mysql_reader import MysqlReader
    from elt_assets.connectors.sql.postgresql_reader import PostgresReader

_LONGEST_KEY = 1_024
"""Most characters of a key at the end of a page; a longer one ends the extraction."""


class SqlSource(ListsOnly):
    """One stream of one SQL integration."""

    records: tuple[str, ...] = ()
    resumable = True
    """The last key is the position to continue after."""
    snapshot = True
    """A row's position follows from its own key, whichever rows are added or removed."""

    def __init__(
        self,
        config: SqlData,
        stream: str,
        *,
        ref: IntegrationRef | None,
        secrets: Secrets,
        limits: FetchLimits,
    ) -> None:
        self._config = config
        self._stream = config.streams[stream]
        self._secrets = secrets
        self._limits = limits
        self.fields = parsed(self._stream.fields, self._stream.unordered)

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        """Yield pages after `cursor` (from the first when None) up to the last one."""
        with closing(self._reader()) as reader:
            number, after, total = self._resumed(cursor, reader)
            while True:
                found = reader.rows(after, self._stream.page_size)
                number += 1
                count = len(found.records)
                longest = max(map(len, found.records), default=0)
                if longest > self._limits.record_bytes:
                    raise PageUnreadable(
                        f"page {number:,} has a row of {longest:,} bytes, more than the "
                        f"{self._limits.record_bytes:,} allowed; leave large columns out, or raise "
                        "ELT_ASSETS_RECORD_BYTES"
                    )
                body = sound_list(found.records, lambda at: f"row {at + 1:,} of the page")
                if len(body) > self._limits.page_bytes:
                    raise PageUnreadable(
                        f"page {number:,} has {len(body):,} bytes, more than the "
                        f"{self._limits.page_bytes:,} allowed; lower page_size, or raise "
                        "ELT_ASSETS_PAGE_BYTES"
                    )
                if count < self._stream.page_size:
                    yield Page(body, count, next=None, total=total)
                    return
                after = _position(found.last, number)
                cut_short = None
                if number >= self._limits.max_pages:
                    cut_short = page_limit_reached(self._limits.max_pages)
                next_cursor = {"pages": number, "after": after, "total": total}
                yield Page(body, count, next=next_cursor, total=total, cut_short=cut_short)
                if cut_short is not None:
                    return

    def close(self) -> None:
        """Do nothing: the iteration over `pages` closes its session."""

    def _resumed(
        self, cursor: Cursor | None, reader: SqlReader
    ) -> tuple[int, Key | None, int | None]:
        match cursor:
            case None:
                survey = reader.survey()
                key = self._stream.key
                if any(type(number) is not int for number in astuple(survey)):
                    raise ProviderUnavailable(
                        "the server's answer to count(*) is not a number; it does not follow the "
                        "protocol"
                    )
                if survey.with_key < survey.rows:
                    raise PermanentError(
                        f"{survey.rows - survey.with_key:,} of {survey.rows:,} rows have no "
                        f"{key!r}; the key must never be null"
                    )
                if survey.distinct < survey.rows:
                    raise PermanentError(
                        f"{survey.rows:,} rows have {survey.distinct:,} different {key!r}; "
                        "the key must be unique"
                    )
                return 0, None, survey.rows
            case {"pages": int(number), "after": after, "total": int(total)}:
                return number, cast("Key", after), total
        raise PermanentError("the saved position is not one of a query; start a new sync")

    def _reader(self) -> SqlReader:
        connection = self._config.connection
        # A tenant's setting must not hold a slot for longer than an integration's time budget.
        statement_timeout = min(self._config.statement_timeout, self._limits.time_budget)
        if isinstance(connection, FileConnection):
            from elt_assets.connectors.sql.sqlite_reader import SqliteReader

            return SqliteReader(
                connection,
                self._stream,
                limits=self._limits,
                statement_timeout=statement_timeout,
            )
        return _server_reader(connection.type)(
            self._stream,
            server=server_address(connection, secrets=self._secrets, limits=self._limits),
            limits=self._limits,
            statement_timeout=statement_timeout,
        )


def _position(key: Key | None, page: int) -> Key | None:
    """The last key of a page as the position that is stored with each batch."""
    if isinstance(key, str) and len(key) > _LONGEST_KEY:
        raise PermanentError(
            f"page {page:,} ends with a key of {len(key):,} characters, more than the "
            f"{_LONGEST_KEY:,} that any key may have; choose another key column"
        )
    return key


def _server_reader(database: str) -> type[PostgresReader] | type[MysqlReader]:
    # Imported when needed: each driver is a library of its own.
    if database == "mysql":
        from elt_assets.connectors.sql.mysql_reader import MysqlReader

        return MysqlReader
    from elt_assets.connectors.sql.postgresql_reader import PostgresReader

    return PostgresReader
