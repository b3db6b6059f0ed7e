"""Move files of an earlier release's home to their current places. Schemas migrate elsewhere."""

from __future__ import annotations

from elt_assets.config.settings import Settings
from elt_assets.storage.warehouse.warehouse import SharedFile
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses


def bring_up_to_date(settings: Settings) -> None:
    """Move the sign-in events' file out of the folder whose entries are named after tenants.

    If the process is killed at any moment, the move can be repeated. Raises `WarehouseBusy` while
    another process has the file open.
    """
    former = settings.warehouse_path / "analytics.duckdb"
    if not former.is_file():
        # There is nothing to move, or this is the folder of an organization of that name.
        return
    warehouses = FileWarehouses(settings.warehouse_path, lock_wait=settings.events_lock_wait)
    try:
        warehouses.move_shared(SharedFile("analytics"), settings.analytics_path)
    finally:
        warehouses.close()
