"""Transactions and sessions of a connection to PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import lru_cache

import adbc_driver_manager
import pyarrow as pa
import pyarrow.compute as pc
from adbc_driver_manager.dbapi import Connection, Cursor

from elt_assets.errors import (
    DatabaseUnavailable,
)
from elt_assets.storage.arrow_chunks import ROWS_AT_ONCE
from elt_assets.storage.operational.database import (
    Parameters,
    Row,
    Transaction,
)
from elt_assets.storage.operational.sql_dialect import PostgresDialect

_COPY = "adbc.postgresql.use_copy"

_STREAM = "stream"


class PostgresTransaction(Transaction):
    """A transaction of PostgreSQL that holds its advisory locks."""

    dialect = PostgresDialect()

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        with closing(self._connection.cursor()) as cursor:
            return run_statement(cursor, sql, parameters)

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        return rows_of(self._connection, sql, parameters)

    @contextmanager
    def reader(self, sql: str, parameters: Parameters = ()) -> Iterator[pa.RecordBatchReader]:
        """A query's rows as a stream of Arrow batches.

        The rows are fetched in parts from a cursor of the server: for a query with parameters, the
        driver would hold the whole result in memory.
        """
        with closing(self._connection.cursor()) as cursor:
            run_statement(cursor, f"DECLARE {_STREAM} NO SCROLL CURSOR FOR {sql}", parameters)
        failed: list[BaseException] = []

        def batches(part: pa.Table) -> Iterator[pa.RecordBatch]:
            while part.num_rows:
                yield from part.to_batches()
                try:
                    part = self._fetched()
                except (adbc_driver_manager.Error, OSError) as error:
                    # DuckDB, which reads the stream, replaces this error by one of its own.
                    failed.append(error)
                    raise

        first = self._fetched()
        try:
            with closing(pa.RecordBatchReader.from_batches(first.schema, batches(first))) as read:
                yield read
        except BaseException as error:
            if failed:
                raise failed[0] from error
            raise
        self.execute(f"CLOSE {_STREAM}")

    def _fetched(self) -> pa.Table:
        with closing(self._connection.cursor()) as cursor:
            cursor.adbc_statement.set_options(**{_COPY: "false"})
            cursor.execute(f"FETCH {ROWS_AT_ONCE} FROM {_STREAM}")
            return cursor.fetch_arrow_table()

    @contextmanager
    def ingested(self, table: str, data: pa.RecordBatchReader | pa.Table) -> Iterator[str]:
        """Bulk-load `data` by COPY into a temporary table; yield its name for SQL."""
        name = f'pg_temp."{table}"'
        with closing(self._connection.cursor()) as cursor:
            cursor.adbc_ingest(table, _without_nul(data), mode="create", temporary=True)
            # Without statistics the planner assumes few rows where there are a million.
            run_statement(cursor, f"ANALYZE {name}")
        yield name
        self.execute(f"DROP TABLE {name}")


class LockSession:
    """A separate connection whose locks last until `unlock`, or until the connection is lost."""

    def __init__(self, connection: Connection, translated: _Translated) -> None:
        self._connection = connection
        self._translated = translated

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Run one statement, committed at once; return its rows as dictionaries."""
        with self._translated():
            return rows_of(self._connection, sql, parameters)

    def unlock(self) -> None:
        """Release every lock; the server has released those of a lost connection already."""
        with suppress(DatabaseUnavailable):
            self.rows("SELECT pg_advisory_unlock_all()::text")


_Translated = Callable[[], AbstractContextManager[None]]


def run_statement(cursor: Cursor, sql: str, parameters: Parameters = ()) -> int:
    """Run a statement; return how many rows it changed."""
    # Not through `execute`, which fetches rows and does not return the number of changed rows.
    statement = cursor.adbc_statement
    statement.set_sql_query(_numbered(sql))
    if parameters:
        statement.bind(
            pa.RecordBatch.from_pydict(
                {str(place): [_clean(value)] for place, value in enumerate(parameters)}
            )
        )
    return max(0, int(statement.execute_update()))


def rows_of(connection: Connection, sql: str, parameters: Parameters = ()) -> list[Row]:
    """The rows of a query, each by column name."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(_numbered(sql), [_clean(value) for value in parameters] or None)
        rows: list[Row] = cursor.fetch_arrow_table().to_pylist()
        return rows


@lru_cache(maxsize=256)
def _numbered(sql: str) -> str:
    """Replace each `?` by `$1`, `$2`, …; no statement has a question mark inside a literal."""
    parts = sql.split("?")
    return parts[0] + "".join(f"${place}{part}" for place, part in enumerate(parts[1:], 1))


def _clean(value: object) -> object:
    """Replace the character NUL, which PostgreSQL's text cannot hold, by U+FFFD."""
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else value


def _without_nul(data: pa.RecordBatchReader | pa.Table) -> pa.RecordBatchReader:
    batches = data.to_batches() if isinstance(data, pa.Table) else data

    def cleaned() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_arrays(
                [
                    pc.replace_substring(column, "\x00", "\ufffd")
                    if pa.types.is_string(column.type)
                    else column
                    for column in batch.columns
                ],
                schema=batch.schema,
            )

    return pa.RecordBatchReader.from_batches(data.schema, cleaned())
