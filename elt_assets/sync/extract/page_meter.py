"""The progress of one extraction: pages as they arrive, and batches as they are committed."""

from __future__ import annotations

import time
from collections.abc import Callable

from elt_assets.connectors.source import Page
from elt_assets.sync.extract.checkpoints import ExtractionState
from elt_assets.sync.outcome import SyncProgress
from elt_assets.sync.sync_request import SyncRequest

_SECONDS_BETWEEN = 1.0
"""The shortest time between reports: hundreds of pages may arrive in a second."""


class PageMeter:
    """Reports the progress of an extraction to the request's listener.

    Its methods are called from two threads: one fetches pages, the other commits batches.
    """

    def __init__(self, request: SyncRequest, clock: Callable[[], float] = time.monotonic) -> None:
        self._request = request
        self._clock = clock
        self._pages = self._records = self._batches = 0
        self._total: int | None = None
        self._told = 0.0

    def begun(self, state: ExtractionState) -> None:
        """Report that fetching begins, and count the pages that were committed before."""
        self._pages, self._records, self._batches = state.pages, state.fetched, state.batches
        self._total = max(state.declared_totals, default=None)
        self._tell("fetch", self._pages, self._records)

    def fetched(self, page: Page) -> None:
        """Count a page that has arrived; report it at most once a second."""
        self._pages += 1
        self._records += page.count
        if page.total is not None:
            self._total = page.total
        if self._clock() - self._told >= _SECONDS_BETWEEN:
            self._tell("fetch", self._pages, self._records)

    def committed(self, state: ExtractionState) -> None:
        """Report a committed batch."""
        self._batches = state.batches
        self._tell("extract", state.pages, state.fetched)

    def at(self, stage: str) -> None:
        """Report that the sync has reached a stage."""
        self._tell(stage, self._pages, self._records)

    def _tell(self, stage: str, pages: int, records: int) -> None:
        self._told = self._clock()
        self._request.tell(
            SyncProgress(
                self._request.key.ref.partition_key,
                stage,
                self._batches,
                records,
                pages,
                self._total,
            )
        )
