"""What a run works on at this moment, in its log: what is under way, and what has failed so far.

Every event is stored, so one event covers all integrations, at most every 15 seconds, and less
often while nothing advances. Clients read its metadata.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import dagster as dg
import msgspec

from elt_assets.errors.foreign_text import inert, visible
from elt_assets.orchestration.assets.progress_log import PROGRESS
from elt_assets.orchestration.dagster_internals import EngineEventData
from elt_assets.orchestration.markdown import named
from elt_assets.sync.outcome import Outcome, Status, SyncProgress

FAILED_SO_FAR = "failed_so_far"
"""Label of the metadata entry that holds the `Failed` integrations as JSON."""

FIRST, EVERY, IDLE = 5.0, 15.0, 60.0
"""Seconds until the first report, between reports, and between reports while nothing changes."""
_SHOWN = 10


class Failed(msgspec.Struct, frozen=True):
    """An integration that has failed in this attempt of the run; a retry may still settle it."""

    partition: str
    error: str


class RunProgress(msgspec.Struct, frozen=True):
    """A moment of a run: what is under way, longest first, what has failed, how many ended."""

    under_way: tuple[SyncProgress, ...]
    failed: tuple[Failed, ...]
    ended: int

    def __str__(self) -> str:
        parts = [
            f"under way: {_listed([str(one) for one in self.under_way]) or 'nothing'}",
            f"ended: {self.ended:,}",
        ]
        if self.failed:
            lines = [inert(named(one.partition, one.error)) for one in self.failed]
            parts.append(f"failed so far: {_listed(lines)}")
        return "; ".join(parts)


class LiveProgress:
    """Collects progress from many threads; the run's own thread reports it."""

    def __init__(
        self, report: Callable[[RunProgress], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._going: dict[str, SyncProgress] = {}
        self._since: dict[str, float] = {}
        self._failed: dict[str, Failed] = {}
        self._ended = 0
        self._reported_at = clock() - EVERY + FIRST
        self._reported: object = None

    def heard(self, progress: SyncProgress) -> None:
        """Keep the newest progress of an integration."""
        with self._lock:
            self._since.setdefault(progress.partition, self._clock())
            self._going[progress.partition] = progress

    def followed(self, outcomes: Generator[Outcome]) -> Iterator[Outcome]:
        """Yield the outcomes; an integration that has an outcome is no longer under way."""
        with closing(outcomes):
            for outcome in outcomes:
                self._settle(outcome)
                yield outcome

    def write(self) -> None:
        """Report if something is under way and the last report is old enough."""
        now = self._clock()
        if now - self._reported_at < EVERY:
            return
        with self._lock:
            news = (dict(self._going), dict(self._failed), self._ended)
            if not self._going or (news == self._reported and now - self._reported_at < IDLE):
                return
            under_way = sorted(
                (
                    msgspec.structs.replace(one, seconds=round(now - self._since[key], 1))
                    for key, one in self._going.items()
                ),
                key=lambda one: -one.seconds,
            )
            snapshot = RunProgress(tuple(under_way), tuple(self._failed.values()), self._ended)
        self._reported_at, self._reported = now, news
        self._report(snapshot)

    def _settle(self, outcome: Outcome) -> None:
        key = outcome.partition
        with self._lock:
            self._going.pop(key, None)
            self._since.pop(key, None)
            self._ended += 1
            if outcome.status is Status.FAILED:
                error = visible(outcome.error or "failed without a reason")
                self._failed[key] = Failed(key, error.removeprefix(f"{key}: "))


def reporter(context: dg.AssetExecutionContext) -> Callable[[RunProgress], None]:
    """Report a snapshot as one event of the run."""

    def report(snapshot: RunProgress) -> None:
        context.instance.report_engine_event(
            str(snapshot),
            context.run,
            EngineEventData(
                {
                    PROGRESS: dg.MetadataValue.json(msgspec.to_builtins(snapshot.under_way)),
                    FAILED_SO_FAR: dg.MetadataValue.json(msgspec.to_builtins(snapshot.failed)),
                }
            ),
            step_key=context.get_step_execution_context().step.key,
        )

    return report


def _listed(lines: list[str]) -> str:
    more = len(lines) - _SHOWN
    return "; ".join(lines[:_SHOWN]) + (f"; and {more:,} more" if more > 0 else "")
