"""Extract the events of one integration and one period from its provider, page by page.

An extraction of a day has a number, its generation. It counts once it is complete, and replaces
the previous one; until then the previous one stays. The analytics file is open only while a batch
is committed, never while the provider answers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import Settings
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Cursor, Page, Source
from elt_assets.errors import (
    BooksUnbalanced,
    EltAssetsError,
    ProviderUnavailable,
    Stopped,
    SyncError,
)
from elt_assets.identifiers import IntegrationRef
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.progress_meter import ProgressMeter
from elt_assets.signin_events.results import EventListener, Extraction, ExtractionStatus
from elt_assets.signin_events.warehouse.analytics import Analytics
from elt_assets.signin_events.warehouse.load_strategies import inserted
from elt_assets.storage.warehouse.warehouse import transaction
from elt_assets.sync.clock import ago, now
from elt_assets.sync.engine import fingerprint
from elt_assets.sync.extract.staging import object_path
from elt_assets.sync.service import Platform
from elt_assets.sync.state.registry import Integration
from elt_assets.telemetry import logs

STREAM = "signin_events"
"""Name of the stream in provider_data that offers events."""

_UNIT = """
    organization_id = $organization_id
    AND integration_id = $integration_id
    AND ingested_day = $day
"""


@dataclass(frozen=True, slots=True)
class Period:
    """What is asked for, and the day that it is counted to."""

    day: date
    begin: datetime
    end: datetime
    incremental: bool = False

    @classmethod
    def of(cls, day: date) -> Period:
        """A whole day, UTC."""
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return cls(day, begin, begin + timedelta(days=1))


@dataclass(frozen=True, slots=True)
class _Reading:
    """One reading as its checkpoints tell it."""

    generation: int
    attempt: int
    period: Period
    cursor: Cursor | None = None
    batches: int = 0
    pages: int = 0
    fetched: int = 0


class ApiExtraction:
    """Fetches integrations' periods, several at once."""

    def __init__(self, platform: Platform, analytics: Analytics) -> None:
        self._platform = platform
        self._analytics = analytics

    def run(
        self,
        periods: Sequence[tuple[Integration, Period]],
        *,
        run_id: str | None,
        progress: EventListener,
        stop: Interruption,
    ) -> list[Extraction]:
        """One result for each. Raises `Stopped` alone."""
        settings = self._platform.settings
        with ThreadPoolExecutor(
            min(settings.concurrency, len(periods)) or 1, thread_name_prefix="events"
        ) as pool:
            futures = [
                pool.submit(
                    copy_context().run, self._one, integration, period, run_id, progress, stop
                )
                for integration, period in periods
            ]
            return [future.result() for future in futures]

    def since_watermarks(
        self, integrations: Sequence[Integration], moment: datetime
    ) -> list[tuple[Integration, Period]]:
        """What incremental readings at `moment` ask each integration for.

        From the newest event that is known less the overlap; from the day's beginning while
        none is.
        """
        rows = self._analytics.rows(
            "SELECT organization_id, integration_id, occurred_at FROM event_watermarks"
        )
        newest = {IntegrationRef(*names): at.replace(tzinfo=UTC) for *names, at in rows}
        overlap = timedelta(minutes=self._platform.settings.events_overlap_minutes)
        today = Period.of(moment.date()).begin

        def begin(ref: IntegrationRef) -> datetime:
            return newest[ref] - overlap if ref in newest else today

        return [
            (one, Period(moment.date(), begin(one.ref), moment, incremental=True))
            for one in integrations
        ]

    def _one(
        self,
        integration: Integration,
        period: Period,
        run_id: str | None,
        progress: EventListener,
        stop: Interruption,
    ) -> Extraction:
        ref, secrets = integration.ref, Secrets()
        attempt = _Attempt(
            self._analytics, self._platform.settings, integration, secrets, run_id, stop
        )
        meter = ProgressMeter("api_events", ref.partition_key, progress)
        with logs.bound(ref, f"events-{period.day}", STREAM, secrets):
            try:
                attempt.run(period, meter)
                return attempt.result(ExtractionStatus.COMPLETE, period, meter)
            except Stopped:
                raise
            except EltAssetsError as error:
                stop.check()
                retryable = isinstance(error, SyncError) and error.retryable
                text = ref.before(secrets.redact(str(error)))
                attempt.fail(text)
                failed = attempt.result(ExtractionStatus.FAILED, period, meter)
                return msgspec.structs.replace(failed, error=text, retryable=retryable)


