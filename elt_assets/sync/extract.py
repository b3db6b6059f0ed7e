"""Extraction: pages from a source into committed batches, until the certificate is sealed.

Belongs here: the loop, its checkpoints' rhythm and its resumption. Does not: what a batch's
transaction writes (stage) or how pages are fetched (connectors).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice

from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from elt_assets import tracing
from elt_assets.connectors.source import Page, Source
from elt_assets.errors import Stopped, SyncError, WriteInterrupted
from elt_assets.identifiers import IntegrationRef
from elt_assets.stores.warehouse import Lent
from elt_assets.sync.certificate import certify
from elt_assets.sync.clock import now
from elt_assets.sync.faults import Faults
from elt_assets.sync.outcome import Certificate, Progress, ProgressListener
from elt_assets.sync.plan import Plan
from elt_assets.sync.repeat import Before
from elt_assets.sync.stage import (
    ExtractionState,
    Landing,
    begin_again,
    begin_extraction,
    extraction_state,
    transaction,
)
from elt_assets.sync.stream import Stream

WRITE_ATTEMPTS = 10


@dataclass(slots=True)
class Extraction:
    """One sync's extraction of one stream; `run` it until it is sealed.

    `open_source` is called only when something is left to fetch. `seconds` grows while it
    runs: time spent waiting for pages ('extract') and landing them ('stage').
    """

    warehouse: Lent
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
    before: Callable[[], Before | None] = lambda: None
    """The extraction whose pages, where they come again, need not be worked out again."""
    resumed_batches: int = 0
    begun: bool = False

    def run(self) -> tuple[ExtractionState, Certificate]:
        """Fetch what is left, land it, seal. Raises what the source or the warehouse raises."""
        state = begin_extraction(
            self.warehouse.connection,
            self.stream,
            self.sync_id,
            fingerprint=self.fingerprint,
            max_resume=self.max_resume,
            plan=self.plan,
        )
        self.begun, self.resumed_batches = True, state.batches
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
                    state = self.state()
                if state.certificate is None:
                    state = self._fetch_and_seal(state)
        return state, state.certificate or certify(state)

    def state(self) -> ExtractionState:
        """Where the extraction stands by its committed checkpoints, once it has `begun`."""
        return extraction_state(self.warehouse.connection, self.stream, self.sync_id)

    def _fetch_and_seal(self, state: ExtractionState) -> ExtractionState:
        source = self.open_source()
        try:
            if state.batches and not source.resumable:
                state = begin_again(self.warehouse.connection, self.stream, self.sync_id)
                self.resumed_batches = 0
            state = replace(state, resumable=source.resumable)
            landing = Landing(
                self.warehouse,
                self.stream,
                self.ref,
                self.sync_id,
                fields=source.fields,
                records=source.records,
                before=self.before(),
            )
            for group in self._batches(self._pages(source, state)):
                started = time.perf_counter()
                with transaction(self.warehouse.connection):
                    state = landing.land(state, group, now())
                    if state.ended:
                        # The last batch and the seal are one commit: no crash lies between.
                        state = landing.seal(state, certify(state), now())
                self.seconds["stage"] += time.perf_counter() - started
                self.progress(Progress(str(self.ref), "extract", state.batches, state.fetched))
                self.faults.after_commit(state.batches - 1)
                if state.ended:
                    return state
                if self.stop.is_set():
                    raise Stopped(
                        f"stopped on request after batch {state.batches}; "
                        "the same sync "
                        + ("continues from there" if source.resumable else "begins again")
                    )
            # The source ended without saying that a page was the last one.
            with transaction(self.warehouse.connection):
                return landing.seal(state, certify(state), now())
        finally:
            source.close()

    def _pages(self, source: Source, state: ExtractionState) -> Iterator[Page]:
        pages = source.pages(state.cursor, state.plan.since)
        while True:
            self.faults.before_page()
            with tracing.span("page"):
                page = next(pages, None)
                if page is not None:
                    tracing.annotate(records=page.count, bytes=len(page.body))
            if page is None:
                return
            yield page

    def _batches(self, pages: Iterator[Page]) -> Iterator[list[Page]]:
        """Groups of pages; those fetched before an error are handed out before it."""
        failure: SyncError | None = None
        while failure is None:
            group: list[Page] = []
            started = time.perf_counter()
            try:
                group.extend(islice(pages, self.pages_per_batch))
            except SyncError as error:
                failure = error
            self.seconds["extract"] += time.perf_counter() - started
            if group:
                yield group
            if failure is None and (not group or group[-1].next is None):
                return
        raise failure
