"""Back up an installation into a folder that is its home as it was at one moment.

The operational database is copied first, in one snapshot, which defines that moment. Each
warehouse file is copied later, under its lock, and changes that were applied after the snapshot
are removed from the copy. Dagster's history and dropped files are not part of a backup.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from elt_assets.errors import InvalidInput, SyncError
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses
from elt_assets.sync.admin.migrate_database import copy_to_file
from elt_assets.sync.admin.warehouse_copy import copy_tables
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import change_log, feed_log, versions
from elt_assets.sync.state.audit_log import HEAD_FILE, KEY_FILE
from elt_assets.sync.state.registry import Registry
from elt_assets.sync.state.store_tables import has_tables
from elt_assets.sync.streams import STREAMS, StreamKey


class Backup(msgspec.Struct, frozen=True):
    """What was copied; `left` names integrations that could not be copied, with the reason."""

    folder: str
    integrations: int
    files: int
    bytes: int
    left: tuple[str, ...] = ()


def backup(platform: SyncService, folder: Path) -> Backup:
    """Copy the installation into the new folder `folder`, while it keeps running.

    The folder appears once it is complete. Raises `InvalidInput` if it already exists.
    """
    folder = folder.absolute()
    if folder.exists():
        raise InvalidInput(f"{folder} exists already; name a new folder for the backup")
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True, mode=0o770)
    settings = platform.settings.model_copy(update={"home": unfinished})
    # Copied before the database, so that the copied log has every entry up to the copied head.
    for name in (KEY_FILE, HEAD_FILE):
        with suppress(FileNotFoundError):
            shutil.copy(platform.settings.home / name, settings.home / name)
    copy_to_file(platform.database, settings.database_path)
    database = SqliteDatabase(settings.database_path)
    feed_log.renew(database)
    shared = FileWarehouses(platform.settings.analytics_path, lock_wait=settings.lock_wait)
    shared_copies = FileWarehouses(settings.analytics_path)
    copies = FileWarehouses(settings.warehouse_path, lock_wait=settings.lock_wait)

    def copied(ref: IntegrationRef) -> str | None:
        try:
            _copy_file(platform, database, copies, ref)
        except SyncError as error:
            return ref.before(str(error))
        return None

    try:
        registered = [found.ref for found in Registry(database).all()]
        refs = [ref for ref in registered if platform.warehouses.exists(ref)]
        with ThreadPoolExecutor(settings.concurrency, "backup") as pool:
            left = [line for line in pool.map(copied, refs) if line is not None]
        for file in shared.shared():
            # These files do not depend on the versions in the other stores.
            shared.copy(file, shared_copies.path(file))
    finally:
        shared.close()
        shared_copies.close()
        copies.close()
        database.close()
    os.replace(unfinished, folder)
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Backup(str(folder), len(registered), len(refs) - len(left), sum(sizes), tuple(left))


def _copy_file(
    platform: SyncService,
    database: OperationalDatabase,
    copies: FileWarehouses,
    ref: IntegrationRef,
) -> None:
    if not platform.warehouses.copy(ref, copies.path(ref)):
        with platform.warehouses.open(ref, read_only=True) as source, copies.open(ref) as target:
            copy_tables(source, target, ref)
    with copies.open(ref) as warehouse, warehouse.transaction():
        for stream in STREAMS.values():
            if has_tables(warehouse, stream):
                applied = versions.current(database, StreamKey(stream, ref)).version
                change_log.cut_back(warehouse, stream, applied)
