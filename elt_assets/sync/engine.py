"""The engine: one integration's sync of one stream, from opening to settlement.

    open → extracting → sealed → detected → applied | unchanged | quarantined | superseded
              └──────────┴─ failed (retryable or not): continues from the last commit

Belongs here: the order of the stages, what is committed between them and how every ending
is recorded. Does not: any stage's own work, or running several integrations (service).
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

import msgspec

from elt_assets.config.safeguards import SafeguardOverrides, Safeguards
from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Settles, Source
from elt_assets.errors import (
    EltAssetsError,
    PermanentError,
    RetryableError,
    SyncError,
)
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Transaction
from elt_assets.storage.warehouse.warehouse import Warehouse, Warehouses
from elt_assets.sync.apply.apply_transaction import Application, Superseded, VersionMoved
from elt_assets.sync.clock import ago, now
from elt_assets.sync.detect import delete_guard
from elt_assets.sync.detect.change_detection import Detection, Found, HarmfulUpdates, has_missing
from elt_assets.sync.detect.delete_confirmation import (
    EarlierAbsence,
    confirm_deletes,
    second_witness,
)
from elt_assets.sync.extract import page_reuse
from elt_assets.sync.extract.certificate import ListedKeys, contradicted, with_keys
from elt_assets.sync.extract.extraction import Extraction
from elt_assets.sync.extract.page_reuse import Before
from elt_assets.sync.extract.staging import ExtractionState, extraction_state, repeated_keys
from elt_assets.sync.extract.stored_source import StoredSource
from elt_assets.sync.extract.sync_mode import Plan, choose_plan, watermark
from elt_assets.sync.fault_injection import NO_FAULTS, Faults
from elt_assets.sync.outcome import (
    Certificate,
    Counts,
    Mode,
    Outcome,
    ProgressListener,
    Stage,
    Status,
)
from elt_assets.sync.state import change_log, latest_table, ledger, rejections
from elt_assets.sync.state.fencing import raise_fence
from elt_assets.sync.state.ledger import SyncRow, Version
from elt_assets.sync.state.registry import Integration, Registry, gone, registered
from elt_assets.sync.state.store_tables import prepare_warehouse
from elt_assets.sync.streams import STREAMS, Stream
from elt_assets.telemetry import logs, tracing
from elt_assets.telemetry.logs import logger

log = logging.getLogger(__name__)

_DETECT_ATTEMPTS = 3


class SourceOpener(Protocol):
    """How the engine gets a source; `connectors.catalog.open_source` outside tests."""

    def __call__(
        self,
        provider: str,
        provider_data: Mapping[str, Any],
        stream: str,
        *,
        secrets: Secrets,
        limits: FetchLimits,
        ref: IntegrationRef,
    ) -> Source:
        """Open the stream of a provider. Raises `SecretMissing` or `InvalidInput`."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to sync and how far."""

    stream: Stream
    ref: IntegrationRef
    sync_id: str
    run_id: str | None
    until: Stage
    pages_per_batch: int
    progress: ProgressListener
    stop: threading.Event
    faults: Faults
    mode: Mode | None = None
    max_pages: int | None = None
    """Pages of this extraction before it is cut, where the installation's limit is not meant."""
    again_of: str | None = None
    """The sync whose kept records are mapped again instead of fetching, if this one is new."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Syncs one integration at a time; safe to use from many threads."""

    database: OperationalDatabase
    warehouses: Warehouses
    registry: Registry
    limits: FetchLimits
    safeguards: Safeguards
    max_recoveries: int
    max_resume: timedelta
    confirm_after: timedelta
    open_source: SourceOpener = catalog.open_source
    faults: Faults = NO_FAULTS
    show_values: bool = False

    def sync(self, request: Request) -> Outcome | None:
        """Bring one integration up to date; the one place that settles it, whatever happens.

        None for an integration that is disabled or has no such stream. Never raises for what
        goes wrong with the integration: the outcome says `failed`, and the ledger keeps it.
        """
        secrets = Secrets()
        ref, stream = request.ref, request.stream.name
        with (
            logs.bound(ref, request.sync_id, stream, secrets),
            tracing.span(
                "integration",
                organization=ref.organization_id,
                integration=ref.integration_id,
                stream=stream,
                sync_id=request.sync_id,
            ),
        ):
            outcome = self._attempted(_Attempt(self, request, secrets))
            if outcome is not None:
                _tell(outcome)
            return outcome

    def _attempted(self, attempt: _Attempt) -> Outcome | None:
        request, secrets = attempt.request, attempt.secrets
        try:
            recorded = ledger.find(self.database, request.stream, request.ref, request.sync_id)
            if recorded is not None and recorded.status.settled:
                return _recorded(recorded)
            integration = self.registry.get(request.ref)
            if not integration.enabled:
                log.info("%s is disabled and was skipped", request.ref)
                return None
            if not integration.offers(request.stream):
                log.info("%s has no %s and was skipped", request.ref, request.stream.name)
                return None
            return attempt.run(integration)
        except EltAssetsError as error:
            retryable = isinstance(error, SyncError) and error.retryable
            return self._failed(attempt, secrets.redact(str(error)), retryable)
        except Exception as error:
            # A defect of ours must not take the other integrations of the run down.
            log.exception("%s: unexpected error", request.ref)
            text = secrets.redact(f"{type(error).__name__}: {error}")
            return self._failed(attempt, f"unexpected error, {text}", retryable=False)

    def safeguards_of(self, integration: Integration) -> Safeguards:
        """The limits that hold for one integration: its own over the installation's."""
        own = integration.provider_data.get("safeguards") or {}
        overrides: SafeguardOverrides = SafeguardOverrides.model_validate(own)
        return overrides.over(self.safeguards)

    def _failed(self, attempt: _Attempt, message: str, retryable: bool) -> Outcome:
        request = attempt.request
        outcome = msgspec.structs.replace(
            attempt.outcome(Status.FAILED),
            error=request.ref.before(message),
            retryable=retryable,
        )
        stream, ref, sync_id = request.stream, request.ref, request.sync_id
        try:
            with self.database.transaction(ref.partition_key) as transaction:
                if not attempt.opened:
                    if not registered(transaction, ref):
                        return outcome
                    row = ledger.begin(
                        transaction, stream, ref, sync_id, request.run_id, request.again_of
                    )
                    sent = outcome.counts.requests + row.counts.requests
                    counts = msgspec.structs.replace(outcome.counts, requests=sent)
                    outcome = msgspec.structs.replace(outcome, counts=counts)
                outcome = _with_standing_rows(outcome, transaction, stream, ref)
                ledger.settle(transaction, stream, ref, outcome)
                ledger.add_error(transaction, stream, ref, sync_id, outcome.error or message)
        except SyncError as error:
            # The ledger row stays open and is found as interrupted; the caller still learns.
            log.error("%s: the failure could not be recorded: %s", ref, error)
        return outcome


