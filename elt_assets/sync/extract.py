"""Extraction: pages from a source into committed batches, until the certificate is sealed.

Belongs here: the loop, its checkpoints' rhythm and its resumption. Does not: what a batch's
transaction writes (stage) or how pages are fetched (connectors).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

import duckdb
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from elt_assets.connectors.source import Page, Source
from elt_assets.errors import WriteInterrupted
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.certificate import certify
from elt_assets.sync.clock import now
from elt_assets.sync.faults import Faults
from elt_assets.sync.outcome import Certificate, Progress, ProgressListener
from elt_assets.sync.stage import (
    ExtractionState,
    Landing,
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

    connection: duckdb.DuckDBPyConnection
    stream: Stream
    ref: IntegrationRef
    sync_id: str
    fingerprint: str
    max_resume: timedelta
    open_source: Callable[[], Source]
    pages_per_batch: int
    progress: ProgressListener
    seconds: dict[str, float]
    faults: Faults
    resumed_batches: int = 0

    def run(self) -> tuple[ExtractionState, Certificate]:
        """Fetch what is left, land it, seal. Raises what the source or the warehouse raises."""
        state = begin_extraction(
            self.connection,
            self.stream,
            self.sync_id,
            fingerprint=self.fingerprint,
            max_resume=self.max_resume,
        )
        self.resumed_batches = state.batches
        attempts = Retrying(
            retry=retry_if_exception_type(WriteInterrupted),
            stop=stop_after_attempt(WRITE_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=0.1, max=2, jitter=0.1),
            reraise=True,
        )
        for attempt in attempts:
            with attempt:
                # The checkpoints say what was committed; a write that reported a failure
                # may have been.
                state = self.state()
                if state.certificate is None:
                    self._fetch_and_seal(state)
        state = self.state()
        return state, state.certificate or certify(state)

    def state(self) -> ExtractionState:
        """Where the extraction stands by its committed checkpoints."""
        return extraction_state(self.connection, self.stream, self.sync_id)

    def _fetch_and_seal(self, state: ExtractionState) -> None:
        source = self.open_source()
        try:
            landing = Landing(
                self.connection,
                self.stream,
                self.ref,
                self.sync_id,
                fields=source.fields,
                records=source.records,
            )
            records = state.fetched
            pages = self._pages(source, state)
            for batch, group in enumerate(self._batches(pages), start=state.batches):
                started = time.perf_counter()
                last = group[-1].next is None
                with transaction(self.connection):
                    landing.land(batch, group, now())
                    if last:
                        # The last batch and the seal are one commit: no crash lies between.
                        landing.seal(certify(self.state()), now())
                self.seconds["stage"] += time.perf_counter() - started
                records += sum(page.count for page in group)
                self.progress(Progress(str(self.ref), "extract", batch + 1, records))
                self.faults.after_commit(batch)
                if last:
                    return
            # The source ended without saying that a page was the last one.
            with transaction(self.connection):
                landing.seal(certify(self.state()), now())
        finally:
            source.close()

    def _pages(self, source: Source, state: ExtractionState) -> Iterator[Page]:
        pages = source.pages(state.cursor)
        while True:
            self.faults.before_page()
            page = next(pages, None)
            if page is None:
                return
            yield page

    def _batches(self, pages: Iterator[Page]) -> Iterator[list[Page]]:
        while True:
            started = time.perf_counter()
            group = list(islice(pages, self.pages_per_batch))
            self.seconds["extract"] += time.perf_counter() - started
            if not group:
                return
            yield group
            if group[-1].next is None:
                return
