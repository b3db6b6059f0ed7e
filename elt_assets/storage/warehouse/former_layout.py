"""Move the files of a home of an earlier release to today's places. Schemas migrate elsewhere."""

from __future__ import annotations

from elt_assets.config.settings import Settings
from elt_assets.storage.warehouse.warehouse import SharedFile
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses


def bring_up_to_date(settings: Settings) -> None:
    """Move what lies where names of tenants are today; killed at any moment, it can be repeated.

    Raises `WarehouseBusy` while another process has such a file open.
    """
    former = settings.warehouse_path / "analytics.duckdb"
    if not former.is_file():
        # Nothing, or the folder of an organization of that name.
        return
    warehouses = FileWarehouses(settings.warehouse_path, lock_wait=settings.events_lock_wait)
    try:
        warehouses.move_shared(SharedFile("analytics"), settings.analytics_path)
    finally:
        warehouses.close()
