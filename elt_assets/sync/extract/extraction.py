"""Extraction: pages from a source into committed batches, until the certificate is sealed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice

from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from elt_assets.connectors.source import AsksWhetherChanged, ListsOtherwise, Page, Source
from elt_assets.errors import (
    PositionRefused,
    Stopped,
    SyncError,
    TimeBudgetSpent,
    WriteInterrupted,
)
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.clock import now
from elt_assets.sync.extract.certificate import certify
from elt_assets.sync.extract.page_reuse import Before
from elt_assets.sync.extract.prefetch import prefetched
from elt_assets.sync.extract.staging import (
    Batch,
    ExtractionState,
    Landing,
    begin_again,
    begin_extraction,
    extraction_state,
)
from elt_assets.sync.extract.sync_mode import Plan
from elt_assets.sync.fault_injection import Faults
from elt_assets.sync.outcome import Certificate, Progress, ProgressListener
from elt_assets.sync.streams import Stream
from elt_assets.telemetry import tracing
from elt_assets.telemetry.logs import logger

WRITE_ATTEMPTS = 10
_AHEAD_BYTES = 32 * 2**20
"""No other batch is worked out while those that are not written yet take this much memory."""


@dataclass(slots=True)
class Extraction:
    """One sync's extraction of one stream; `run` it until it is sealed.

    `open_source` is called only when something is left to fetch. `seconds` grows while it
    runs: time spent waiting for pages ('extract') and landing them ('stage').
    """

    warehouse: Warehouse
    stream: Stream
    ref: IntegrationRef
    sync_id: str
    fingerprint: str
    max_resume: timedelta
    plan: Callable[[], Plan]
    open_source: Callable[[], Source]
    pages_per_batch: int
    progress: ProgressListener
    seconds: dict[str, float]
    faults: Faults
    stop: threading.Event
    before: Callable[[], Before | None]
    """The extraction whose pages, where they come again, need not be worked out again."""
    last_went_well: Callable[[], bool]
    """Whether the last sync that ended was applied or found nothing changed."""
    time_budget: float
    """Seconds after which no more pages are taken in this attempt."""
    may_grow: bool
    """Whether the file may be replaced meanwhile: not while the source reads from it."""
    resumed_batches: int = 0
    begun: bool = False
    requests: int = 0
    """Requests sent to the provider by this attempt."""

    def run(self) -> tuple[ExtractionState, Certificate]:
        """Fetch what is left, land it, seal. Raises what the source or the warehouse raises."""
        state = begin_extraction(
            self.warehouse,
            self.stream,
            self.sync_id,
            fingerprint=self.fingerprint,
            max_resume=self.max_resume,
            plan=self.plan,
        )
        self.begun, self.resumed_batches = True, state.batches
        if state.certificate is None:
            state = self._fetch_and_seal(state)
        return state, state.certificate or certify(state)

    def state(self) -> ExtractionState:
        """Where the extraction stands by its committed checkpoints, once it has `begun`."""
        return extraction_state(self.warehouse, self.stream, self.sync_id)

    def _fetch_and_seal(self, state: ExtractionState) -> ExtractionState:
        try:
            return self._fetch(state)
        except PositionRefused as refused:
            logger.warning("position refused, the extraction begins again", reason=str(refused))
            return self._fetch(self._begun_again())

    def _begun_again(self) -> ExtractionState:
        self.resumed_batches = 0
        return begin_again(self.warehouse, self.stream, self.sync_id)

    def _fetch(self, state: ExtractionState) -> ExtractionState:
        with closing(self.open_source()) as source:
            try:
                return self._fetch_from(source, state)
            finally:
                self.requests += source.requests

    def _fetch_from(self, source: Source, state: ExtractionState) -> ExtractionState:
        if state.batches and not source.resumable:
            state = self._begun_again()
        state = replace(state, resumable=source.resumable, snapshot=source.snapshot)
        if state.plan.confirming and isinstance(source, ListsOtherwise):
            source.otherwise()
        before = self.before()
        landing = Landing(
            self.warehouse,
            self.stream,
            self.ref,
            self.sync_id,
            fields=source.fields,
            records=source.records,
            before=before,
        )
        if (
            isinstance(source, AsksWhetherChanged)
            and (known := landing.known_pages())
            and self._may_ask_whether_changed(state, before)
        ):
            source.recall(known)
        leaving = threading.Event()
        groups = self._groups(self._pages(source, state, leaving))
        working_out = _worked_out(landing, groups, state.batches, source)
        with closing(prefetched(working_out, _AHEAD_BYTES, leaving)) as coming:
            return self._land(landing, state, coming)

    def _may_ask_whether_changed(self, state: ExtractionState, before: Before | None) -> bool:
        """Whether a page may be left unsent because its provider says that it is as it was.

        Not in a second attempt and not after a failure: an unchanged page leads on to where it
        led before, and if that is what fails, only a page that is sent again helps.
        """
        return (
            before is not None
            and before.fingerprint == self.fingerprint
            and state.run == 1
            and self.last_went_well()
        )

    def _land(
        self, landing: Landing, state: ExtractionState, coming: Iterator[_WorkedOut]
    ) -> ExtractionState:
        for batch in self._timed(coming):
            state = self._write(landing, state, batch)
            if state.ended:
                return state
            if self.may_grow:
                self.warehouse.grow()
        if self.stop.is_set():
            raise Stopped(
                f"stopped on request after batch {state.batches}; "
                "the same sync " + ("continues from there" if state.resumable else "begins again")
            )
        # The source ended without saying that a page was the last one.
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
                    # A write that reported a failure may have been committed all the same.
                    state = replace(
                        self.state(), resumable=state.resumable, snapshot=state.snapshot
                    )
                if state.batches == batch.number:
                    state = self._commit(landing, state, batch)
                    self._tell(state)
                    self.faults.after_commit(batch.number)
        return state

    def _tell(self, state: ExtractionState) -> None:
        try:
            self.progress(Progress(str(self.ref), "extract", state.batches, state.fetched))
        except Stopped:
            # All that share the request to stop have it then; what is fetched by now is landed.
            self.stop.set()

    def _commit(self, landing: Landing, state: ExtractionState, batch: Batch) -> ExtractionState:
        started = time.perf_counter()
        with self.warehouse.transaction():
            state = landing.land(state, batch, now())
            if state.ended:
                # The last batch and the seal are one commit: no crash lies between.
                state = landing.seal(state, certify(state), now())
        self.seconds["stage"] += time.perf_counter() - started
        return state

    def _timed(self, coming: Iterator[_WorkedOut]) -> Iterator[Batch]:
        """The batches; the wait for one counts as staging as far as it was worked out, then
        as extraction. What was done ahead, while another was written, took no time of its own.
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

    def _pages(
        self, source: Source, state: ExtractionState, leaving: threading.Event
    ) -> Iterator[Page]:
        """What the source has left; asked to stop, what was fetched by then is still landed."""
        pages = source.pages(state.cursor, state.plan.since)
        ends = time.monotonic() + self.time_budget
        taken = False
        while not (self.stop.is_set() or leaving.is_set()):
            # The first page in any case: what is late each time would never get anywhere.
            if taken and time.monotonic() >= ends:
                raise TimeBudgetSpent(self._time_is_over(source.resumable))
            self.faults.before_page()
            with tracing.span("page"):
                page = next(pages, None)
                if page is not None:
                    tracing.annotate(records=page.count, bytes=len(page.body))
            if page is None:
                return
            taken = True
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

    def _groups(self, pages: Iterator[Page]) -> Iterator[list[Page]]:
        """Pages of a batch; those fetched before an error are handed out before it."""
        failure: SyncError | None = None
        while failure is None:
            group: list[Page] = []
            try:
                group.extend(islice(pages, self.pages_per_batch))
            except SyncError as error:
                failure = error
            if group:
                yield group
            if failure is None and (not group or group[-1].next is None):
                return
        raise failure


@dataclass(frozen=True, slots=True)
class _WorkedOut:
    """A batch and how long it took to work it out of its pages, fetching them not included."""

    batch: Batch
    seconds: float

    @property
    def nbytes(self) -> int:
        """Bytes of its records."""
        return 0 if self.batch.mapped is None else self.batch.mapped.nbytes

    @property
    def is_last(self) -> bool:
        """Whether its last page is the last of all."""
        return self.batch.last.next is None


def _worked_out(
    landing: Landing, groups: Iterator[list[Page]], first: int, source: Source
) -> Iterator[_WorkedOut]:
    again = source.again if isinstance(source, AsksWhetherChanged) else _as_it_is
    for number, pages in enumerate(groups, first):
        started = time.perf_counter()
        batch = landing.work_out(number, pages, again)
        yield _WorkedOut(batch, time.perf_counter() - started)


def _as_it_is(page: Page) -> Page:
    return page