@dataclass(slots=True)
class _Attempt:
    """One attempt at a request: what it has reached so far."""

    engine: Engine
    request: Request
    secrets: Secrets
    opened: bool = False
    again_of: str | None = None
    before: Before | None = None
    state: ExtractionState | None = None
    certificate: Certificate = field(default_factory=Certificate)
    resumed_batches: int = 0
    found: Found | None = None
    harmful: HarmfulUpdates = field(default_factory=HarmfulUpdates)
    verdict: delete_guard.Verdict = field(default_factory=delete_guard.Verdict)
    ended_rejections: tuple[str, ...] = ()
    requests: int = 0
    sample: tuple[dict[str, object], ...] = ()
    withheld_digest: str = ""
    latest_after: int | None = None
    version: int | None = None
    reached: Stage | None = None
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("extract", "stage", "detect", "apply"), 0.0)
    )

    def run(self, integration: Integration) -> Outcome:
        request, engine = self.request, self.engine
        # The file's lock comes first: its holder is the only one that syncs, and the
        # order in which extractions begin is the order in which they get it.
        with engine.warehouses.open(request.ref) as warehouse:
            prepare_warehouse(warehouse, request.ref, request.stream)
            row = self._open(warehouse)
            if row.status.settled:
                return _recorded(row)
            # It may have been configured again while this sync waited for the file.
            integration = engine.registry.get(request.ref)
            if row.attempts > engine.max_recoveries + 1:
                raise PermanentError(
                    f"given up after {engine.max_recoveries} recoveries; "
                    f"`elt-assets syncs {request.ref}` shows what each attempt met"
                )
            if ledger.version(engine.database, request.stream, request.ref).ordinal > row.ordinal:
                return self._supersede()
            logger.info("sync begun", attempt=row.attempts)
            with _stage("extract"):
                self._extract(warehouse, integration)
            if request.until is Stage.STAGING:
                return self.outcome(Status.EXTRACTING)
            return self._detect_and_apply(warehouse, integration, row)

    def outcome(self, status: Status) -> Outcome:
        """What this attempt has to tell, as `status`."""
        state, found = self.state, self.found
        counts = Counts(
            fetched=state.fetched if state else 0,
            staged=state.staged if state else 0,
            rejected=state.rejected if state else 0,
            requests=self.requests,
        )
        if found is not None:
            counts = msgspec.structs.replace(
                counts,
                duplicates=found.duplicates,
                unique=found.unique,
                inserts=found.inserts,
                updates=found.updates,
                deletes=found.deletes,
                withheld_deletes=found.withheld_deletes,
                withheld_updates=found.withheld_updates,
                withheld_inserts=found.withheld_inserts,
                kept_rows=found.kept,
                future_times=found.future_times,
                deactivations=self.harmful.deactivations,
                losses=self.harmful.losing,
                shielded_deletes=found.shielded,
                pending_deletes=found.pending,
                tombstones=found.tombstones,
                unchanged=found.unchanged,
                latest_before=found.latest_before,
                latest=found.latest_before if self.latest_after is None else self.latest_after,
            )
        return Outcome(
            partition=self.request.ref.partition_key,
            stream=self.request.stream.name,
            sync_id=self.request.sync_id,
            status=status,
            mode=self._mode(),
            counts=counts,
            certificate=self.certificate,
            resumed_batches=self.resumed_batches,
            batches=state.batches if state else 0,
            version=self.version,
            reasons=self.verdict.reasons,
            run_id=self.request.run_id,
            reached=self.reached,
            seconds={stage: round(seconds, 4) for stage, seconds in self.seconds.items()},
            sample=self.sample,
            withheld_digest=self.withheld_digest,
        )

    def _open(self, warehouse: Warehouse) -> SyncRow:
        request = self.request
        with self.engine.database.transaction(request.ref.partition_key) as transaction:
            if not registered(transaction, request.ref):
                raise gone(request.ref, "nothing was synced")
            raise_fence(transaction, request.ref, warehouse.fencing_token)
            row = ledger.begin(
                transaction,
                request.stream,
                request.ref,
                request.sync_id,
                request.run_id,
                request.again_of,
            )
        self.opened, self.again_of = True, row.again_of
        self.requests += row.counts.requests
        return row

    def _supersede(self) -> Outcome:
        request = self.request
        with self.engine.database.transaction(request.ref.partition_key) as transaction:
            outcome = _with_standing_rows(
                self.outcome(Status.SUPERSEDED), transaction, request.stream, request.ref
            )
            ledger.settle(transaction, request.stream, request.ref, outcome)
        return outcome

    def _extract(self, warehouse: Warehouse, integration: Integration) -> None:
        request = self.request
        extraction = Extraction(
            warehouse=warehouse,
            stream=request.stream,
            ref=request.ref,
            sync_id=request.sync_id,
            fingerprint=fingerprint(integration),
            max_resume=self.engine.max_resume,
            plan=lambda: self._plan(warehouse, integration),
            open_source=lambda: self._records(warehouse, integration),
            pages_per_batch=request.pages_per_batch,
            progress=request.progress,
            seconds=self.seconds,
            faults=request.faults,
            stop=request.stop,
            before=partial(self._before, warehouse),
            last_went_well=self._last_went_well,
            time_budget=self.engine.limits.time_budget,
            may_grow=self.again_of is None,
        )
        try:
            self.state, self.certificate = extraction.run()
        except SyncError:
            # Say what is safe: batches committed so far are kept and will be continued.
            self.state = extraction.state() if extraction.begun else None
            raise
        finally:
            self.resumed_batches = extraction.resumed_batches
            self.requests += extraction.requests
        self.reached = Stage.STAGING
        problem = delete_guard.too_many_rejected(
            self.state.fetched, self.state.rejected, self.engine.safeguards_of(integration)
        )
        if problem is not None:
            raise PermanentError(problem)

    def _plan(self, warehouse: Warehouse, integration: Integration) -> Plan:
        request = self.request
        if self.again_of is not None:
            return self._kept(warehouse, self.again_of).plan
        source = self._source(integration)
        try:
            plan = choose_plan(
                request.mode,
                source.incremental,
                ledger.version(self.engine.database, request.stream, request.ref),
                now(),
                integration.updated_at,
            )
        finally:
            source.close()
        confirming = plan.mode is Mode.FULL and has_missing(warehouse, request.stream)
        return replace(plan, confirming=confirming)

    def _records(self, warehouse: Warehouse, integration: Integration) -> Source:
        source = self._source(integration)
        stream, again = self.request.stream, self.again_of
        if again is None:
            return source
        kept = self._kept(warehouse, again)
        certificate = kept.certificate
        if certificate is None:
            raise PermanentError(
                f"sync {again} has not fetched everything yet; continue it with "
                f"`elt-assets sync {self.request.ref} --sync-id {again}`"
            )
        doubts = kept.doubts
        if repeated := repeated_keys(warehouse, stream, again):
            doubts = (*doubts, f"{repeated} keys came on more than one page when it was fetched")
        return StoredSource(warehouse.reading(), stream, again, certificate, source, doubts)

    def _kept(self, warehouse: Warehouse, sync_id: str) -> ExtractionState:
        try:
            return extraction_state(warehouse, self.request.stream, sync_id)
        except LookupError:
            raise PermanentError(
                f"the records of sync {sync_id} are no longer kept and cannot be mapped again; "
                f"`elt-assets sync {self.request.ref}` fetches them anew"
            ) from None

    def _source(self, integration: Integration) -> Source:
        return self.engine.open_source(
            integration.provider,
            integration.provider_data,
            self.request.stream.name,
            secrets=self.secrets,
            limits=self._limits(),
            ref=integration.ref,
        )

    def _limits(self) -> FetchLimits:
        limits = self.engine.limits
        if self.request.max_pages is None:
            return limits
        return replace(limits, max_pages=min(self.request.max_pages, limits.max_pages))

    def _detect_and_apply(
        self, warehouse: Warehouse, integration: Integration, row: SyncRow
    ) -> Outcome:
        for _ in range(_DETECT_ATTEMPTS):
            with _stage("detect"):
                base = self._detect(warehouse, integration)
            if self.request.until is Stage.CDC:
                return self.outcome(Status.EXTRACTING)
            started = time.perf_counter()
            application = Application(
                database=self.engine.database,
                warehouse=warehouse,
                stream=self.request.stream,
                ref=self.request.ref,
                row=row,
                base=base,
                counts=self.outcome(Status.APPLIED).counts,
                delete_mode=self.engine.safeguards_of(integration).delete_mode,
                watermark=self._watermark(row),
                full_at=self._full_at(row, base),
            )
            try:
                with _stage("apply"):
                    return application.run(
                        partial(self._settled, base=base, started=started),
                        also=self._end_rejections,
                    )
            except Superseded:
                return self._supersede()
            except VersionMoved:
                continue
        raise RetryableError(
            "the latest table kept changing under this sync; it continues when tried again"
        )

    def _detect(self, warehouse: Warehouse, integration: Integration) -> Version:
        request, database = self.request, self.engine.database
        safeguards = self.engine.safeguards_of(integration)
        started = time.perf_counter()
        # The version is read before the rows: if an apply slips in between, the comparison
        # with the version at the end fails and detection is repeated.
        base = ledger.version(database, request.stream, request.ref)
        detection = Detection(
            warehouse, database, request.stream, request.ref, request.sync_id, base.version
        )
        found = self._found_again(warehouse, base)
        if found is not None:
            self.certificate = self._with_keys(ListedKeys(found.unique, 0))
        if found is None or not self.certificate.complete:
            found = detection.compare(self._mode())
            self.certificate = self._with_keys(detection.keys(found, self._rejected()))
            found = self._judged(detection, found, integration, safeguards)
        self.found = found
        detection.write(
            found,
            complete=self.certificate.complete and self._mode() is Mode.FULL,
            now=now(),
        )
        if found.withheld:
            self.withheld_digest = change_log.withheld_digest(
                warehouse, request.stream, detection.version
            )
        if found.changes:
            self.sample = change_log.sample(
                warehouse,
                request.stream,
                request.stream.cdc,
                detection.version,
                show_values=self.engine.show_values,
            )
        self.reached = Stage.CDC
        self.seconds["detect"] += time.perf_counter() - started
        return base

    def _before(self, warehouse: Warehouse) -> Before | None:
        """The extraction that this one may repeat; asked for everything, it repeats none."""
        if self.request.mode is Mode.FULL or self.again_of is not None:
            return None
        if self.before is None:
            stream = self.request.stream
            applied = ledger.applied(self.engine.database, stream, self.request.ref)
            self.before = page_reuse.before(warehouse, stream.name, applied)
        return self.before

    def _last_went_well(self) -> bool:
        ends = (Status.APPLIED, Status.UNCHANGED, Status.QUARANTINED, Status.FAILED)
        last = ledger.newest(self.engine.database, self.request.stream, self.request.ref, ends)
        return last is not None and last.status in (Status.APPLIED, Status.UNCHANGED)

    def _found_again(self, warehouse: Warehouse, base: Version) -> Found | None:
        """What a comparison would find if the latest table was made from these very records.

        None if it was not, or if anything else could have come in between.
        """
        request, database = self.request, self.engine.database
        stream, ref = request.stream, request.ref
        if self._mode() is not Mode.FULL or not self.certificate.complete:
            return None
        old = self._before(warehouse)
        if old is None or not old.whole or old.version != base.version:
            return None
        row = ledger.find(database, stream, ref, old.sync_id)
        if row is None or not (row.certificate.complete and page_reuse.settled_plainly(row.counts)):
            return None
        if latest_table.count(database, stream, ref) != row.counts.latest:
            return None
        if not page_reuse.repeats(warehouse, stream.name, request.sync_id, old):
            return None
        if not change_log.is_marked(warehouse, stream, base.version):
            return None
        return Found(
            staged=row.counts.staged,
            unique=row.counts.unique,
            tombstones=row.counts.tombstones,
            inserts=0,
            updates=0,
            deletes=0,
            shielded=0,
            pending=0,
            latest_before=row.counts.latest,
            newest=base.watermark,
        )

    def _rejected(self) -> int:
        return self.state.rejected if self.state else 0

    def _with_keys(self, keys: ListedKeys) -> Certificate:
        # The sealed certificate, so that a repeated detection adds nothing twice.
        sealed = self.state.certificate if self.state else None
        return with_keys(sealed or self.certificate, keys, self._mode())

    def _judged(
        self,
        detection: Detection,
        found: Found,
        integration: Integration,
        safeguards: Safeguards,
    ) -> Found:
        """Withhold, keep or confirm what can harm; the counts afterwards."""
        request, database = self.request, self.engine.database
        stream, ref = request.stream, request.ref
        self.harmful, self.ended_rejections = HarmfulUpdates(), ()
        rejected = rejections.standing(database, stream, ref, now())
        if not (found.updates or found.deletes or rejected):
            return found
        if found.updates:
            self.harmful = detection.assess(
                attributes=safeguards.guarded_attributes,
                everything=self._configured_anew(detection),
            )
        if rejected:
            self.ended_rejections = tuple(detection.keep_rejected(rejected))
            found, self.harmful = detection.found(), detection.harmful_updates()
        orphaned, emptied = self._orphaned(detection, found)
        # Changes alone may well be nothing but tombstones; a listing of everybody may not.
        listed = found.unique - (found.tombstones if self._mode() is Mode.FULL else 0)
        self.verdict = delete_guard.judge(
            self.certificate,
            delete_guard.Harms(
                latest=found.latest_before,
                unique=listed,
                inserts=found.inserts,
                missing=found.missing,
                deletes=found.deletes,
                deactivations=self.harmful.deactivations,
                losing=self.harmful.losing,
                losses=self.harmful.losses,
                orphaned=orphaned,
                emptied=emptied,
            ),
            safeguards,
            recent=ledger.recent_harm(database, stream, ref, ago(timedelta(hours=24))),
            removals=stream.parent is not None,
            history=ledger.listed_before(database, stream, ref) if listed == 0 else (),
        )
        if self.verdict.withheld:
            detection.withhold(self.verdict.withheld)
            found, self.harmful = detection.found(), detection.harmful_updates()
        if found.deletes:
            self._confirm(detection, integration, safeguards)
            found = detection.found()
        return found

    def _orphaned(self, detection: Detection, found: Found) -> tuple[int, int]:
        """Deletes that would empty parents that still stand, and how many parents."""
        stream = self.request.stream
        if stream.parent is None or not found.deletes:
            return 0, 0
        parents = latest_table.external_ids(
            self.engine.database, STREAMS[stream.parent], self.request.ref
        )
        return detection.orphaned(parents)

    def _configured_anew(self, detection: Detection) -> bool:
        """Whether the latest table was made by another configuration than this extraction."""
        request = self.request
        last = ledger.newest_plain(self.engine.database, request.stream, request.ref)
        return last is None or not detection.same_configuration(last)

    def _confirm(
        self, detection: Detection, integration: Integration, safeguards: Safeguards
    ) -> None:
        source = self._source(integration)
        try:
            witness = second_witness(
                safeguards.delete_confirmation, self.certificate, probes=source.probes
            )
            settle = self.engine.confirm_after if isinstance(source, Settles) else timedelta()
            present = confirm_deletes(
                detection, witness, source, EarlierAbsence(ago(settle), self._repeated())
            )
        finally:
            self.requests += source.requests
            source.close()
        self.certificate = contradicted(self.certificate, present)

    def _end_rejections(self, transaction: Transaction) -> None:
        if self.ended_rejections:
            request = self.request
            rejections.end(transaction, request.stream, request.ref, self.ended_rejections)

    def _repeated(self) -> int | None:
        """The version made by the sync whose records are mapped again."""
        if self.again_of is None:
            return None
        request = self.request
        row = ledger.find(self.engine.database, request.stream, request.ref, self.again_of)
        return None if row is None else row.version

    def _mode(self) -> Mode:
        return self.state.plan.mode if self.state else Mode.FULL

    def _watermark(self, row: SyncRow) -> str | None:
        # What an incomplete extraction has not seen may be older than what it has, and what
        # was withheld must be listed again.
        if self.found is None or not self._conclusive():
            return None
        fetched = self._fetched_by(row)
        return None if fetched is None else watermark(self.found.newest, fetched.started_at)

    def _fetched_by(self, row: SyncRow) -> SyncRow | None:
        """The sync that asked the provider for the records of `row`; None if it is not known."""
        fetched: SyncRow | None = row
        while fetched is not None and fetched.again_of is not None:
            fetched = ledger.find(
                self.engine.database, self.request.stream, self.request.ref, fetched.again_of
            )
        return fetched

    def _full_at(self, row: SyncRow, base: Version) -> str | None:
        if self._mode() is not Mode.FULL or not self.certificate.complete:
            return base.full_at
        # A listing of changes does not name the missing: read everything until that is settled.
        settled = self.found is not None and self.found.pending == 0
        return row.started_at if self._conclusive() and settled else None

    def _conclusive(self) -> bool:
        return self.certificate.complete and self.found is not None and not self.found.withheld

    def _settled(self, latest_after: int, base: Version, started: float) -> Outcome:
        self.latest_after = latest_after
        self.version = base.version + 1
        self.seconds["apply"] += time.perf_counter() - started
        outcome = self.outcome(Status.APPLIED)
        return msgspec.structs.replace(
            outcome, status=_final_status(outcome.counts), reached=Stage.LATEST
        )


