"""Extraction: pages from a source into committed batches, until the certificate is sealed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain

from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from elt_assets.connectors.source import (
    AsksWhetherChanged,
    ListsOtherwise,
    Page,
    Source,
    WaitsForProvider,
)
from elt_assets.errors import (
    MarkRefused,
    PositionRefused,
    Stopped,
    TimeBudgetSpent,
    WriteInterrupted,
)
from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.clock import now
from elt_assets.sync.extract.batching import batched
from elt_assets.sync.extract.certificate import certify
from elt_assets.sync.extract.checkpoints import (
    ExtractionState,
    begin_again,
    begin_extraction,
    extraction_state,
    new_extraction,
    record,
)
from elt_assets.sync.extract.page_meter import PageMeter
from elt_assets.sync.extract.page_reuse import KnownBatch, PreviousExtraction, known_batch
from elt_assets.sync.extract.prefetch import PrefetchQueue, fetched_ahead, prefetched
from elt_assets.sync.extract.staging import Batch, GatheredPages, Landing
from elt_assets.sync.extract.stored_source import StoredSource
from elt_assets.sync.extract.sync_mode import SyncMode
from elt_assets.sync.extract.workplace import Workplace
from elt_assets.sync.fetch_budget import FetchBudget, Share
from elt_assets.sync.outcome import Certificate
from elt_assets.sync.sync_request import SyncRequest
from elt_assets.telemetry import tracing
from elt_assets.telemetry.logs import logger

WRITE_ATTEMPTS = 10
_AHEAD_BYTES = 32 * 2**20
"""No further batch is prepared while prepared, unwritten batches take this much memory. No further
batch is fetched while fetched, unprepared batches do."""
_PREPARED_AHEAD = 4
_FETCHED_AHEAD = 1
"""The most batches that wait to be written (`_PREPARED_AHEAD`) and to be prepared."""


@dataclass(frozen=True, slots=True)
class LateOpening:
    """A new extraction that attaches its warehouse with its first batch.

    If that batch is all and `repeats` says that the records are those of the sync before, the
    warehouse is not attached at all.
    """

    attach: Callable[[], None]
    repeats: Callable[[ExtractionState], bool]


@dataclass(slots=True)
class Extraction:
    """One sync's extraction of one stream; `run` continues it until it is sealed.

    `open_source` is called only if pages remain to be fetched. `seconds` grows during the run: the
    time spent waiting for pages ('extract') and writing batches ('stage').
    """

    warehouse: Warehouse
    request: SyncRequest
    fingerprint: str
    max_resume: timedelta
    choose_mode: Callable[[], SyncMode]
    open_source: Callable[[], Source]
    seconds: dict[str, float]
    previous: Callable[[], PreviousExtraction | None]
    """Returns the extraction whose unchanged pages need not be mapped again, if there is one."""
    first_attempt: bool
    last_succeeded: Callable[[], bool]
    """Returns whether the last sync that ended was applied or unchanged."""
    time_budget: float
    """Seconds after which no more pages are taken in this attempt."""
    meter: PageMeter
    budget: FetchBudget
    """Room for pages that are fetched and not mapped yet."""
    may_grow: bool
    """Whether the warehouse file may be rewritten meanwhile; not while the source reads from it."""
    late: LateOpening | None = None
    """Set where the warehouse is not attached and has nothing of this extraction."""
    resumed_batches: int = 0
    began_with: ExtractionState | None = None
    """What was committed before this attempt."""
    requests: int = 0
    """Requests sent to the provider by this attempt."""
    only_batch: KnownBatch | None = None
    """The batch that this attempt committed, if the extraction has no other."""

    def run(self) -> tuple[ExtractionState, Certificate]:
        """Fetch and write the remaining pages, and seal the extraction.

        Raises the errors of the source and the warehouse.
        """
        state = self._begun()
        self.began_with, self.resumed_batches = state, state.batches
        if state.certificate is None:
            state = self._fetch_and_seal(state)
        return state, state.certificate or certify(state)

    def _begun(self) -> ExtractionState:
        stream, sync_id = self.request.key.stream, self.request.sync_id
        if self.late is not None:
            return new_extraction(stream, sync_id, self.fingerprint, self.choose_mode())
        return begin_extraction(
            self.warehouse,
            stream,
            sync_id,
            fingerprint=self.fingerprint,
            max_resume=self.max_resume,
            choose_mode=self.choose_mode,
        )

    def state(self) -> ExtractionState:
        """The state of the extraction by its committed checkpoints; valid once it has begun."""
        if self.began_with is not None and not self.warehouse.attached:
            return self.began_with
        try:
            return extraction_state(self.warehouse, self.request.key.stream, self.request.sync_id)
        except LookupError:
            if self.began_with is None:
                raise
            return self.began_with

    def _fetch_and_seal(self, state: ExtractionState) -> ExtractionState:
        try:
            return self._fetch(state)
        except PositionRefused as refused:
            logger.warning("position refused, the extraction begins again", reason=str(refused))
            return self._fetch(self._begun_again(everything=isinstance(refused, MarkRefused)))

    def _begun_again(self, *, everything: bool = False) -> ExtractionState:
        self.resumed_batches = 0
        key, sync_id = self.request.key, self.request.sync_id
        return begin_again(self.warehouse, key.stream, sync_id, self.state(), everything=everything)

    def _fetch(self, state: ExtractionState) -> ExtractionState:
        with closing(self.open_source()) as source:
            try:
                return self._fetch_from(source, state)
            finally:
                self.requests += source.requests

    def _fetch_from(self, source: Source, state: ExtractionState) -> ExtractionState:
        if state.batches and not source.resumable:
            state = self._begun_again()
        state = _as_the_source_says(state, source)
        if state.sync_mode.confirming and isinstance(source, ListsOtherwise):
            source.otherwise()
        previous = self.previous()
        landing = Landing(
            self.warehouse,
            self.request.key,
            self.request.sync_id,
            fields=source.fields,
            records=source.records,
            previous=previous,
        )
        if (
            isinstance(source, AsksWhetherChanged)
            and (known := landing.known_pages())
            and self._may_ask_whether_changed(previous)
        ):
            source.recall(known)
        return self._land_fetched(landing, source, state)

    def _land_fetched(
        self, landing: Landing, source: Source, state: ExtractionState
    ) -> ExtractionState:
        leaving = threading.Event()
        work = Workplace(self.warehouse, may_leave=isinstance(source, WaitsForProvider))
        with Share(self.budget, lambda: self.request.stop.is_set() or leaving.is_set()) as share:
            pages = self._pages(source, state, _Fetching(leaving, share, work))
            groups = _gathered(
                landing, batched(pages, self.request.pages_per_batch), state.batches, source
            )
            fetched = PrefetchQueue[GatheredPages](_AHEAD_BYTES, _FETCHED_AHEAD, work.wait)
            ahead = PrefetchQueue[_PreparedBatch](_AHEAD_BYTES, _PREPARED_AHEAD, work.wait)
            with closing(fetched_ahead(groups, fetched, leaving)) as gathered:
                coming: Iterator[GatheredPages] = gathered
                if self.late is not None and not self.warehouse.attached:
                    first = self._first(gathered)
                    if first and (repeated := self._repeated(self.late, landing, state, first[0])):
                        return repeated
                    self.late.attach()
                    coming = chain(first, gathered)
                prepared = _prepared(landing, coming, share)
                with closing(prefetched(prepared, ahead, leaving, work)) as batches:
                    return self._land(landing, state, batches)

    def _first(self, gathered: Iterator[GatheredPages]) -> list[GatheredPages]:
        """Wait for the first batch, if there is one."""
        started = time.perf_counter()
        try:
            first = next(gathered, None)
        finally:
            self.seconds["extract"] += time.perf_counter() - started
        return [] if first is None else [first]

    def _repeated(
        self, late: LateOpening, landing: Landing, state: ExtractionState, first: GatheredPages
    ) -> ExtractionState | None:
        """The end of the extraction if its only batch repeats the records of the sync before."""
        if first.records_of is None or not first.is_last:
            return None
        ended = landing.after(state, landing.prepare(first))
        sealed = replace(ended, certificate=certify(ended))
        if not late.repeats(sealed):
            return None
        self.meter.committed(sealed)
        return sealed

    def _may_ask_whether_changed(self, previous: PreviousExtraction | None) -> bool:
        """Whether the provider may be asked for a page only if the page has changed.

        This is not done in a second attempt or after a failed sync: an unchanged page has the same
        next link as before, and if that link is what fails, only a new copy of the page helps.
        """
        return (
            previous is not None
            and previous.fingerprint == self.fingerprint
            and self.first_attempt
            and self.last_succeeded()
        )

    def _land(
        self, landing: Landing, state: ExtractionState, coming: Iterator[_PreparedBatch]
    ) -> ExtractionState:
        for batch in self._timed(coming):
            state = self._write(landing, state, batch)
            if state.ended:
                return state
            if self.may_grow:
                self.warehouse.grow()
        if self.request.stop.is_set():
            raise Stopped(
                f"stopped on request after batch {state.batches}; "
                "the same sync " + ("continues from there" if state.resumable else "begins again")
            )
        # The source ended without marking a page as the last one.
        with self.warehouse.transaction():
            return landing.seal(state, certify(state), now())

    def _write(self, landing: Landing, state: ExtractionState, batch: Batch) -> ExtractionState:
        attempts = Retrying(
            retry=retry_if_exception_type(WriteInterrupted),
            stop=stop_after_attempt(WRITE_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=0.1, max=2, jitter=0.1),
            reraise=True,
        )
        for attempt in attempts:
            with attempt:
                if attempt.retry_state.attempt_number > 1:
                    # A write that reported a failure may still have been committed.
                    state = replace(
                        self.state(),
                        resumable=state.resumable,
                        snapshot=state.snapshot,
                        fetched_in=state.fetched_in,
                    )
                if state.batches == batch.number:
                    state = self._commit(landing, state, batch)
                    self.meter.committed(state)
                    self.request.faults.after_commit(batch.number)
        return state

    def _commit(self, landing: Landing, state: ExtractionState, batch: Batch) -> ExtractionState:
        started = time.perf_counter()
        with self.warehouse.transaction():
            state = landing.land(state, batch, now())
            if state.ended:
                # The last batch and the seal are one commit, so that no crash can separate them.
                state = landing.seal(state, certify(state), now())
                if batch.number == 0:
                    self.only_batch = known_batch(batch.digest, batch.records_of, batch.known_pages)
            else:
                state = record(self.warehouse, state)
        self.seconds["stage"] += time.perf_counter() - started
        return state

    def _timed(self, coming: Iterator[_PreparedBatch]) -> Iterator[Batch]:
        """Yield the batches, and measure the wait for each.

        Of the wait, the time that preparing the batch took counts as staging, the rest as
        extraction. Work that was done while an earlier batch was written counts for nothing.
        """
        while True:
            started, found = time.perf_counter(), None
            try:
                found = next(coming, None)
            finally:
                waited = time.perf_counter() - started
                worked = 0.0 if found is None else min(waited, found.seconds)
                self.seconds["stage"] += worked
                self.seconds["extract"] += waited - worked
            if found is None:
                return
            yield found.batch

    def _pages(self, source: Source, state: ExtractionState, fetching: _Fetching) -> Iterator[Page]:
        """Yield the remaining pages; pages fetched before a request to stop are still written."""
        pages = source.pages(state.cursor, state.sync_mode.since)
        self.meter.begun(state)
        ends = time.monotonic() + self.time_budget
        taken = False
        while True:
            fetching.share.wait_for_room()
            if self.request.stop.is_set() or fetching.leaving.is_set():
                return
            # The first page is always fetched, so that every attempt makes progress.
            if taken and time.monotonic() >= ends:
                raise TimeBudgetSpent(self._time_is_over(source.resumable))
            self.request.faults.before_page()
            with tracing.span("page"):
                page = next(pages, None)
                if page is not None:
                    tracing.annotate(records=page.count, bytes=len(page.body))
            if page is None:
                return
            taken = True
            fetching.share.add(len(page.body))
            fetching.work.arrived()
            self.meter.fetched(page)
            yield page

    def _time_is_over(self, resumable: bool) -> str:
        return (
            f"reading this integration has taken {self.time_budget:g} s, as long as it may at a "
            "time; "
            + (
                "what is committed is kept and continued from"
                if resumable
                else "this source can only be read as a whole"
            )
            + " (ELT_ASSETS_INTEGRATION_TIMEOUT)"
        )


@dataclass(frozen=True, slots=True)
class _PreparedBatch:
    """A batch, and how many seconds it took to map it, without fetching its pages."""

    batch: Batch
    seconds: float

    @property
    def nbytes(self) -> int:
        """The size of the batch's mapped records in bytes."""
        return 0 if self.batch.mapped is None else self.batch.mapped.nbytes

    @property
    def is_last(self) -> bool:
        """Whether no page follows this batch."""
        return self.batch.last.next is None


@dataclass(frozen=True, slots=True)
class _Fetching:
    """The state that the fetching thread shares with the threads that use its pages."""

    leaving: threading.Event
    """Set when no more pages are wanted."""
    share: Share
    work: Workplace


def _gathered(
    landing: Landing, groups: Iterator[list[Page]], first: int, source: Source
) -> Iterator[GatheredPages]:
    again = source.again if isinstance(source, AsksWhetherChanged) else _as_it_is
    for number, pages in enumerate(groups, first):
        yield landing.gather(number, pages, again)


def _prepared(
    landing: Landing, groups: Iterator[GatheredPages], share: Share
) -> Iterator[_PreparedBatch]:
    for gathered in groups:
        started = time.perf_counter()
        batch = landing.prepare(gathered)
        share.give_back(gathered.fetched)
        yield _PreparedBatch(batch, time.perf_counter() - started)


def _as_the_source_says(state: ExtractionState, source: Source) -> ExtractionState:
    fetched_in = None
    if isinstance(source, StoredSource):
        fetched_in = source.certificate.extraction_runs
    return replace(
        state, resumable=source.resumable, snapshot=source.snapshot, fetched_in=fetched_in
    )


def _as_it_is(page: Page) -> Page:
    return page
