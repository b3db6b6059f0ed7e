"""Migrate integrations' warehouse files to the lake that the settings name.

Each integration is migrated independently. Its file stays locked from the first row read until the
file is set aside, so that no sync continues in it. An interrupted migration can be repeated and
skips integrations that are done. `warehouse_copy` copies and compares the rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from elt_assets.errors import InvalidInput, PermanentError, SyncError
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse import Warehouse, Warehouses
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses
from elt_assets.sync.admin.warehouse_copy import contents, copy_tables


class MigratedWarehouse(msgspec.Struct, frozen=True):
    """An integration that was migrated, with the number of its rows, or `error`: why it was not."""

    partition: str
    rows: int = 0
    error: str | None = None


def migrate_warehouses(source: FileWarehouses, target: Warehouses) -> Iterator[MigratedWarehouse]:
    """Copy every file into `target`, compare all rows, and set the file aside."""
    for ref in source.refs():
        try:
            yield MigratedWarehouse(ref.partition_key, _move(source, target, ref))
        except (SyncError, InvalidInput) as error:
            yield MigratedWarehouse(ref.partition_key, error=ref.before(str(error)))


def _move(source: FileWarehouses, target: Warehouses, ref: IntegrationRef) -> int:
    with source.retiring(ref) as leaving, target.open(ref) as arriving:
        wanted = contents(leaving)
        if not any(rows for rows, _ in contents(arriving).values()):
            copy_tables(leaving, arriving, ref)
        _compare(wanted, arriving, ref)
        return sum(rows for rows, _ in wanted.values())


def _compare(wanted: dict[str, tuple[int, int]], arriving: Warehouse, ref: IntegrationRef) -> None:
    found = contents(arriving)
    other = [table for table in sorted({*wanted, *found}) if wanted.get(table) != found.get(table)]
    if other:
        raise PermanentError(
            f"{ref}: its rows of {', '.join(other)} in the lake differ from those in its file, "
            "perhaps because it was already synced in the lake; the file stays where it is. Its "
            "latest table is right either way, and its history continues in the lake"
        )
