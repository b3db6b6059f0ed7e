"""Where the time of a run was spent: the stages of its syncs, and Dagster itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from elt_assets.orchestration.placement import Placement
from elt_assets.sync.outcome import Outcome, Stage
from elt_assets.sync.state.ledger import STAGES
from elt_assets.sync.streams import Stream

_SHOWN = {"extract": "fetch"}


class RunTimings:
    """The timings of one attempt, from the creation of this object on."""

    def __init__(self) -> None:
        self._begun_at = time.time()
        self._begun = time.perf_counter()
        self._stages = dict.fromkeys(STAGES, 0.0)
        self._dagster = 0.0

    def add(self, outcome: Outcome) -> None:
        """Add the stages of a sync; a result that was only looked up adds nothing."""
        if not outcome.recorded:
            for stage, seconds in outcome.seconds.items():
                self._stages[stage] += seconds

    @contextmanager
    def dagster(self) -> Iterator[None]:
        """Measure the time that Dagster takes for an event."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._dagster += time.perf_counter() - started

    def metadata(self, record: dg.RunRecord | None) -> dict[str, float]:
        """Seconds by activity.

        The seconds of stages are a sum over the worker threads and may exceed the total. Those of
        Dagster are spent in the run's own thread while the workers continue.
        """
        before = {} if record is None else _before(record, self._begun_at)
        seconds = {
            "total": time.perf_counter() - self._begun,
            **{_SHOWN.get(stage, stage): taken for stage, taken in self._stages.items()},
            "dagster_events": self._dagster,
            **before,
        }
        return {f"seconds_{name}": round(taken, 3) for name, taken in seconds.items()}


def timings_event(
    stream: Stream, seconds: dict[str, float], integrations: int, at: Placement
) -> dg.AssetObservation:
    """The event for the run's log and the page of the latest table."""
    return dg.AssetObservation(
        at.table(stream, Stage.LATEST),
        description="Where the time of this run was spent.",
        metadata={"integrations": integrations, **seconds},
    )


def _before(record: dg.RunRecord, begun_at: float) -> dict[str, float]:
    """Seconds before the step began: in the queue and starting a process, then in the run."""
    created_at = record.create_timestamp.timestamp()
    started_at = record.start_time or begun_at
    return {
        "queue_and_start": max(0.0, started_at - created_at),
        "dagster_begin": max(0.0, begun_at - started_at),
    }
