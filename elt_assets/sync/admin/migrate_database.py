"""Migrate the operational database from its SQLite file to a PostgreSQL server.

The migration is the file's only writer, from the first row read to the last row compared. A sync
that wants to write waits, and is refused once the file is closed. Its records are in its warehouse
file, which does not move, so it continues when it is retried with the new setting.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from elt_assets.errors import InvalidInput, PermanentError
from elt_assets.storage.operational.database import OperationalDatabase, TableColumn, Transaction
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
from elt_assets.storage.operational.table_transfer import compare_rows, copy_rows
from elt_assets.sync.state.store_tables import OPERATIONAL_TABLES, operational_tables


class MigratedTable(msgspec.Struct, frozen=True):
    """A migrated table: the number of rows copied now, and of rows compared one by one."""

    table: str
    copied: int
    compared: int


def migrate(source: SqliteDatabase, target: OperationalDatabase) -> list[MigratedTable]:
    """Copy everything into the empty `target` in one transaction, compare it, close `source`.

    A target with exactly the rows of the source is left over from an interrupted migration: then
    only `source` is closed. Raises `InvalidInput` for a target with any other rows; neither
    database has changed then.
    """
    source.migrate(**operational_tables(source.dialect))
    target.migrate(**operational_tables(target.dialect))
    columns = {table: target.columns(table) for table in OPERATIONAL_TABLES}
    with source.transaction() as leaving:
        with target.transaction() as arriving:
            held = {table: _count(arriving, table) for table in OPERATIONAL_TABLES}
            if any(held.values()):
                _refuse_other_rows(leaving, arriving, columns, target)
            moved = [
                MigratedTable(
                    table,
                    0 if any(held.values()) else copy_rows(leaving, arriving, table, declared),
                    compare_rows(leaving, arriving, table, declared),
                )
                for table, declared in columns.items()
            ]
        # The target is committed before the source is closed: in the other order, a crash in
        # between would leave no database that may be written.
        source.retire(leaving, OPERATIONAL_TABLES, str(target))
    return moved


def copy_to_file(source: OperationalDatabase, path: Path) -> None:
    """Write a snapshot of the operational database to the new SQLite file `path`."""
    if source.copy(path):
        return
    target = SqliteDatabase(path)
    try:
        target.migrate(**operational_tables(target.dialect))
        with source.snapshot() as leaving, target.transaction() as arriving:
            for table in OPERATIONAL_TABLES:
                copy_rows(leaving, arriving, table, target.columns(table))
    finally:
        target.close()


def _refuse_other_rows(
    leaving: Transaction,
    arriving: Transaction,
    columns: dict[str, list[TableColumn]],
    target: OperationalDatabase,
) -> None:
    try:
        for table, declared in columns.items():
            compare_rows(leaving, arriving, table, declared)
    except PermanentError as error:
        raise InvalidInput(
            f"{target} is not empty, and not left over from an interrupted migration ({error}); "
            "name an empty database or schema (ELT_ASSETS_OPERATIONAL_SCHEMA)"
        ) from None


def _count(transaction: Transaction, table: str) -> int:
    return int(transaction.value(f"SELECT count(*) AS n FROM {table}"))
