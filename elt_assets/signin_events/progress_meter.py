"""The progress of a long step: rows, rate, share and remaining time, reported at intervals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import duckdb

from elt_assets.signin_events.results import EventListener, EventProgress

INTERVAL = 2.0
"""Seconds between two reports."""


class ProgressMeter:
    """One step's progress on one thing; safe to use from several threads."""

    def __init__(
        self,
        step: str,
        what: str,
        listener: EventListener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._step = step
        self._what = what
        self._listener = listener
        self._clock = clock
        self._began = self._reported = clock()
        self._guard = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return round(self._clock() - self._began, 3)

    def at(self, rows: int, share: float | None = None, *, last: bool = False) -> None:
        """Report `rows` as done, if `INTERVAL` has passed since the last report or `last` is set.

        `share` is the share of the step that is done, 0 to 1.
        """
        now = self._clock()
        with self._guard:
            if now - self._reported < INTERVAL and not last:
                return
            self._reported = now
        passed = max(now - self._began, 1e-6)
        left = passed / share - passed if share else None
        self._listener(
            EventProgress(
                step=self._step,
                what=self._what,
                rows=rows,
                rate=round(rows / passed, 1),
                share=share,
                seconds_left=None if left is None else round(left, 1),
            )
        )


@contextmanager
def watching(
    connection: duckdb.DuckDBPyConnection,
    meter: ProgressMeter,
    total: Callable[[], float],
    handed_over: Callable[[], float] = lambda: 0.0,
) -> Iterator[None]:
    """Report the progress of the block's statement, which processes about `total` rows.

    `handed_over` is the share of the input that the statement was given, where DuckDB cannot know
    the size of the input; 0 otherwise.
    """
    # Have DuckDB measure the progress without printing it.
    connection.execute("SET enable_progress_bar = true")
    connection.execute("SET enable_progress_bar_print = false")
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(INTERVAL):
            share = handed_over() or max(connection.query_progress(), 0.0) / 100
            meter.at(int(total() * share), share or None)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
