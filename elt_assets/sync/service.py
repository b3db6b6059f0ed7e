"""The sync service: an installation's stores and engine behind one object.

It syncs several integrations at once, and has the queries that commands and assets need. The sync
of one integration is in `engine`.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, Unpack

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import Settings, load_settings
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Source
from elt_assets.connectors.tenant_rules import TenantRules
from elt_assets.errors import InvalidInput, NotFound, WarehouseBusy
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.from_settings import operational_database, warehouses
from elt_assets.storage.home import allow_open_files, prepare_home
from elt_assets.storage.operational.database import OperationalDatabase, Row
from elt_assets.storage.warehouse.former_layout import bring_up_to_date
from elt_assets.storage.warehouse.warehouse import Warehouse, Warehouses
from elt_assets.sync.clock import text
from elt_assets.sync.extract.checkpoints import staged_and_unique
from elt_assets.sync.extract.preview import Preview, preview
from elt_assets.sync.fault_injection import NO_FAULTS, Faults
from elt_assets.sync.fetch_budget import FetchBudget
from elt_assets.sync.memory_arenas import bound_arenas
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.state import (
    change_log,
    feed_log,
    latest_table,
    ledger,
    registry,
    rejections,
    sync_history,
    versions,
)
from elt_assets.sync.state.audit_log import AuditLog
from elt_assets.sync.state.dead_letters import rejected
from elt_assets.sync.state.fencing import forget_fence
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.state.registry import Integration, Registry
from elt_assets.sync.state.store_tables import (
    has_tables,
    operational_tables,
    prepare_warehouse,
    warehouse_layout,
)
from elt_assets.sync.streams import STREAMS, Stream, StreamKey
from elt_assets.sync.sync_request import (
    EngineConfig,
    RunControl,
    SourceOpener,
    SyncOptions,
    SyncRequest,
)
from elt_assets.sync.worker_pool import WorkerPool

if TYPE_CHECKING:
    from elt_assets.sync.apply.compensation import Compensation
    from elt_assets.sync.apply.rebuild import Rebuilt
    from elt_assets.sync.engine import Engine


REJECTION_LASTS = timedelta(days=30)
"""How long a rejection lasts by default."""


class SyncService:
    """One installation. Use as a context manager, or call `close`."""

    def __init__(
        self,
        settings: Settings,
        database: OperationalDatabase,
        warehouses: Warehouses,
        open_source: SourceOpener | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.warehouses = warehouses
        self.audit_log = AuditLog(database, settings)
        self.registry = Registry(database, TenantRules.of(settings), self.audit_log)
        self._config = EngineConfig(
            database=database,
            warehouses=warehouses,
            registry=self.registry,
            limits=FetchLimits.of(settings),
            safeguards=settings.safeguards,
            max_recoveries=settings.max_recoveries,
            max_resume=timedelta(hours=settings.max_resume_hours),
            confirm_after=settings.confirm_after,
            budget=FetchBudget(settings.fetch_memory),
            open_source=open_source or catalog.open_source,
            faults=faults or NO_FAULTS,
            show_values=settings.show_personal_values,
        )
        prepare_home(settings)
        allow_open_files(settings)
        bring_up_to_date(settings)
        database.migrate(**operational_tables(database.dialect))

    @cached_property
    def _engine(self) -> Engine:
        # Imported here: a command that only reads does not need it.
        from elt_assets.sync.engine import Engine

        return Engine(self._config)

    @classmethod
    def open(
        cls,
        settings: Settings | None = None,
        open_source: SourceOpener | None = None,
        faults: Faults | None = None,
    ) -> Self:
        """Open the installation, creating its home and bringing its schema up to date."""
        settings = settings or load_settings()
        prepare_home(settings)
        return cls(
            settings,
            operational_database(settings),
            warehouses(settings, warehouse_layout()),
            open_source,
            faults,
        )

    def close(self) -> None:
        """Close connections and files."""
        self.warehouses.close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sync(
        self,
        stream: Stream,
        refs: Sequence[IntegrationRef],
        *,
        sync_id: str,
        pages_per_batch: int | None = None,
        max_batches: int | None = None,
        control: RunControl = RunControl(),  # noqa: B008 (immutable)
        **options: Unpack[SyncOptions],
    ) -> Generator[Outcome]:
        """Sync several integrations at once, yielding each outcome as it settles.

        Integrations begin in the order of `refs`; one that waits for its provider lets the
        next one begin. A failure of one integration is its outcome and does not affect the
        others. A disabled integration, and one without such a stream, yields no outcome. An
        extraction is cut after `max_batches`; a cut extraction deletes no record.
        """
        bound_arenas()
        pages_per_batch = pages_per_batch or self.settings.pages_per_batch
        chosen: SyncOptions = {"run_id": None, "faults": self._config.faults, **options}
        stop = threading.Event()
        requests = [
            SyncRequest(
                key=StreamKey(stream, ref),
                sync_id=sync_id,
                pages_per_batch=pages_per_batch,
                max_pages=max_batches and max_batches * pages_per_batch,
                stop=stop,
                **chosen,
            )
            for ref in dict.fromkeys(refs)
        ]
        # DuckDB, ADBC and sockets release the interpreter: threads are enough. Closing this
        # generator sets `stop`: the running syncs then end after their current batch.
        pool = WorkerPool(
            self._engine.sync,
            requests,
            slots=self.settings.concurrency,
            at_once=self.settings.fetches,
            stop=stop,
            may_begin=control.may_begin,
        )
        with closing(pool.results(control.meanwhile)) as outcomes:
            for outcome in outcomes:
                if outcome is not None:
                    yield outcome
        for request in pool.left:
            control.left(request.key.ref)

    def retry_rejected(self, stream: Stream, ref: IntegrationRef) -> Outcome:
        """Map the newest extraction's records again with today's configuration, fetching nothing.

        Raises `NotFound`, or `InvalidInput` when there is nothing to map again.
        """
        self.registry.get(ref)
        key = StreamKey(stream, ref)
        row = sync_history.newest(self.database, key)
        if row is not None and row.again_of is not None and not row.status.settled:
            # An earlier retry has not settled: continue it under its own name.
            sync_id, again_of = row.sync_id, row.again_of
        elif row is not None and row.counts.rejected > 0:
            sync_id, again_of = f"{row.sync_id}-again{row.ordinal}", row.sync_id
        else:
            raise InvalidInput(f"{ref}: the newest sync has no rejected records to map again")
        request = SyncRequest(
            key=key,
            sync_id=sync_id,
            run_id=None,
            pages_per_batch=self.settings.pages_per_batch,
            stop=threading.Event(),
            faults=self._config.faults,
            again_of=again_of,
        )
        outcome = self._engine.sync(request)
        if outcome is None:
            raise InvalidInput(f"{ref} is disabled; enable it first")
        return outcome

    def offering(self, stream: Stream) -> list[IntegrationRef]:
        """The enabled integrations that offer `stream`, in order of registration."""
        return self.registry.offering(stream)

    def never_synced(self, stream: Stream, refs: Iterable[IntegrationRef]) -> list[IntegrationRef]:
        """Return the integrations of `refs` for which no sync of `stream` was ever begun."""
        refs = list(refs)
        begun = sync_history.begun(self.database, stream, refs)
        return [ref for ref in refs if ref not in begun]

    def standing(
        self, stream: Stream, sync_id: str, refs: Iterable[IntegrationRef]
    ) -> dict[IntegrationRef, Status]:
        """The status of the sync `sync_id` for each integration of `refs` that began it."""
        return sync_history.statuses_of(self.database, stream, sync_id, refs)

    def newest_syncs(
        self, stream: Stream, statuses: Collection[Status] = tuple(Status)
    ) -> list[SyncRow]:
        """The newest sync of every enabled integration that offers `stream`.

        With `statuses`, an integration whose newest sync has another status is left out.
        """
        rows = sync_history.newest_of_each(self.database, stream, statuses)
        if not rows:
            return []
        offering = {ref.partition_key for ref in self.offering(stream)}
        return [row for row in rows if row.partition in offering]

    def interrupted(self) -> list[SyncRow]:
        """Syncs that no process works on and that can continue: their process died, or they failed
        for a reason that may have passed.

        The lock of a warehouse file shows that a process works on the sync. The lock ends with
        that process, however the process ended.
        """
        return [
            row
            for row in sync_history.unsettled(self.database)
            if row.status is Status.FAILED or not self.warehouses.is_held(row.ref)
        ]

    def quarantined(self, ref: IntegrationRef | None = None) -> list[SyncRow]:
        """Syncs whose withheld changes wait for a decision, newest first."""
        return sync_history.quarantined(self.database, ref)

    def rejections(self, ref: IntegrationRef | None = None) -> list[Row]:
        """Rejections that still last, one row for each decision; see `state.rejections.sets`."""
        return rejections.sets(self.database, ref)

    def approve(self, ref: IntegrationRef, decided_by: str) -> list[Outcome]:
        """Apply the withheld changes of the integration. Raises `InvalidInput` if none wait."""
        outcomes = []
        for row in self._waiting(ref):
            with (
                self.audit_log.decision("approve", ref, _withheld(row)),
                self._compensating(row) as compensation,
            ):
                outcomes.append(compensation.approve(row, decided_by))
        return outcomes

    def reject(
        self, ref: IntegrationRef, decided_by: str, until: datetime | None = None
    ) -> list[SyncRow]:
        """Reject the withheld changes: their rows stay as they are until the moment `until`.

        The default is 30 days from now. Raises `InvalidInput` if no changes wait or `until` has
        passed.
        """
        moment = datetime.now(UTC)
        until = until or moment + REJECTION_LASTS
        if until <= moment:
            raise InvalidInput(f"a rejection until {until:%Y-%m-%d %H:%M} UTC has ended already")
        rows = self._waiting(ref)
        for row in rows:
            decision = rejections.Rejection(row.sync_id, decided_by, text(moment), text(until))
            detail = {**_withheld(row), "until": text(until)}
            with (
                self.audit_log.decision("reject", ref, detail),
                self._compensating(row) as compensation,
            ):
                compensation.reject(row, decision)
        return rows

    def reopen(self, ref: IntegrationRef) -> int:
        """End the rejections of an integration; return the number of changes they covered.

        The next sync of the integration withholds these changes again if they still apply.
        Raises `InvalidInput` if the integration has no rejections.
        """
        self.registry.get(ref)
        with self.audit_log.recording(ref.partition_key) as (transaction, audited):
            ended = rejections.reopen(transaction, ref)
            if ended:
                audited("reopen", ref, {"changes": ended})
        if not ended:
            raise InvalidInput(f"{ref}: nothing is rejected that could be reopened")
        return ended

    def undo(
        self, stream: Stream, ref: IntegrationRef, sync_id: str, *, force: bool = False
    ) -> Outcome:
        """Reverse one sync by a compensating sync. Raises `NotFound` or `InvalidInput`."""
        self.registry.get(ref)
        row = ledger.find(self.database, StreamKey(stream, ref), sync_id)
        if row is None:
            raise NotFound(f"{ref} has no sync {sync_id}; `elt-assets syncs {ref}` lists them")
        detail = {"stream": stream.name, "sync_id": sync_id, "force": force}
        with (
            self.audit_log.decision("undo", ref, detail),
            self._compensating(row) as compensation,
        ):
            return compensation.undo(row, force=force)

    def rebuild(self, stream: Stream, ref: IntegrationRef) -> Rebuilt:
        """Rebuild the latest rows from the change log. Raises `NotFound` or `InvalidInput`."""
        from elt_assets.sync.apply.rebuild import rebuild

        self.registry.get(ref)
        if not self.warehouses.exists(ref):
            raise InvalidInput(f"{ref} has no change log yet; sync it first")
        with self.warehouses.open(ref) as warehouse:
            self.registry.get(ref)
            key = StreamKey(stream, ref)
            prepare_warehouse(warehouse, key)
            with self.audit_log.decision("rebuild", ref, {"stream": stream.name}):
                return rebuild(self.database, warehouse, key)

    def errors(self, row: SyncRow) -> list[dict[str, Any]]:
        """Every failed attempt of a sync: attempt, error, failed_at."""
        return ledger.errors(self.database, row.key, row.sync_id)

    @contextmanager
    def reading(self, key: StreamKey) -> Iterator[Warehouse | None]:
        """The integration's warehouse, for queries; None while it has no tables of the stream."""
        if not self.warehouses.exists(key.ref):
            yield None
            return
        with self.warehouses.open(key.ref, read_only=True) as warehouse:
            yield warehouse if has_tables(warehouse, key.stream) else None

    def withheld_sample(self, row: SyncRow) -> tuple[dict[str, Any], ...]:
        """A few of the changes that a quarantined sync withheld: keys and names of fields.

        Values are included only if the settings allow it.
        """
        stream = row.key.stream
        with self.reading(row.key) as warehouse:
            if warehouse is None or row.version is None:
                return ()
            return change_log.sample(
                warehouse,
                stream,
                stream.withheld,
                row.version,
                show_values=self.settings.show_personal_values,
            )

    def records(
        self, stream: Stream, ref: IntegrationRef, as_of: str | None = None
    ) -> list[dict[str, Any]]:
        """The latest rows of one integration, or its rows at the moment `as_of` (UTC, ISO 8601).

        Raises `NotFound`.
        """
        self.registry.get(ref)
        key = StreamKey(stream, ref)
        if as_of is None:
            return latest_table.listing(self.database, key)
        version = versions.current(self.database, key).version
        with self.reading(key) as warehouse:
            return [] if warehouse is None else change_log.as_of(warehouse, key, version, as_of)

    def changes(
        self, stream: Stream, ref: IntegrationRef, sync_id: str | None = None
    ) -> list[dict[str, Any]]:
        """The applied changes of one integration, oldest first. Raises `NotFound`."""
        self.registry.get(ref)
        key = StreamKey(stream, ref)
        version = versions.current(self.database, key).version
        with self.reading(key) as warehouse:
            if warehouse is None:
                return []
            return change_log.changes(warehouse, stream, version, sync_id)

    def rejected(
        self,
        stream: Stream,
        ref: IntegrationRef,
        sync_id: str | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """The dead letters of one integration, or of one of its syncs; at most `limit` of them.

        Raises `NotFound`.
        """
        self.registry.get(ref)
        with self.reading(StreamKey(stream, ref)) as warehouse:
            return [] if warehouse is None else rejected(warehouse, stream, sync_id, limit)

    def syncs(self, ref: IntegrationRef | None = None, limit: int = 50) -> list[SyncRow]:
        """The newest syncs, newest first. Raises `NotFound` for an unknown integration."""
        if ref is not None:
            self.registry.get(ref)
        return sync_history.recent(self.database, ref, limit)

    def unfinished_sync_id(self, stream: Stream, ref: IntegrationRef) -> str | None:
        """The id of the newest sync if that has not settled; None otherwise."""
        row = sync_history.newest(self.database, StreamKey(stream, ref))
        return None if row is None or row.status.settled else row.sync_id

    def settled(self, stream: Stream, ref: IntegrationRef) -> Outcome | None:
        """The recorded result of the newest sync, if that has settled."""
        row = sync_history.newest(self.database, StreamKey(stream, ref))
        return row.outcome() if row is not None and row.status.settled else None

    def counts(self, stream: Stream, ref: IntegrationRef) -> dict[str, Any]:
        """Totals of one integration: records its newest sync staged, and rows in latest now."""
        self.registry.get(ref)
        key = StreamKey(stream, ref)
        row = sync_history.newest(self.database, key)
        staged = unique = 0
        with self.reading(key) as warehouse:
            if warehouse is not None and row is not None:
                current = versions.current(self.database, key)
                repeated = current.records_of if row.sync_id == current.sync_id else None
                staged, unique = staged_and_unique(warehouse, stream, repeated or row.sync_id)
        return {
            "partition": ref.partition_key,
            "sync_id": None if row is None else row.sync_id,
            "staged": staged,
            "unique": unique,
            "duplicates": staged - unique,
            "latest": latest_table.count(self.database, key),
        }

    def preview(self, stream: Stream, ref: IntegrationRef) -> Preview:
        """Fetch one page of a registered integration and map it, writing nothing."""
        source = self._source(stream, self.registry.get(ref))
        try:
            return preview(stream, ref, source)
        finally:
            source.close()

    def reads_changes(self, stream: Stream, integration: Integration) -> bool:
        """Whether the integration is configured to fetch only changes. Sends no request."""
        return self.full_every(stream, integration) is not None

    def full_every(self, stream: Stream, integration: Integration) -> timedelta | None:
        """How often an integration that reads changes reads everything instead.

        None for an integration that always reads everything. Sends no request.
        """
        source = self._source(stream, integration)
        source.close()
        return None if source.incremental is None else source.incremental.full_every

    def _source(self, stream: Stream, integration: Integration) -> Source:
        return self._config.open_source(
            integration.provider,
            integration.provider_data,
            stream.name,
            secrets=Secrets(),
            limits=self._config.limits,
            ref=integration.ref,
        )

    def _waiting(self, ref: IntegrationRef) -> list[SyncRow]:
        self.registry.get(ref)
        rows = self.quarantined(ref)
        if not rows:
            raise InvalidInput(f"{ref}: nothing waits for a decision")
        return rows

    @contextmanager
    def _compensating(self, row: SyncRow) -> Iterator[Compensation]:
        from elt_assets.sync.apply.compensation import Compensation

        self.registry.get(row.ref)
        with self.warehouses.open(row.ref) as warehouse:
            # Checked again: the integration may have been removed while this waited for the file.
            integration = self.registry.get(row.ref)
            prepare_warehouse(warehouse, row.key)
            delete_mode = self._config.safeguards_of(integration).delete_mode
            yield Compensation(self.database, warehouse, row.key, delete_mode)

    def remove(self, ref: IntegrationRef) -> bool:
        """Offboard an integration: afterwards no trace of its people is left in the stores.

        Returns False while another process reads the operational database: the write-ahead log
        then still holds the deleted rows, until maintenance empties it.
        Raises `NotFound`, or `WarehouseBusy` while a sync of the integration runs; nothing is
        deleted then.
        """
        self.registry.get(ref)
        # The registry's row is deleted last, so that an interrupted removal can be repeated. The
        # row is marked first: a sync that waits for the warehouse file gets a new file as soon as
        # the old one is deleted, and must not begin while the row still exists.
        with self.database.transaction(ref.partition_key) as transaction:
            registry.begin_removal(transaction, ref)
        try:
            with self.warehouses.removing(ref):
                self._forget(ref)
        except WarehouseBusy:
            with self.database.transaction(ref.partition_key) as transaction:
                registry.begin_removal(transaction, ref, begun=False)
            raise
        return self.database.empty_log()

    def _forget(self, ref: IntegrationRef) -> None:
        for folder in (self.settings.drops_path, self.settings.archive_path):
            shutil.rmtree(folder / ref.organization_id / ref.integration_id, ignore_errors=True)
        with self.audit_log.recording(ref.partition_key) as (transaction, audited):
            audited("remove", ref)
            for stream in STREAMS.values():
                latest_table.remove_all(transaction, StreamKey(stream, ref))
            feed_log.publish_removal(transaction, ref)
            ledger.forget(transaction, ref)
            forget_fence(transaction, ref)
            registry.remove(transaction, ref)


def _withheld(row: SyncRow) -> dict[str, Any]:
    return {"stream": row.stream, "sync_id": row.sync_id, "withheld": row.counts.withheld}
