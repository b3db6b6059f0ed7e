"""Progress of running work in the run's log: a line for people, with its data for clients.

Every event is stored, so one event covers everything that advanced, and only every few seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import dagster as dg
import msgspec

from elt_assets.orchestration.dagster_internals import EngineEventData

P = TypeVar("P")

PROGRESS = "progress"
"""Label of the metadata entry that holds the progress as JSON."""

_SECONDS_BETWEEN = 15.0


class ProgressLog(Generic[P]):
    """Collects progress from many threads; the run's own thread reports the newest of each item."""

    def __init__(
        self,
        report: Callable[[Sequence[P]], None],
        item: Callable[[P], Hashable],
        every: float = _SECONDS_BETWEEN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._item = item
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._news: dict[Hashable, P] = {}
        self._reported = clock()

    def heard(self, progress: P) -> None:
        """Keep the progress of an item until the next report."""
        with self._lock:
            self._news[self._item(progress)] = progress

    def write(self) -> None:
        """Report what is new, unless the last report is only seconds old."""
        now = self._clock()
        with self._lock:
            if not self._news or now - self._reported < self._every:
                return
            news, self._news = self._news, {}
        self._reported = now
        self._report(list(news.values()))


def reporter(
    context: dg.AssetExecutionContext, text: Callable[[P], str]
) -> Callable[[Sequence[P]], None]:
    """Report progress as one event of the run; `text` is an item in words."""

    def report(progress: Sequence[P]) -> None:
        context.instance.report_engine_event(
            f"under way: {'; '.join(map(text, progress))}",
            context.run,
            EngineEventData({PROGRESS: dg.MetadataValue.json(msgspec.to_builtins(progress))}),
            step_key=context.get_step_execution_context().step.key,
        )

    return report
