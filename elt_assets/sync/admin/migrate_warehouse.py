"""Moving: integrations' warehouse files into the lake that settings name by now.

Belongs here: going over the files, and that nothing is lost or left half done. Does not: how
rows travel or are compared (warehouse_copy).

Each integration is a matter of its own. Its file is held from the first row read until it is put
aside, so that no sync goes on in it meanwhile; interrupted, the move is repeated and finds what
is done.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from elt_assets.errors import InvalidInput, PermanentError, SyncError
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse import Warehouse, Warehouses
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses
from elt_assets.sync.admin.warehouse_copy import contents, copy_tables


class MovedWarehouse(msgspec.Struct, frozen=True):
    """An integration whose history moved, with so many rows; or `error`, why it did not."""

    partition: str
    rows: int = 0
    error: str | None = None


def move_warehouses(source: FileWarehouses, target: Warehouses) -> Iterator[MovedWarehouse]:
    """Copy every file into `target`, compare all rows, and put the file aside."""
    for ref in source.refs():
        try:
            yield MovedWarehouse(ref.partition_key, _move(source, target, ref))
        except (SyncError, InvalidInput) as error:
            yield MovedWarehouse(ref.partition_key, error=ref.before(str(error)))


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
            f"{ref}: the lake holds something else in {', '.join(other)} than its file does, "
            "perhaps because it was synced there already; the file stays where it is. Its latest "
            "table is right either way, and its history goes on in the lake"
        )