def _with_standing_rows(
    outcome: Outcome, transaction: Transaction, stream: Stream, ref: IntegrationRef
) -> Outcome:
    """The outcome of a sync that left the latest table alone says how many rows that has."""
    rows = latest_table.count(transaction, stream, ref)
    counts = msgspec.structs.replace(outcome.counts, latest_before=rows, latest=rows)
    return msgspec.structs.replace(outcome, counts=counts)


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """What happens in the block is of this stage, in logs and in traces."""
    with logs.stage(name), tracing.span(name):
        yield


def _tell(outcome: Outcome) -> None:
    """How the sync ended, for the log and the trace."""
    counts = outcome.counts
    facts: dict[str, str | int] = {
        "status": str(outcome.status),
        "fetched": counts.fetched,
        "rejected": counts.rejected,
        "inserted": counts.inserts,
        "updated": counts.updates,
        "deleted": counts.deletes,
        "withheld": counts.withheld,
        "pending": counts.pending_deletes,
    }
    tracing.annotate(**facts)
    if outcome.status is Status.FAILED:
        tracing.failed("retryable" if outcome.retryable else "permanent")
        logger.warning("sync failed", error=outcome.error, retryable=outcome.retryable, **facts)
    else:
        logger.info("sync settled", recorded=outcome.recorded, **facts)
    if counts.future_times:
        logger.warning(
            "records say that they were changed in the future; those times are not believed",
            records=counts.future_times,
        )


def fingerprint(integration: Integration) -> str:
    """Identity of the configuration an extraction was made with; holds no secret."""
    document = msgspec.json.encode(
        [integration.provider, integration.provider_data], order="deterministic"
    )
    return hashlib.sha256(document).hexdigest()


def _recorded(row: SyncRow) -> Outcome:
    """The result in the ledger, with the stage its status implies."""
    reached = None if row.status is Status.SUPERSEDED else Stage.LATEST
    return msgspec.structs.replace(row.outcome(), reached=reached)


def _final_status(counts: Counts) -> Status:
    if counts.withheld:
        return Status.QUARANTINED
    if counts.inserts + counts.updates + counts.deletes:
        return Status.APPLIED
    return Status.UNCHANGED
