"""The platform: an installation's stores and engine behind one object.

Belongs here: opening and closing an installation, syncing several integrations at once,
and the reads that commands and assets need. Does not: one integration's sync (engine).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.secret_refs import Secrets
from elt_assets.settings import Settings, load_settings
from elt_assets.stores.operational import OperationalDatabase
from elt_assets.stores.warehouse import Warehouses
from elt_assets.sync import change_log, latest, ledger, registry
from elt_assets.sync.engine import Engine, Request, SourceOpener
from elt_assets.sync.ledger import SyncRow
from elt_assets.sync.outcome import Outcome, ProgressListener, Stage, Status, silent
from elt_assets.sync.preview import Preview, preview
from elt_assets.sync.registry import Registry
from elt_assets.sync.stream import STREAMS, Stream
from elt_assets.sync.tables import has_tables, latest_table


class Platform:
    """One installation. Use as a context manager, or call `close`."""

    def __init__(
        self,
        settings: Settings,
        database: OperationalDatabase,
        warehouses: Warehouses,
        open_source: SourceOpener = catalog.open_source,
    ) -> None:
        self.settings = settings
        self.database = database
        self.warehouses = warehouses
        self.registry = Registry(database)
        self._engine = Engine(
            database=database,
            warehouses=warehouses,
            registry=self.registry,
            limits=FetchLimits(
                attempts=settings.fetch_attempts,
                first_wait=settings.fetch_first_wait,
                timeout=settings.request_timeout,
                page_bytes=settings.page_bytes,
                max_pages=settings.max_pages,
            ),
            open_source=open_source,
        )
        prepare_home(settings.home)
        database.migrate(also=[latest_table(stream) for stream in STREAMS.values()])

    @classmethod
    def open(
        cls, settings: Settings | None = None, open_source: SourceOpener = catalog.open_source
    ) -> Self:
        """Open the installation, creating its home and bringing its schema up to date."""
        settings = settings or load_settings()
        prepare_home(settings.home)
        return cls(
            settings,
            OperationalDatabase(settings.database_path),
            Warehouses(
                settings.warehouse_path,
                threads=settings.warehouse_threads,
                memory_limit=settings.warehouse_memory,
                lock_wait=settings.lock_wait,
            ),
            open_source,
        )

    def close(self) -> None:
        """Give back connections and files."""
        self.warehouses.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def sync(
        self,
        stream: Stream,
        refs: Sequence[IntegrationRef],
        *,
        sync_id: str,
        run_id: str | None = None,
        until: Stage = Stage.LATEST,
        pages_per_batch: int | None = None,
        progress: ProgressListener = silent,
    ) -> Iterator[Outcome]:
        """Sync several integrations at once, yielding each outcome as it settles.

        One integration's failure is its outcome and costs the others nothing; a disabled
        integration yields nothing. `progress` is called from the working threads.
        """
        requests = [
            Request(
                stream=stream,
                ref=ref,
                sync_id=sync_id,
                run_id=run_id,
                until=until,
                pages_per_batch=pages_per_batch or self.settings.pages_per_batch,
                progress=progress,
            )
            for ref in dict.fromkeys(refs)
        ]
        # DuckDB, ADBC and sockets release the interpreter: threads are enough.
        workers = min(self.settings.concurrency, len(requests)) or 1
        with ThreadPoolExecutor(workers, thread_name_prefix="sync") as pool:
            futures = [pool.submit(self._engine.sync, request) for request in requests]
            try:
                for future in as_completed(futures):
                    outcome = future.result()
                    if outcome is not None:
                        yield outcome
            finally:
                # The caller may stop listening; integrations not yet begun are left alone.
                for future in futures:
                    future.cancel()

    def records(self, stream: Stream, ref: IntegrationRef) -> list[dict[str, Any]]:
        """The latest rows of one integration. Raises `NotFound`."""
        self.registry.get(ref)
        return latest.listing(self.database, stream, ref)

    def changes(
        self, stream: Stream, ref: IntegrationRef, sync_id: str | None = None
    ) -> list[dict[str, Any]]:
        """The applied changes of one integration, oldest first. Raises `NotFound`."""
        self.registry.get(ref)
        version = ledger.version(self.database, stream, ref).version
        if not self.warehouses.exists(ref):
            return []
        with self.warehouses.open(ref, read_only=True) as connection:
            if not has_tables(connection, stream):
                return []
            return change_log.changes(connection, stream, version, sync_id)

    def rejected(self, stream: Stream, ref: IntegrationRef) -> list[dict[str, Any]]:
        """The dead letters of one integration. Raises `NotFound`."""
        self.registry.get(ref)
        if not self.warehouses.exists(ref):
            return []
        with self.warehouses.open(ref, read_only=True) as connection:
            return change_log.rejected(connection, stream) if has_tables(connection, stream) else []

    def syncs(self, ref: IntegrationRef | None = None, limit: int = 50) -> list[SyncRow]:
        """The newest syncs, newest first. Raises `NotFound` for an unknown integration."""
        if ref is not None:
            self.registry.get(ref)
        return ledger.recent(self.database, ref, limit)

    def unfinished_sync_id(self, stream: Stream, ref: IntegrationRef) -> str | None:
        """The newest sync that was begun and has not settled, if that is the newest of all."""
        row = ledger.newest(self.database, stream, ref, tuple(Status))
        return None if row is None or row.status.settled else row.sync_id

    def counts(self, stream: Stream, ref: IntegrationRef) -> dict[str, Any]:
        """Totals of one integration: records its newest sync staged, and rows in latest now."""
        self.registry.get(ref)
        row = ledger.newest(self.database, stream, ref, tuple(Status))
        staged = unique = 0
        if row is not None and self.warehouses.exists(ref):
            with self.warehouses.open(ref, read_only=True) as connection:
                if has_tables(connection, stream):
                    staged, unique = change_log.staged_and_unique(connection, stream, row.sync_id)
        return {
            "partition": ref.partition_key,
            "sync_id": None if row is None else row.sync_id,
            "staged": staged,
            "unique": unique,
            "duplicates": staged - unique,
            "latest": latest.count(self.database, stream, ref),
        }

    def preview(self, stream: Stream, ref: IntegrationRef) -> Preview:
        """Fetch one page of a registered integration and map it, writing nothing."""
        integration = self.registry.get(ref)
        source = self._engine.open_source(
            integration.provider,
            integration.provider_data,
            stream.name,
            secrets=Secrets(),
            limits=self._engine.limits,
        )
        try:
            return preview(stream, ref, source)
        finally:
            source.close()

    def remove(self, ref: IntegrationRef) -> None:
        """Offboard an integration: afterwards no trace of its people is left.

        Raises `NotFound`, or `WarehouseBusy` while a sync of it runs; nothing is gone then.
        """
        self.registry.get(ref)
        self.warehouses.remove(ref)
        shutil.rmtree(
            self.settings.drops_path / ref.organization_id / ref.integration_id, ignore_errors=True
        )
        with self.database.transaction() as transaction:
            for stream in STREAMS.values():
                latest.remove_all(transaction, stream, ref)
            ledger.forget(transaction, ref)
            registry.remove(transaction, ref)


def prepare_home(home: Path) -> None:
    """Create the folder of everything the platform writes, readable by its owner only."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InvalidInput(
            f"the home folder {home} cannot be made ({error.strerror}); set ELT_ASSETS_HOME"
        ) from None
