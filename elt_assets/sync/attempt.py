"""One attempt at a sync: open, extract, detect and apply, with the commits between the stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.source import Source
from elt_assets.errors import PermanentError, RetryableError, SyncError
from elt_assets.storage.operational.database import Transaction
from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.apply.apply_transaction import Application, Superseded, VersionMoved
from elt_assets.sync.clock import now
from elt_assets.sync.detect import delete_guard
from elt_assets.sync.detect.change_detection import has_missing
from elt_assets.sync.detect.detection_step import DetectionStep
from elt_assets.sync.extract import page_reuse
from elt_assets.sync.extract.certificate import shifted_pages
from elt_assets.sync.extract.checkpoints import ExtractionState, extraction_state, repeated_keys
from elt_assets.sync.extract.extraction import Extraction, LateOpening
from elt_assets.sync.extract.page_meter import PageMeter
from elt_assets.sync.extract.page_reuse import KnownBatch, PreviousExtraction
from elt_assets.sync.extract.stored_source import StoredSource
from elt_assets.sync.extract.sync_mode import SyncMode, choose_sync_mode, watermark
from elt_assets.sync.outcome import Certificate, Counts, Mode, Outcome, Stage, Status
from elt_assets.sync.state import latest_table, ledger, rejections, sync_history, versions
from elt_assets.sync.state.fencing import raise_fence
from elt_assets.sync.state.ledger import STAGES, SyncRow
from elt_assets.sync.state.registry import Integration, gone, registered
from elt_assets.sync.state.store_tables import prepare_warehouse
from elt_assets.sync.state.versions import Reading, Version
from elt_assets.sync.streams import StreamKey
from elt_assets.sync.sync_request import EngineConfig, SyncRequest
from elt_assets.telemetry import logs, tracing
from elt_assets.telemetry.logs import logger

_DETECT_ATTEMPTS = 3


@dataclass(slots=True)
class Attempt:
    """One attempt at a request: what it has reached so far."""

    engine: EngineConfig
    request: SyncRequest
    secrets: Secrets
    opened: bool = False
    again_of: str | None = None
    opened_source: Source | None = None
    """The source that was opened to choose the sync mode, until the extraction takes it over."""
    before: Version = field(default_factory=Version)
    """The latest table's version when this attempt got the file."""
    previous: PreviousExtraction | None = None
    only_batch: KnownBatch | None = None
    """The batch of an extraction that has only this one, landed by this attempt."""
    state: ExtractionState | None = None
    certificate: Certificate = field(default_factory=Certificate)
    resumed_batches: int = 0
    detected: DetectionStep | None = None
    requests: int = 0
    latest_after: int | None = None
    version: int | None = None
    reached: Stage | None = None
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    meter: PageMeter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = PageMeter(self.request)

    def run(self, integration: Integration) -> Outcome:
        """Bring the stream up to date and return the outcome. Raises any error that prevents it."""
        request, engine, key = self.request, self.engine, self.request.key
        self.meter.at("open")
        # The lease of the warehouse is taken first: only its holder syncs the integration, and
        # extractions begin in the order in which they get the lease.
        with engine.warehouses.open(key.ref, later=True) as warehouse:
            row = self._open(warehouse)
            if row.status.settled:
                return recorded_outcome(row)
            # The integration may have been reconfigured while this sync waited for the file.
            integration = engine.registry.get(key.ref)
            if row.attempts > engine.max_recoveries + 1:
                raise PermanentError(
                    f"given up after {engine.max_recoveries} recoveries; "
                    f"`elt-assets syncs {key.ref}` shows what each attempt met"
                )
            self.before = versions.current(engine.database, key)
            if self.before.ordinal > row.ordinal:
                return self._supersede()
            late = self._late_opening(warehouse, integration)
            if late is None:
                self._attach(warehouse)
            logger.info("sync begun", attempt=row.attempts)
            with _stage("extract"):
                self._extract(warehouse, integration, row, late)
            if self.detected is not None:
                return self._apply_repeated(warehouse, integration, row, self.detected)
            if request.until is Stage.STAGING:
                return self.outcome(Status.EXTRACTING)
            return self._detect_and_apply(warehouse, integration, row)

    def outcome(self, status: Status) -> Outcome:
        """The results of this attempt so far, as an outcome with the given status."""
        state, detected = self.state, self.detected
        return Outcome(
            partition=self.request.key.ref.partition_key,
            stream=self.request.key.stream.name,
            sync_id=self.request.sync_id,
            status=status,
            mode=self._mode(),
            counts=self._counts(),
            certificate=detected.certificate if detected else self.certificate,
            resumed_batches=self.resumed_batches,
            batches=state.batches if state else 0,
            version=self.version,
            reasons=detected.verdict.reasons if detected else (),
            run_id=self.request.run_id,
            reached=self.reached,
            seconds={stage: round(seconds, 4) for stage, seconds in self.seconds.items()},
            sample=detected.sample if detected else (),
            withheld_digest=detected.withheld_digest if detected else "",
        )

    def _counts(self) -> Counts:
        state, detected = self.state, self.detected
        counts = Counts(
            fetched=state.fetched if state else 0,
            staged=state.staged if state else 0,
            rejected=state.rejected if state else 0,
            unreadable_times=state.unreadable_times if state else 0,
            requests=self.requests,
        )
        if detected is None or detected.found is None:
            return counts
        return msgspec.structs.replace(
            Counts(**{name: getattr(detected.found, name) for name in Counts.__struct_fields__}),
            fetched=counts.fetched,
            staged=counts.staged,
            rejected=counts.rejected,
            unreadable_times=counts.unreadable_times,
            requests=counts.requests,
            deactivations=detected.harmful.deactivations,
            losses=detected.harmful.losing,
            latest=detected.found.latest if self.latest_after is None else self.latest_after,
        )

    def _open(self, warehouse: Warehouse) -> SyncRow:
        key = self.request.key
        with self.engine.database.transaction(key.ref.partition_key) as transaction:
            if not registered(transaction, key.ref):
                raise gone(key.ref, "nothing was synced")
            raise_fence(transaction, key.ref, warehouse.fencing_token)
            row = self.begin(transaction)
        self.opened, self.again_of = True, row.again_of
        return row

    def begin(self, transaction: Transaction) -> SyncRow:
        """Open or continue the sync in the ledger; add the request counts of earlier attempts."""
        request = self.request
        row = ledger.begin(
            transaction, request.key, request.sync_id, request.run_id, request.again_of
        )
        self.requests += row.counts.requests
        return row

    def _late_opening(self, warehouse: Warehouse, integration: Integration) -> LateOpening | None:
        """How the extraction attaches the warehouse if it can begin without it; None otherwise.

        It can while there is no file, or a memo that says what must be known of the sync before.
        An earlier attempt at this sync has written nothing then: it would have deleted the memo.
        """
        request = self.request
        if warehouse.attached or self.again_of is not None or request.mode is Mode.FULL:
            return None
        stream = request.key.stream.name
        self.previous = page_reuse.of_memo(
            warehouse.memos, stream, self.before, integration.fingerprint
        )
        if self.previous is None and self.engine.warehouses.exists(request.key.ref):
            return None
        return LateOpening(
            attach=partial(self._attach, warehouse),
            repeats=partial(self._repeats, warehouse, integration),
        )

    def _attach(self, warehouse: Warehouse) -> None:
        if not warehouse.attached:
            warehouse.attach()
        # What is written from now on makes it untrue.
        warehouse.memos.pop(self.request.key.stream.name, None)
        prepare_warehouse(warehouse, self.request.key)

    def _repeats(
        self, warehouse: Warehouse, integration: Integration, state: ExtractionState
    ) -> bool:
        """Whether the extraction has the records that the latest table was made from."""
        if self.request.until is not Stage.LATEST or state.certificate is None:
            return False
        started = time.perf_counter()
        step = self._detection(warehouse, integration, state, state.certificate)
        if step.reused(self.before) is not None:
            self.detected = step
        self.seconds["detect"] += time.perf_counter() - started
        return self.detected is not None

    def _supersede(self) -> Outcome:
        key = self.request.key
        with self.engine.database.transaction(key.ref.partition_key) as transaction:
            outcome = with_rows_in_latest(self.outcome(Status.SUPERSEDED), transaction, key)
            ledger.settle(transaction, key, outcome)
        return outcome

    def _extract(
        self,
        warehouse: Warehouse,
        integration: Integration,
        row: SyncRow,
        late: LateOpening | None,
    ) -> None:
        extraction = Extraction(
            warehouse=warehouse,
            request=self.request,
            fingerprint=integration.fingerprint,
            max_resume=self.engine.max_resume,
            choose_mode=lambda: self._choose_mode(warehouse, integration),
            open_source=lambda: self._records(warehouse, integration),
            seconds=self.seconds,
            previous=partial(self._previous, warehouse),
            first_attempt=row.attempts == 1,
            last_succeeded=self._last_succeeded,
            time_budget=self.engine.limits.time_budget,
            meter=self.meter,
            budget=self.engine.budget,
            may_grow=self.again_of is None,
            late=late,
        )
        try:
            self.state, self.certificate = extraction.run()
        except SyncError:
            # Report what is safe: batches committed so far are kept and will be continued.
            readable = extraction.began_with is not None and warehouse.attached
            self.state = extraction.state() if readable else None
            raise
        finally:
            if self.opened_source is not None:
                self.opened_source.close()
            self.resumed_batches = extraction.resumed_batches
            self.requests += extraction.requests
            self.only_batch = extraction.only_batch
        self.reached = Stage.STAGING
        problem = delete_guard.too_many_rejected(
            self.state.fetched, self.state.rejected, self.engine.safeguards_of(integration)
        )
        if problem is not None:
            raise PermanentError(problem)

    def _choose_mode(self, warehouse: Warehouse, integration: Integration) -> SyncMode:
        request = self.request
        if self.again_of is not None:
            return self._kept(warehouse, self.again_of).sync_mode
        self.opened_source = self._source(integration)
        chosen = choose_sync_mode(
            request.mode, self.opened_source.incremental, self.before, now(), integration.updated_at
        )
        if chosen.mode is Mode.FULL and self.before.version and warehouse.attached:
            return replace(chosen, confirming=has_missing(warehouse, request.key.stream))
        return chosen

    def _records(self, warehouse: Warehouse, integration: Integration) -> Source:
        source, self.opened_source = self.opened_source or self._source(integration), None
        stream, again = self.request.key.stream, self.again_of
        if again is None:
            return source
        kept = self._kept(warehouse, again)
        certificate = kept.certificate
        if certificate is None:
            raise PermanentError(
                f"sync {again} has not fetched everything yet; continue it with "
                f"`elt-assets sync {self.request.key.ref} --sync-id {again}`"
            )
        shifted = shifted_pages(
            repeated_keys(warehouse, stream, again),
            kept.sync_mode.mode,
            snapshot=certificate.snapshot,
        )
        doubts = (*kept.doubts, *shifted)
        return StoredSource(warehouse.reading(), stream, again, certificate, source, doubts)

    def _kept(self, warehouse: Warehouse, sync_id: str) -> ExtractionState:
        try:
            return extraction_state(warehouse, self.request.key.stream, sync_id)
        except LookupError:
            raise PermanentError(
                f"the records of sync {sync_id} are no longer kept and cannot be mapped again; "
                f"`elt-assets sync {self.request.key.ref}` fetches them again"
            ) from None

    def _source(self, integration: Integration) -> Source:
        limits = self.engine.limits
        if self.request.max_pages is not None:
            limits = replace(limits, max_pages=min(self.request.max_pages, limits.max_pages))
        return self.engine.open_source(
            integration.provider,
            integration.provider_data,
            self.request.key.stream.name,
            secrets=self.secrets,
            limits=limits,
            ref=integration.ref,
        )

    def _detect_and_apply(
        self, warehouse: Warehouse, integration: Integration, row: SyncRow
    ) -> Outcome:
        for _ in range(_DETECT_ATTEMPTS):
            self.meter.at("detect")
            with _stage("detect"):
                detected, base = self._detect(warehouse, integration)
            if self.request.until is Stage.CDC:
                return self.outcome(Status.EXTRACTING)
            try:
                outcome = self._apply(warehouse, integration, row, detected, base)
            except VersionMoved:
                continue
            memo = page_reuse.memo(outcome, self.only_batch, integration.fingerprint)
            if memo is not None:
                warehouse.memos[outcome.stream] = memo
            return outcome
        raise RetryableError(
            "the latest table kept changing under this sync; it continues when tried again"
        )

    def _apply_repeated(
        self, warehouse: Warehouse, integration: Integration, row: SyncRow, detected: DetectionStep
    ) -> Outcome:
        """Settle a sync whose records are those of the sync before. Writes no warehouse."""
        self.reached = Stage.CDC
        try:
            return self._apply(warehouse, integration, row, detected, self.before, repeats=True)
        except VersionMoved:
            raise RetryableError(
                "the latest table changed under this sync; it continues when tried again"
            ) from None

    def _apply(
        self,
        warehouse: Warehouse,
        integration: Integration,
        row: SyncRow,
        detected: DetectionStep,
        base: Version,
        *,
        repeats: bool = False,
    ) -> Outcome:
        started = time.perf_counter()
        application = Application(
            database=self.engine.database,
            warehouse=warehouse,
            key=self.request.key,
            row=row,
            base=base,
            counts=self.outcome(Status.APPLIED).counts,
            delete_mode=self.engine.safeguards_of(integration).delete_mode,
            reading=Reading(
                watermark=self._watermark(row, detected),
                full_at=_full_at(row, base, detected),
                mark=self._mark(base, detected),
            ),
            repeats=repeats,
        )
        self.meter.at("apply")
        version = None if repeats else base.version + 1
        try:
            with _stage("apply"):
                return application.run(
                    partial(self._settled, version=version, started=started),
                    also=partial(self._end_rejections, detected.ended_rejections),
                )
        except Superseded:
            return self._supersede()

    def _detect(
        self, warehouse: Warehouse, integration: Integration
    ) -> tuple[DetectionStep, Version]:
        started = time.perf_counter()
        if self.state is None:
            raise AssertionError("detection follows extraction")
        step = self.detected = self._detection(warehouse, integration, self.state, self.certificate)
        try:
            base = step.run()
        finally:
            self.requests += step.requests
        self.reached = Stage.CDC
        self.seconds["detect"] += time.perf_counter() - started
        return step, base

    def _detection(
        self,
        warehouse: Warehouse,
        integration: Integration,
        extracted: ExtractionState,
        certificate: Certificate,
    ) -> DetectionStep:
        engine = self.engine
        return DetectionStep(
            database=engine.database,
            warehouse=warehouse,
            key=self.request.key,
            sync_id=self.request.sync_id,
            extracted=extracted,
            certificate=certificate,
            safeguards=engine.safeguards_of(integration),
            previous=partial(self._previous, warehouse),
            open_source=partial(self._source, integration),
            confirm_after=engine.confirm_after,
            mapped_again=self.again_of,
            show_values=engine.show_values,
        )

    def _previous(self, warehouse: Warehouse) -> PreviousExtraction | None:
        """The extraction whose pages this one may reuse; a requested full sync reuses none."""
        if self.request.mode is Mode.FULL or self.again_of is not None:
            return None
        if self.previous is None and warehouse.attached:
            stream = self.request.key.stream.name
            self.previous = page_reuse.previous_extraction(warehouse, stream, self.before)
        return self.previous

    def _last_succeeded(self) -> bool:
        ends = (Status.APPLIED, Status.UNCHANGED, Status.QUARANTINED, Status.FAILED)
        last = sync_history.newest(self.engine.database, self.request.key, ends)
        return last is not None and last.status in (Status.APPLIED, Status.UNCHANGED)

    def _end_rejections(self, ended: tuple[str, ...], transaction: Transaction) -> None:
        if ended:
            rejections.end(transaction, self.request.key, ended)

    def _mode(self) -> Mode:
        return self.state.sync_mode.mode if self.state else Mode.FULL

    def _watermark(self, row: SyncRow, detected: DetectionStep) -> str | None:
        # Records that an incomplete extraction has not seen may be older than those it has seen,
        # and withheld changes must be listed again.
        if detected.found is None or not detected.conclusive:
            return None
        fetched = self._fetched_by(row)
        return None if fetched is None else watermark(detected.found.newest, fetched.started_at)

    def _mark(self, base: Version, detected: DetectionStep) -> str | None:
        given = self.state.mark if self.state is not None and detected.conclusive else None
        # A full listing may come from a server to which the previous mark means nothing.
        return given if detected.mode is Mode.FULL else given or base.mark

    def _fetched_by(self, row: SyncRow) -> SyncRow | None:
        """The sync that fetched the records of `row` from the provider; None if it is not known."""
        fetched: SyncRow | None = row
        while fetched is not None and fetched.again_of is not None:
            fetched = ledger.find(self.engine.database, self.request.key, fetched.again_of)
        return fetched

    def _settled(self, latest_after: int, version: int | None, started: float) -> Outcome:
        self.latest_after = latest_after
        self.version = version
        self.seconds["apply"] += time.perf_counter() - started
        outcome = self.outcome(Status.APPLIED)
        return msgspec.structs.replace(
            outcome, status=_final_status(outcome.counts), reached=Stage.LATEST
        )


