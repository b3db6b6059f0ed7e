"""Maintenance: apply the retention policy over all integrations, and reclaim disk space.

Integrations are independent of each other. One that is being synced, or whose file is damaged, is
reported as not reached and does not delay the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import msgspec

from elt_assets.errors import EltAssetsError, NotFound
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin import retention
from elt_assets.sync.admin.drop_archive import archive, past_files
from elt_assets.sync.admin.retention import Forgotten
from elt_assets.sync.clock import ago
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import ledger, sync_history, versions
from elt_assets.sync.state.registry import Integration
from elt_assets.sync.state.store_tables import has_tables
from elt_assets.sync.streams import STREAMS, StreamKey

_WORTH_REWRITING = 0.1
"""Share of the operational database that must be free before it is rewritten."""
_DAY = 86_400


class Work(msgspec.Struct, frozen=True):
    """One kind of work: the number of things processed, and the bytes freed where known."""

    what: str
    count: int
    freed_bytes: int | None = None


class MaintenanceReport(msgspec.Struct, frozen=True):
    """What was done, or would be done; `left` names integrations not reached, with the reason."""

    works: tuple[Work, ...]
    left: tuple[str, ...] = ()


class _Tidied(msgspec.Struct):
    """What maintenance did to one integration."""

    forgotten: Forgotten = Forgotten()
    syncs: int = 0
    rewritten: int = 0
    rewritten_bytes: int = 0
    archived: int = 0
    archived_bytes: int = 0
    left: str | None = None


def maintain(platform: SyncService, *, dry_run: bool = False) -> MaintenanceReport:
    """Apply the retention policy of the settings; with `dry_run`, only count what it would do."""
    integrations = platform.registry.all()
    with ThreadPoolExecutor(platform.settings.concurrency, "maintenance") as pool:
        tidied = list(pool.map(partial(_tidy, platform, dry_run=dry_run), integrations))
    return MaintenanceReport(
        works=(*_works(tidied), *_shared(platform, dry_run), _database(platform, dry_run)),
        left=tuple(one.left for one in tidied if one.left is not None),
    )


def _works(tidied: Sequence[_Tidied]) -> list[Work]:
    forgotten = sum((one.forgotten for one in tidied), Forgotten())

    def total(field: str) -> int:
        return sum(getattr(one, field) for one in tidied)

    return [
        Work("fetched records of old extractions", forgotten.staged),
        Work("dead letters of old extractions", forgotten.rejected),
        Work("changes older than the log is kept", forgotten.changes),
        Work("past syncs in the ledger", total("syncs")),
        Work("warehouse files rewritten", total("rewritten"), total("rewritten_bytes")),
        Work("dropped files archived", total("archived"), total("archived_bytes")),
    ]


def _tidy(platform: SyncService, integration: Integration, *, dry_run: bool) -> _Tidied:
    done = _Tidied()
    try:
        if platform.warehouses.exists(integration.ref):
            _tidy_warehouse(platform, integration.ref, done, dry_run)
        _archive_drops(platform, integration, done, dry_run)
    except (EltAssetsError, OSError) as error:
        done.left = integration.ref.before(str(error))
    return done


def _tidy_warehouse(
    platform: SyncService, ref: IntegrationRef, done: _Tidied, dry_run: bool
) -> None:
    settings, warehouses = platform.settings, platform.warehouses
    with warehouses.open(ref, read_only=dry_run) as warehouse:
        try:
            # The integration may have been removed while this waited for the file.
            platform.registry.get(ref)
        except NotFound:
            return
        for stream in STREAMS.values():
            if not has_tables(warehouse, stream):
                continue
            key = StreamKey(stream, ref)
            row = sync_history.newest(platform.database, key)
            kept, old = retention.extractions(
                warehouse,
                stream,
                unsettled=() if row is None or row.status.settled else (row.sync_id,),
                keep=settings.keep_extractions,
            )
            done.forgotten = done.forgotten + retention.forget(
                warehouse,
                stream,
                old=old,
                applied=versions.current(platform.database, key).version,
                before=ago(timedelta(days=settings.keep_changes_days)),
                dry_run=dry_run,
            )
            # Keep the ledger rows of syncs whose extraction is kept: begun again without its row,
            # such a sync would count as new.
            syncs = ledger.old(
                platform.database, key, ago(timedelta(days=settings.keep_syncs_days)), kept
            )
            done.syncs += len(syncs)
            if syncs and not dry_run:
                with platform.database.transaction(ref.partition_key) as transaction:
                    ledger.drop(transaction, key, syncs)
    gone, stay = done.forgotten.rows, done.forgotten.kept
    reclaimed = warehouses.reclaim(ref, gone / (gone + stay) if gone else 0.0, dry_run=dry_run)
    if reclaimed is not None:
        done.rewritten, done.rewritten_bytes = 1, reclaimed


def _archive_drops(
    platform: SyncService, integration: Integration, done: _Tidied, dry_run: bool
) -> None:
    settings = platform.settings
    before = time.time() - settings.keep_drops_days * _DAY
    for path in past_files(settings, integration, before):
        done.archived += 1
        if not dry_run:
            done.archived_bytes += archive(settings, integration, path)


def _shared(platform: SyncService, dry_run: bool) -> list[Work]:
    """Maintain the stores that integrations share."""
    return [Work(done.what, done.count) for done in platform.warehouses.look_after(dry_run=dry_run)]


def _database(platform: SyncService, dry_run: bool) -> Work:
    """Rewrite the operational database where much of it is free."""
    freed = platform.database.reclaim(_WORTH_REWRITING, dry_run=dry_run)
    if freed is None:
        return Work("operational database left to its server's autovacuum", 0)
    return Work("operational database rewritten", int(freed > 0), freed)
