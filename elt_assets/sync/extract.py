"""Extraction: pages from a source into committed batches, until the certificate is sealed.

Belongs here: the loop, its checkpoints' rhythm and its resumption. Does not: what a batch's
transaction writes (stage) or how pages are fetched (connectors).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import duckdb

from elt_assets.connectors.source import Page, Source
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.certificate import certify
from elt_assets.sync.clock import now
from elt_assets.sync.outcome import Certificate, Progress, ProgressListener
from elt_assets.sync.stage import (
    ExtractionState,
    Landing,
    begin_extraction,
    extraction_state,
    transaction,
)
from elt_assets.sync.stream import Stream


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
    open_source: Callable[[], Source]
    pages_per_batch: int
    progress: ProgressListener
    seconds: dict[str, float]
    resumed_batches: int = 0

    def run(self) -> tuple[ExtractionState, Certificate]:
        """Fetch what is left, land it, seal. Raises what the source or the warehouse raises."""
        state = begin_extraction(
            self.connection, self.stream, self.sync_id, self.fingerprint, now()
        )
        self.resumed_batches = state.batches
        if state.certificate is not None:
            return state, state.certificate
        certificate = self._fetch_and_seal(state)
        return self.state(), certificate

    def state(self) -> ExtractionState:
        """Where the extraction stands by its committed checkpoints."""
        return extraction_state(self.connection, self.stream, self.sync_id)

    def _fetch_and_seal(self, state: ExtractionState) -> Certificate:
        source = self.open_source()
        try:
            landing = Landing(self.connection, self.stream, self.ref, self.sync_id, source)
            pages = source.pages(state.cursor)
            records = state.fetched
            for batch, group in enumerate(self._batches(pages), start=state.batches):
                started = time.perf_counter()
                last = group[-1].next is None
                with transaction(self.connection):
                    landing.land(batch, group, now())
                    # The last batch and the seal are one commit: no crash lies between.
                    certificate = self._seal(landing) if last else None
                self.seconds["stage"] += time.perf_counter() - started
                records += sum(page.count for page in group)
                self.progress(Progress(str(self.ref), "extract", batch + 1, records))
                if certificate is not None:
                    return certificate
            with transaction(self.connection):
                return self._seal(landing)
        finally:
            source.close()

    def _seal(self, landing: Landing) -> Certificate:
        certificate = certify(self.state())
        landing.seal(certificate, now())
        return certificate

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
