"""Open the stores that the settings name."""

from __future__ import annotations

from pathlib import Path

from elt_assets.config.addresses import DatabaseAddress
from elt_assets.config.settings import Settings
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
from elt_assets.storage.warehouse.warehouse import WarehouseLayout, Warehouses
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses


def operational_database(
    settings: Settings, *, attempts: int = 10, wait: float | None = None
) -> OperationalDatabase:
    """The operational database, not yet connected; each try waits `wait` seconds for a lock."""
    address = settings.operational_address
    if address is None:
        return SqliteDatabase(
            settings.database_path, attempts=attempts, busy_timeout=1.0 if wait is None else wait
        )
    # Imported here: an installation on SQLite does not need it.
    from elt_assets.storage.operational.postgres_database import PostgresDatabase

    return PostgresDatabase(
        address,
        schema=settings.operational_schema,
        attempts=attempts,
        lock_timeout=10.0 if wait is None else wait,
    )


def warehouses(settings: Settings, layout: WarehouseLayout) -> Warehouses:
    """The warehouses, not yet opened; `layout` has the tables and views of a lake."""
    address = settings.warehouse_address
    if address is None:
        return file_warehouses(settings, settings.warehouse_path)
    return _lake(settings, address, layout)


def file_warehouses(settings: Settings, folder: Path) -> FileWarehouses:
    """The warehouses that are files in `folder`."""
    return FileWarehouses(
        folder,
        threads=settings.warehouse_threads,
        memory_limit=settings.warehouse_memory,
        spill_limit=settings.warehouse_spill,
        lock_wait=settings.lock_wait,
    )


def _lake(settings: Settings, address: DatabaseAddress, layout: WarehouseLayout) -> Warehouses:
    # Imported here: an installation on files does not need it.
    from elt_assets.storage.ducklake.lake import S3, LakeWarehouses

    storage = None
    if settings.s3_key_id is not None and settings.s3_secret is not None:
        storage = S3(
            settings.s3_endpoint, settings.s3_region, settings.s3_key_id, settings.s3_secret
        )
    return LakeWarehouses(
        address,
        data=str(settings.warehouse_data),
        schema=settings.warehouse_schema,
        layout=layout,
        spill=settings.warehouse_path / ".spill",
        s3=storage,
        threads=settings.warehouse_threads,
        memory_limit=settings.warehouse_memory,
        spill_limit=settings.warehouse_spill,
        lock_wait=settings.lock_wait,
    )
