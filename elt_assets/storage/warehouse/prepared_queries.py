"""Queries that are planned once and run many times over data that was just read.

DuckDB plans a query again if it has parameters, or if a table that it reads was created or replaced
since. For a small batch, planning takes twice as long as running. A query without parameters that
reads an object, which returns other Arrow data each time, is planned once.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count

import duckdb
import pyarrow as pa

from elt_assets.storage.arrow_chunks import ROWS_AT_ONCE

_KEPT = 128
"""Plans that a connection keeps. A plan takes a few hundred kilobytes; without a limit, plans would
accumulate where every integration has a different field map."""


class PreparedQueries:
    """One connection's prepared queries; its default database is not changed."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, kept: int = _KEPT) -> None:
        self._connection = connection
        self._kept = kept
        self._sources: dict[str, _Source] = {}
        self._names: OrderedDict[str, str] = OrderedDict()
        self._numbers = count()

    def run(self, query: str, source: str, rows: pa.Table) -> pa.Table:
        """The result of `query`, a SELECT without parameters that reads `rows` as `source`.

        `rows` must always have the same columns for the same `source`.
        """
        if source not in self._sources:
            self._sources[source] = _Source(rows)
            self._connection.register(source, self._sources[source])
        self._sources[source].rows = rows
        try:
            answer = self._connection.execute(f"EXECUTE {self._name(query)}")
            return answer.to_arrow_table(ROWS_AT_ONCE)
        finally:
            self._sources[source].rows = rows.schema.empty_table()

    def _name(self, query: str) -> str:
        if query in self._names:
            self._names.move_to_end(query)
            return self._names[query]
        while len(self._names) >= self._kept:
            _, oldest = self._names.popitem(last=False)
            self._connection.execute(f"DEALLOCATE {oldest}")
        name = f"query_{next(self._numbers)}"
        self._connection.execute(f"PREPARE {name} AS {query}")
        self._names[query] = name
        return name


class _Source:
    """The object that DuckDB reads under one name; DuckDB gets its rows each time a query runs.

    https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html
    """

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)
