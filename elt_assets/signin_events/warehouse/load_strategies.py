"""Three ways to load rows into a table, each of which may be repeated without effect.

`delete_then_insert` replaces a part of a table, such as a day, when the new rows are all rows of
that part. `upsert` corrects rows by their key, wherever they are, and leaves correct rows alone.
`refresh` builds a whole table next to the old one, however long that takes, and then replaces the
old one in one step.

The first two run inside the caller's transaction, so that data that depends on the rows is
committed with them; `refresh` has its own transaction. Each module that loads a table documents
which strategy it uses, and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from elt_assets.storage.warehouse.warehouse import one_row, row_of, transaction


def delete_then_insert(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    part: Mapping[str, object],
    query: str,
    parameters: Mapping[str, object] | None = None,
) -> int:
    """Replace the rows of `table` with the values `part` by those of `query`; return how many."""
    condition = " AND ".join(f"{column} = ${column}" for column in part)
    connection.execute(f"DELETE FROM {table} WHERE {condition}", dict(part))
    return inserted(connection, f"INSERT INTO {table} BY NAME {query}", parameters)


@dataclass(frozen=True, slots=True)
class Changes:
    """The counts of an upsert; `touched` has the values of the observed column in changed rows."""

    inserted: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    touched: tuple[Any, ...] = ()


def upsert(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    *,
    key: Sequence[str],
    incoming: str,
    among: str,
    observed: str,
) -> Changes:
    """Make the rows of `table` that have a key of `among` equal to those of `incoming`.

    `incoming` (all columns, each key once) and `among` (key columns) are names of tables. Rows
    that are already equal are not written. `observed` is the column whose values are returned.
    """
    columns = [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
    keys = ", ".join(key)
    # A join keeps one side in memory, so it compares hashes of rows instead of whole rows.
    narrow = f"{keys}, {observed} AS observed, hash({', '.join(columns)}) AS content"
    same_key = " AND ".join(f"new.{name} = old.{name}" for name in key)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE changed AS
        SELECT
            {", ".join(f"coalesce(new.{name}, old.{name}) AS {name}" for name in key)},
            old.{key[0]} IS NULL AS is_new,
            new.{key[0]} IS NULL AS is_gone,
            new.content IS DISTINCT FROM old.content AS differs,
            old.observed AS observed_before,
            new.observed AS observed_after
        FROM (SELECT {narrow} FROM {incoming}) AS new
        FULL JOIN (SELECT {narrow} FROM {table} SEMI JOIN {among} USING ({keys})) AS old
            ON {same_key}
        """
    )
    new, updated, gone, same = one_row(
        connection,
        """
        SELECT
            count(*) FILTER (is_new),
            count(*) FILTER (differs AND NOT is_new AND NOT is_gone),
            count(*) FILTER (is_gone),
            count(*) FILTER (NOT differs)
        FROM changed
        """,
        {},
    )
    touched = connection.execute(
        """
        SELECT DISTINCT unnest([observed_before, observed_after]) AS observed
        FROM changed
        WHERE differs
        """
    ).fetchall()
    connection.execute("DELETE FROM changed WHERE NOT differs")
    connection.execute(
        f"DELETE FROM {table} USING changed WHERE "
        + " AND ".join(f"{table}.{name} = changed.{name}" for name in key)
    )
    connection.execute(
        f"INSERT INTO {table} BY NAME SELECT * FROM {incoming} SEMI JOIN changed USING ({keys})"
    )
    connection.execute("DROP TABLE changed")
    values = sorted(row[0] for row in touched if row[0] is not None)
    return Changes(new, updated, gone, same, tuple(values))


def refresh(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    query: str,
    parameters: Mapping[str, object] | None = None,
) -> int:
    """Replace `table` by the rows of `query`; return the number of rows.

    A concurrent reader sees the whole old table or the whole new one. The next refresh drops the
    table that an interrupted refresh left behind.
    """
    successor = f"{table}_successor"
    connection.execute(f"DROP TABLE IF EXISTS {successor}")
    columns = ", ".join(
        f'"{name}" {kind}{"" if null == "YES" else " NOT NULL"}'
        for name, kind, null, *_ in connection.execute(f"DESCRIBE {table}").fetchall()
    )
    connection.execute(f"CREATE TABLE {successor} ({columns})")
    rows = inserted(connection, f"INSERT INTO {successor} BY NAME {query}", parameters)
    with transaction(connection):
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"ALTER TABLE {successor} RENAME TO {table}")
    return rows


def insert_row(
    connection: duckdb.DuckDBPyConnection, table: str, row: Mapping[str, object]
) -> None:
    """Insert one row, given by the names of its columns."""
    connection.execute(f"INSERT INTO {table} BY NAME {row_of(row)}", dict(row))


def inserted(
    connection: duckdb.DuckDBPyConnection,
    statement: str,
    parameters: Mapping[str, object] | None = None,
) -> int:
    """Run an INSERT; return how many rows it wrote."""
    row = connection.execute(statement, dict(parameters or {})).fetchone()
    return 0 if row is None else int(row[0])