def recorded_outcome(row: SyncRow) -> Outcome:
    """The result in the ledger, with the stage that its status implies."""
    reached = None if row.status is Status.SUPERSEDED else Stage.LATEST
    return msgspec.structs.replace(row.outcome(), reached=reached)


def with_rows_in_latest(outcome: Outcome, transaction: Transaction, key: StreamKey) -> Outcome:
    """The outcome of a sync that left the latest table alone, with the table's number of rows."""
    rows = latest_table.count(transaction, key)
    counts = msgspec.structs.replace(outcome.counts, latest_before=rows, latest=rows)
    return msgspec.structs.replace(outcome, counts=counts)


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """Mark the block as stage `name` in logs and traces."""
    with logs.stage(name), tracing.span(name):
        yield


def _full_at(row: SyncRow, base: Version, detected: DetectionStep) -> str | None:
    if detected.mode is not Mode.FULL or not detected.certificate.complete:
        return base.full_at
    # A listing of changes does not show which records are missing: while deletes are pending, the
    # next sync reads everything.
    settled = detected.found is not None and detected.found.pending_deletes == 0
    return row.started_at if detected.conclusive and settled else None


def _final_status(counts: Counts) -> Status:
    if counts.withheld:
        return Status.QUARANTINED
    return Status.APPLIED if counts.changes else Status.UNCHANGED