class _Attempt:
    """One attempt at one period of one integration."""

    def __init__(
        self,
        analytics: Analytics,
        settings: Settings,
        integration: Integration,
        secrets: Secrets,
        run_id: str | None,
        stop: Interruption,
    ) -> None:
        self._analytics = analytics
        self._settings = settings
        self._integration = integration
        self._secrets = secrets
        self._run_id = run_id
        self._stop = stop
        self._reading: _Reading | None = None
        self._resumed_pages = 0

    def run(self, period: Period, meter: ProgressMeter) -> None:
        """Fetch what is left and commit it. Raises what the source or the warehouse raises."""
        with self._analytics.writing(self._stop) as connection, transaction(connection):
            reading = self._reading = self._begin(connection, period)
        self._resumed_pages = reading.pages
        source = self._open(reading.period)
        try:
            # Closing ends waits and requests, and itself waits until they have: a caller that
            # requests a stop must not wait for that.
            closing = threading.Thread(target=source.close, daemon=True)
            with self._stop.reaching(closing.start):
                for group, failure in self._batches(source, reading.cursor):
                    if group:
                        reading = self._reading = self._land(reading, group, source)
                        total = group[-1].total
                        meter.at(reading.fetched, reading.fetched / total if total else None)
                    self._stop.check()
                    if failure is not None:
                        raise failure
                meter.at(reading.fetched, 1.0, last=True)
        finally:
            source.close()

    def fail(self, error: str) -> None:
        """Record what this attempt met; what it committed stays, and is gone on from."""
        reading = self._reading
        if reading is None:
            return
        values = self._values(reading) | {"error": error, "now": now()}
        with self._analytics.writing(Interruption()) as connection, transaction(connection):
            connection.execute(
                f"UPDATE event_extractions SET status = 'failed', error = $error WHERE {_UNIT}"
                " AND generation = $generation",
                {name: value for name, value in values.items() if name != "now"},
            )
            connection.execute(
                """
                INSERT INTO extraction_errors VALUES (
                    $organization_id, $integration_id, $day, $generation, $attempt, $error, $now
                )
                """,
                values | {"attempt": reading.attempt},
            )

    def result(self, status: ExtractionStatus, period: Period, meter: ProgressMeter) -> Extraction:
        """What this attempt has to tell."""
        reading = self._reading or _Reading(1, 1, period)
        return Extraction(
            partition=self._integration.ref.partition_key,
            day=period.day,
            status=status,
            pages=reading.pages,
            fetched=reading.fetched,
            staged=reading.fetched,
            resumed_pages=self._resumed_pages,
            generation=reading.generation,
            attempt=reading.attempt,
            seconds=meter.seconds,
        )

    def _begin(self, connection: duckdb.DuckDBPyConnection, period: Period) -> _Reading:
        unit = _names(self._integration.ref) | {"day": period.day}
        known = fingerprint(self._integration)
        row = connection.execute(
            f"""
            SELECT generation, attempts, period_begin, period_end, cursor, batches, pages, fetched
            FROM event_extractions
            WHERE {_UNIT}
                AND incremental = $incremental
                AND status <> 'complete'
                AND fingerprint = $fingerprint
                AND started_at > $oldest::TIMESTAMP
            ORDER BY generation DESC
            LIMIT 1
            """,
            unit
            | {
                "incremental": period.incremental,
                "fingerprint": known,
                "oldest": ago(timedelta(hours=self._settings.max_resume_hours)),
            },
        ).fetchone()
        if row is not None:
            connection.execute(
                f"UPDATE event_extractions SET attempts = attempts + 1, status = 'running',"
                f" error = NULL, run_id = $run_id WHERE {_UNIT} AND generation = $generation",
                unit | {"generation": row[0], "run_id": self._run_id},
            )
            return _Reading(
                generation=row[0],
                attempt=row[1] + 1,
                period=Period(
                    period.day,
                    row[2].replace(tzinfo=UTC),
                    row[3].replace(tzinfo=UTC),
                    period.incremental,
                ),
                cursor=None if row[4] is None else msgspec.json.decode(row[4]),
                batches=row[5],
                pages=row[6],
                fetched=row[7],
            )
        self._drop(connection, unit, period.incremental, "status <> 'complete'")
        (generation,) = connection.execute(
            f"SELECT coalesce(max(generation), 0) + 1 FROM event_extractions WHERE {_UNIT}", unit
        ).fetchall()[0]
        connection.execute(
            """
            INSERT INTO event_extractions BY NAME
            SELECT
                $organization_id AS organization_id, $integration_id AS integration_id,
                $day::DATE AS ingested_day, $generation AS generation,
                $incremental AS incremental, $begin::TIMESTAMP AS period_begin,
                $end::TIMESTAMP AS period_end, 'running' AS status, 1 AS attempts,
                $fingerprint AS fingerprint, 0 AS batches, 0 AS pages, 0 AS fetched, 0 AS staged,
                $run_id AS run_id, $now::TIMESTAMP AS started_at
            """,
            unit
            | {
                "generation": generation,
                "incremental": period.incremental,
                "begin": _text(period.begin),
                "end": _text(period.end),
                "fingerprint": known,
                "run_id": self._run_id,
                "now": now(),
            },
        )
        return _Reading(generation, 1, period)

    def _drop(
        self,
        connection: duckdb.DuckDBPyConnection,
        unit: dict[str, Any],
        incremental: bool,
        condition: str,
    ) -> None:
        """Delete the readings of the unit that meet `condition`, with what they landed."""
        which = f"{_UNIT} AND incremental = $incremental AND {condition}"
        values = unit | {"incremental": incremental}
        for table in ("raw_api_events", "extraction_errors"):
            connection.execute(
                f"""
                DELETE FROM {table}
                WHERE {_UNIT} AND generation IN (
                    SELECT generation FROM event_extractions WHERE {which}
                )
                """,
                values,
            )
        connection.execute(f"DELETE FROM event_extractions WHERE {which}", values)

    def _open(self, period: Period) -> Source:
        settings = self._settings
        return catalog.open_period(
            self._integration.provider,
            self._integration.provider_data,
            STREAM,
            begin=_text(period.begin),
            end=_text(period.end),
            secrets=self._secrets,
            limits=FetchLimits.of(settings),
            ref=self._integration.ref,
        )

    def _batches(
        self, source: Source, cursor: Cursor | None
    ) -> Iterator[tuple[list[Page], SyncError | None]]:
        """Groups of pages, and what ended them; those before an error are handed out with it."""
        pages = source.pages(cursor)
        while True:
            group: list[Page] = []
            try:
                group.extend(islice(pages, self._settings.pages_per_batch))
            except SyncError as error:
                yield group, error
                return
            if not group:
                # The source ended without saying that a page was the last one.
                yield group, ProviderUnavailable("the listing ended without its last page")
                return
            yield group, None
            if group[-1].next is None:
                return

    def _land(self, reading: _Reading, pages: Sequence[Page], source: Source) -> _Reading:
        """Commit a batch with its checkpoint; with the last one, the reading is complete."""
        last = pages[-1]
        fetched = sum(page.count for page in pages)
        following = _Reading(
            reading.generation,
            reading.attempt,
            reading.period,
            last.next,
            reading.batches + 1,
            reading.pages + len(pages),
            reading.fetched + fetched,
        )
        if last.cut_short is not None:
            raise ProviderUnavailable(f"the listing is not whole: {last.cut_short}")
        if last.next is None:
            self._refuse_short(last.total, following)
        values = self._values(following)
        with self._analytics.writing(self._stop) as connection:
            connection.register("event_pages", _table(pages))
            with transaction(connection):
                staged = inserted(
                    connection,
                    """
                    INSERT INTO raw_api_events BY NAME
                    SELECT
                        $organization_id AS organization_id, $integration_id AS integration_id,
                        $day::DATE AS ingested_day, $generation AS generation, $batch AS batch,
                        first_seq + generate_subscripts(records, 1) - 1 AS seq,
                        unnest(records) AS raw
                    FROM (
                        SELECT first_seq, json_extract(body, $list_path) AS records
                        FROM event_pages
                    )
                    """,
                    values
                    | {"batch": reading.batches, "list_path": f"{object_path(source.records)}[*]"},
                )
                if staged != fetched:
                    raise BooksUnbalanced(
                        f"batch {reading.batches} holds {fetched} events by its pages and "
                        f"{staged} by the warehouse; nothing of it was kept"
                    )
                self._checkpoint(connection, following, values)
            connection.unregister("event_pages")
        return following

    def _checkpoint(
        self,
        connection: duckdb.DuckDBPyConnection,
        reading: _Reading,
        values: dict[str, Any],
    ) -> None:
        connection.execute(
            f"""
            UPDATE event_extractions
            SET cursor = $cursor, batches = $batches, pages = $pages,
                fetched = $fetched, staged = $fetched
            WHERE {_UNIT} AND generation = $generation
            """,
            values
            | {
                "cursor": None
                if reading.cursor is None
                else msgspec.json.encode(reading.cursor).decode(),
                "batches": reading.batches,
                "pages": reading.pages,
                "fetched": reading.fetched,
            },
        )
        if reading.cursor is not None:
            return
        unit = {name: value for name, value in values.items() if name != "generation"}
        if not reading.period.incremental:
            self._drop(connection, unit, False, f"generation < {reading.generation}")
        connection.execute(
            f"UPDATE event_extractions SET status = 'complete', completed_at = $now::TIMESTAMP"
            f" WHERE {_UNIT} AND generation = $generation",
            values | {"now": now()},
        )

    def _refuse_short(self, total: int | None, reading: _Reading) -> None:
        """Raise `ProviderUnavailable` when a closed period lists fewer than it counts."""
        closed = reading.period.end <= datetime.now(UTC)
        if total is not None and closed and reading.fetched < total:
            raise ProviderUnavailable(
                f"the provider counts {total:,} events of the period and listed {reading.fetched:,}"
            )

    def _values(self, reading: _Reading) -> dict[str, Any]:
        return _names(self._integration.ref) | {
            "day": reading.period.day,
            "generation": reading.generation,
        }


def _names(ref: IntegrationRef) -> dict[str, Any]:
    return {"organization_id": ref.organization_id, "integration_id": ref.integration_id}


def _table(pages: Sequence[Page]) -> pa.Table:
    """Pages as (first_seq, body), each page's records numbered after those before it."""
    firsts, position = [], 0
    for page in pages:
        firsts.append(position)
        position += page.count
    bodies = pa.array([page.body for page in pages], pa.large_binary())
    return pa.table({"first_seq": firsts, "body": bodies.cast(pa.large_string())})


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
