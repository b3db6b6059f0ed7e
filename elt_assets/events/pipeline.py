"""The events pipeline: one installation's days of sign-in events behind one object.

Belongs here: the steps as callers see them, in the order in which they are taken. Does not:
how any of them works (a module each), or when they run (assets, schedules).

    extract_api, extract_files → normalize (one source each) → load → summarize
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from elt_assets.events.interruption import Interruption
from elt_assets.events.outcome import (
    Arrival,
    DayStatus,
    EventListener,
    EventSource,
    Extraction,
    FileLoad,
    Finding,
    Loaded,
    Normalized,
    Summarized,
    unheard,
)
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.platform import Platform

STREAM = "signin_events"
"""Name of the stream in provider_data that offers events."""

SCHEMA = "signin_event_v2"
"""Name and version of the schema that both sources are brought into."""


class EventPipeline:
    """Use as a context manager, or call `close`; the platform stays its owner's."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def close(self) -> None:
        """Give back connections and files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def integrations(self) -> list[IntegrationRef]:
        """The enabled integrations that offer events, in order of registration."""
        raise NotImplementedError

    def extract_api(
        self,
        day: date,
        refs: Sequence[IntegrationRef] | None = None,
        *,
        run_id: str | None = None,
        progress: EventListener = unheard,
        stop: Interruption | None = None,
    ) -> list[Extraction]:
        """Fetch the day of every integration that offers events, or of `refs` alone.

        Several at once; one's failure is its result (`failed`, `retryable`) and costs the
        others nothing. An interrupted reading goes on after its last committed page; one of
        a day that was read in full begins anew, and replaces it once it is complete.
        Raises `Stopped`.
        """
        raise NotImplementedError

    def extract_new(
        self,
        refs: Sequence[IntegrationRef] | None = None,
        *,
        run_id: str | None = None,
        progress: EventListener = unheard,
        stop: Interruption | None = None,
    ) -> list[Extraction]:
        """Fetch what happened since each integration's high-water mark, less the overlap.

        What comes is counted to today's partition; normalize and load that day afterwards.
        """
        raise NotImplementedError

    def extract_files(
        self,
        day: date,
        *,
        run_id: str | None = None,
        progress: EventListener = unheard,
        stop: Interruption | None = None,
    ) -> list[FileLoad]:
        """Load the export files in the day's folder; [] while there is none.

        A file that cannot be read is a result with `error`, and costs the others nothing.
        Raises `Stopped`.
        """
        raise NotImplementedError

    def normalize(
        self,
        source: EventSource,
        day: date,
        *,
        progress: EventListener = unheard,
        stop: Interruption | None = None,
    ) -> Normalized:
        """Bring what was extracted for the day into the schema; the rest to the dead letters."""
        raise NotImplementedError

    def load(
        self, day: date, *, progress: EventListener = unheard, stop: Interruption | None = None
    ) -> Loaded:
        """Bring `signin_events` up to date with what was normalized for the day.

        One transaction, whatever days its events are of; `Loaded.days` says which changed.
        Summarize each of them afterwards.
        """
        raise NotImplementedError

    def summarize(self, day: date, *, stop: Interruption | None = None) -> Summarized:
        """Write the day's summary by organization, and again those that depend on it."""
        raise NotImplementedError

    def waiting(self, step: str) -> list[date]:
        """Days whose `load` or `summarize` is due: what goes before was committed, this was not."""
        raise NotImplementedError

    def refresh(self, *, stop: Interruption | None = None) -> int:
        """Make `signin_events` and all summaries anew beside the old ones and swap them in.

        For changed precedences or schemas. Returns the number of events.
        """
        raise NotImplementedError

    def check(self, name: str, day: date | None = None) -> Finding:
        """One of `elt_assets.events.checks.CHECKS`: volume, conformance, duplicates, gaps,
        freshness. `day` for volume and conformance; all days if None. Passes while no event
        was ever loaded."""
        raise NotImplementedError

    def days(self, begin: date | None = None, end: date | None = None) -> list[DayStatus]:
        """What is known of every day from `begin` to `end`, newest first."""
        raise NotImplementedError

    def events(
        self, *, day: date | None = None, organization: str | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """Loaded events, newest first, as `events list --json` shows them."""
        raise NotImplementedError

    def summary(self, *, day: date | None = None) -> list[dict[str, Any]]:
        """Rows of `daily_signin_summary`, newest day first."""
        raise NotImplementedError

    def rejected(
        self, *, day: date | None = None, organization: str | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Dead letters: source, day, partition, file, line, key, reason, raw, created_at."""
        raise NotImplementedError

    def rejected_counts(self) -> list[dict[str, Any]]:
        """How many dead letters there are by day, source and reason."""
        raise NotImplementedError

    def retry_rejected(self, day: date) -> list[Normalized]:
        """Normalize the day's records again with today's configuration and registry, fetching
        nothing, and load them. Lines that were no records at all stay dead letters."""
        raise NotImplementedError

    def expire_rejected(self, before: date) -> int:
        """Delete the dead letters of days before `before`; return how many they were."""
        raise NotImplementedError

    def export_rejected(self, target: Path) -> int:
        """Write all dead letters to one new Parquet file; return how many they are."""
        raise NotImplementedError

    def arrivals(self, now: datetime | None = None) -> list[Arrival]:
        """Days with export files that stand still, for whoever waits for some."""
        raise NotImplementedError

    def forget(self, ref: IntegrationRef) -> None:
        """Delete every event of an integration; of its organization if it has no other."""
        raise NotImplementedError
