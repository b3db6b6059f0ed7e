"""The pipeline of sign-in events: its steps, reports and checks behind one object.

extract_api, extract_files → normalize (one source each) → load → summarize
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Self

from elt_assets.connectors import catalog
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.signin_events.admin import erasure, event_checks, record_retention
from elt_assets.signin_events.admin.reports import EventReports
from elt_assets.signin_events.extract.api_extraction import STREAM, ApiExtraction, Period
from elt_assets.signin_events.extract.export_files import (
    STREAMING_MEMORY,
    STREAMING_THREADS,
    ExportFiles,
)
from elt_assets.signin_events.results import (
    Arrival,
    CheckResult,
    DayExtraction,
    EventSource,
    FileLoad,
    Loaded,
    Normalized,
    Summarized,
)
from elt_assets.signin_events.step_run import StepRun
from elt_assets.signin_events.transform.daily_summary import Summary
from elt_assets.signin_events.transform.load import Loading
from elt_assets.signin_events.transform.normalize import Normalization
from elt_assets.signin_events.warehouse.analytics import Analytics
from elt_assets.signin_events.warehouse.event_schema import SIGNIN_EVENT
from elt_assets.signin_events.warehouse.pending_days import SUMMARIZE
from elt_assets.sync.admin.maintenance import MaintenanceReport
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.registry import Integration

SCHEMA = str(SIGNIN_EVENT)
"""Name and version of the schema to which both sources are normalized."""


class EventPipeline:
    """The pipeline of one installation. Use as a context manager, or call `close`.

    Closing leaves `platform` open, which belongs to the caller.
    """

    def __init__(self, platform: SyncService) -> None:
        settings = platform.settings
        self._platform = platform
        self._analytics = Analytics(settings)
        self.reports = EventReports(self._analytics)
        self._api = ApiExtraction(platform, self._analytics)
        self._streaming = Analytics(
            settings, memory_limit=STREAMING_MEMORY, threads=STREAMING_THREADS
        )
        self._files = ExportFiles(settings, self._streaming)
        self._normalization = Normalization(platform, self._analytics)
        self._loading = Loading(self._analytics)
        self._summary = Summary(platform, self._analytics)

    def close(self) -> None:
        self._analytics.close()
        self._streaming.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def integrations(self) -> list[IntegrationRef]:
        """The enabled integrations that offer events, in order of registration."""
        return [entry.ref for entry in self._offering()]

    def extract_api(
        self, day: date, refs: Sequence[IntegrationRef] | None = None, step: StepRun | None = None
    ) -> list[DayExtraction]:
        """Fetch the day of every integration that offers events, or only of `refs`.

        Several integrations are fetched at once. A failure of one is its result (`failed`,
        `retryable`) and does not affect the others. An interrupted extraction continues after its
        last committed page. A day that was fetched completely is fetched again, and its records are
        replaced once the new extraction is complete. Raises `Stopped`.
        """
        periods = [(entry, Period.of(day)) for entry in self._chosen(refs)]
        return self._api.run(periods, step or StepRun())

    def extract_new(
        self, refs: Sequence[IntegrationRef] | None = None, step: StepRun | None = None
    ) -> list[DayExtraction]:
        """Fetch the events since each integration's watermark, less the overlap.

        The records are stored under today's partition; normalize and load that day afterwards.
        """
        moment = datetime.now(UTC).replace(microsecond=0)
        periods = self._api.since_watermarks(self._chosen(refs), moment)
        return self._api.run(periods, step or StepRun())

    def extract_files(self, day: date, step: StepRun | None = None) -> list[FileLoad]:
        """Load the export files in the day's folder; [] if the folder does not exist.

        A file that cannot be read is a result with `error`, and does not affect the others.
        Raises `Stopped`.
        """
        return self._files.load(day, step or StepRun())

    def normalize(self, source: EventSource, day: date, step: StepRun | None = None) -> Normalized:
        """Normalize the day's extracted records; those that violate the schema are dead letters."""
        return self._normalization.run(source, day, step or StepRun())

    def load(self, day: date, step: StepRun | None = None) -> Loaded:
        """Bring `signin_events` up to date with the day's normalized records.

        This is one transaction, even if the records concern events of other days. `Loaded.days` has
        the days that changed; summarize each of them afterwards.
        """
        return self._loading.run(day, step or StepRun())

    def summarize(self, day: date, step: StepRun | None = None) -> Summarized:
        """Write the day's summary by organization, and correct the later summaries it affects."""
        return self._summary.run(day, step or StepRun())

    def waiting(self, step: str) -> list[date]:
        """Days for which `step` (load or summarize) is due: only the step before was committed."""
        rows = self._analytics.rows(
            "SELECT day FROM waiting_days WHERE step = $step ORDER BY day", {"step": step}
        )
        return [row[0] for row in rows]

    def refresh(self, step: StepRun | None = None) -> int:
        """Rebuild `signin_events` next to the old table, swap it in, and rewrite its summaries.

        Use it after a change of precedence or schema. Returns the number of events.
        """
        step = step or StepRun()
        events = self._loading.refresh(step)
        for day in self.waiting(SUMMARIZE):
            self._summary.run(day, step)
        return events

    def check(self, name: str, day: date | None = None) -> CheckResult:
        """Run a check of `event_checks.CHECKS`: volume, conformance, duplicates, gaps, freshness.

        `day` restricts volume, conformance and duplicates; None means the newest complete day for
        volume and all days for the others. Every check passes while no event was ever loaded.
        """
        return event_checks.check(name, self._analytics, self._platform.settings, day)

    def retry_rejected(self, day: date) -> list[Normalized]:
        """Normalize the day's stored records again with the current configuration, and load them.

        Nothing is fetched. Lines of files that could not be parsed stay dead letters.
        """
        results = [self.normalize(source, day) for source in EventSource]
        for touched in self.load(day).days:
            self.summarize(touched)
        return results

    def arrivals(self, now: datetime | None = None) -> list[Arrival]:
        """Days with export files that no longer change."""
        return self._files.arrivals(now)

    def forget(self, ref: IntegrationRef) -> None:
        """Delete every event of an integration; of its organization if it has no other."""
        others = (entry.ref for entry in self._platform.registry.all())
        organizations = {other.organization_id for other in others if other != ref}
        erasure.forget(self._analytics, ref, organizations=organizations)

    def maintain(self, *, dry_run: bool) -> MaintenanceReport:
        """Delete the records of days that are past the retention in the settings."""
        return record_retention.maintain(self._analytics, self._platform.settings, dry_run=dry_run)

    def _offering(self) -> list[Integration]:
        return [
            entry
            for entry in self._platform.registry.all(enabled=True)
            if STREAM in catalog.streams(entry.provider_data)
        ]

    def _chosen(self, refs: Sequence[IntegrationRef] | None) -> list[Integration]:
        """The integrations `refs`, or all that offer events.

        Raises `NotFound`, or `InvalidInput` for one that is disabled or offers no events.
        """
        if refs is None:
            return self._offering()
        offering = {entry.ref: entry for entry in self._offering()}
        for ref in refs:
            if ref not in offering:
                self._platform.registry.get(ref)
                raise InvalidInput(
                    f"{ref} offers no sign-in events, or is disabled; "
                    f"provider_data needs streams.{STREAM}"
                )
        return [offering[ref] for ref in dict.fromkeys(refs)]
