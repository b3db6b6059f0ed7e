"""Reports on the analytics warehouse: events, summaries, days and dead letters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from elt_assets.errors import InvalidInput
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.results import DayExtraction, DayStatus, ExtractionStatus
from elt_assets.signin_events.warehouse.analytics import Analytics
from elt_assets.storage.warehouse.warehouse import literal, one_row, transaction

_ALL = 2**62

_EVENT = (
    "organization_id",
    "event_id",
    "integration_id",
    "user_external_id",
    "occurred_at",
    "event_day",
    "result",
    "country",
    "ip",
    "user_agent",
    "application",
    "deleted",
    "op",
    "source",
    "file",
    "ingested_day",
    "schema_version",
)
_SUMMARY = (
    "event_day",
    "organization_id",
    "events",
    "failures",
    "users",
    "new_countries",
    "new_user_countries",
    "unknown_users",
    "inactive_users",
    "deleted_events",
)
_LETTER = (
    "source",
    "stage",
    "ingested_day",
    "organization_id",
    "integration_id",
    "file",
    "line",
    "key",
    "reason",
    "raw",
    "created_at",
)
_ERROR = ("ingested_day", "organization_id", "integration_id", "attempt", "failed_at", "error")


class EventReports:
    """Queries of the analytics warehouse for commands."""

    def __init__(self, analytics: Analytics) -> None:
        self._analytics = analytics

    def events(
        self, *, day: date | None = None, organization: str | None = None, limit: int | None = 100
    ) -> list[dict[str, Any]]:
        """Loaded events, newest first."""
        return self._documents(
            _EVENT,
            """
            FROM signin_events
            WHERE event_day = coalesce($day, event_day)
                AND organization_id = coalesce($organization, organization_id)
            ORDER BY occurred_at DESC, organization_id, event_id
            LIMIT $limit
            """,
            {"day": day, "organization": organization, "limit": limit or _ALL},
        )

    def summary(self, *, day: date | None = None) -> list[dict[str, Any]]:
        """Rows of the summary, newest day first."""
        return self._documents(
            _SUMMARY,
            """
            FROM daily_signin_summary
            WHERE event_day = coalesce($day, event_day)
            ORDER BY event_day DESC, organization_id
            """,
            {"day": day},
        )

    def rejected(
        self, *, day: date | None = None, organization: str | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Dead letters, oldest day first, in the order of files and lines."""
        return self._documents(
            _LETTER,
            """
            FROM rejected_events
            WHERE ingested_day = coalesce($day, ingested_day)
                AND coalesce(organization_id = $organization, $organization IS NULL)
            ORDER BY ingested_day, source, file, line, key
            LIMIT $limit
            """,
            {"day": day, "organization": organization, "limit": limit or _ALL},
        )

    def rejected_counts(self) -> list[dict[str, Any]]:
        """How many dead letters there are by day, source and reason."""
        rows = self._analytics.rows(
            """
            SELECT ingested_day, source, reason, count(*)
            FROM rejected_events
            GROUP BY ingested_day, source, reason
            ORDER BY ingested_day, source, reason
            """
        )
        return [_document(("day", "source", "reason", "count"), row) for row in rows]

    def expire_rejected(self, before: date) -> int:
        """Delete the dead letters of days before `before`; return how many there were."""
        if not self._analytics.exists:
            return 0
        with self._analytics.writing(Interruption()) as connection, transaction(connection):
            (count,) = one_row(
                connection,
                "SELECT count(*) FROM rejected_events WHERE ingested_day < $before",
                {"before": before},
            )
            connection.execute(
                "DELETE FROM rejected_events WHERE ingested_day < $before", {"before": before}
            )
        return int(count)

    def export_rejected(self, target: Path) -> int:
        """Write all dead letters to the Parquet file `target`; return how many there are.

        Raises `InvalidInput` while there is no analytics warehouse, or when the folder does not
        exist.
        """
        if not target.parent.is_dir():
            raise InvalidInput(f"the folder {target.parent} does not exist; create it first")
        unfinished = target.with_name(f".{target.name}.unfinished")
        with self._analytics.reading() as connection:
            if connection is None:
                raise InvalidInput("no sign-in event was ever loaded, so there are no dead letters")
            done = connection.execute(
                f"COPY (FROM rejected_events ORDER BY ALL) TO {literal(str(unfinished))}"
                " (FORMAT parquet, COMPRESSION zstd)"
            ).fetchone()
        os.replace(unfinished, target)
        return 0 if done is None else int(done[0])

    def fetched(self, day: date, run_id: str) -> list[DayExtraction]:
        """The extractions of the whole day that the run `run_id` has completed."""
        rows = self._analytics.rows(
            """
            SELECT
                organization_id, integration_id, pages, fetched, staged, generation, attempts
            FROM event_extractions
            WHERE ingested_day = $day AND run_id = $run_id
                AND status = 'complete' AND NOT incremental
            ORDER BY organization_id, integration_id
            """,
            {"day": day, "run_id": run_id},
        )
        return [
            DayExtraction(
                partition=f"{organization}:{integration}",
                day=day,
                status=ExtractionStatus.COMPLETE,
                pages=pages,
                fetched=records,
                staged=staged,
                generation=generation,
                attempt=attempt,
            )
            for organization, integration, pages, records, staged, generation, attempt in rows
        ]

    def errors(self, day: date | None = None) -> list[dict[str, Any]]:
        """The errors of attempts to fetch, newest day first, in order of attempts."""
        return self._documents(
            _ERROR,
            """
            FROM extraction_errors
            WHERE ingested_day = coalesce($day, ingested_day)
            ORDER BY ingested_day DESC, organization_id, integration_id, failed_at, attempt
            """,
            {"day": day},
        )

    def days(self, begin: date | None = None, end: date | None = None) -> list[DayStatus]:
        """The status of every day, newest first."""
        rows = self._analytics.rows(
            """
            WITH extractions AS (
                SELECT
                    ingested_day AS day,
                    count(*) AS extractions,
                    count(*) FILTER (status = 'failed') AS failed_extractions,
                    sum(fetched)::BIGINT AS fetched,
                    list(error ORDER BY organization_id, integration_id)
                        FILTER (error IS NOT NULL) AS errors
                FROM event_extractions
                GROUP BY ingested_day
            ),
            files AS (
                SELECT
                    ingested_day AS day,
                    count(*) AS files,
                    count(*) FILTER (error IS NOT NULL) AS failed_files,
                    sum(fetched)::BIGINT AS fetched,
                    list(error ORDER BY file) FILTER (error IS NOT NULL) AS errors
                FROM event_files
                GROUP BY ingested_day
            ),
            letters AS (
                SELECT ingested_day AS day, count(*) AS rejected
                FROM rejected_events
                GROUP BY ingested_day
            ),
            loaded AS (
                SELECT
                    event_day AS day,
                    count(*) FILTER (NOT deleted) AS events,
                    count(*) FILTER (deleted) AS deleted
                FROM signin_events
                GROUP BY event_day
            ),
            summarized AS (
                SELECT DISTINCT event_day AS day, true AS summarized FROM daily_signin_summary
            )
            SELECT
                day,
                coalesce(extractions, 0), coalesce(failed_extractions, 0),
                coalesce(files, 0), coalesce(failed_files, 0),
                coalesce(extractions.fetched, 0) + coalesce(files.fetched, 0),
                coalesce(rejected, 0), coalesce(events, 0), coalesce(deleted, 0),
                coalesce(summarized.summarized, false),
                list_concat(coalesce(extractions.errors, []), coalesce(files.errors, []))
            FROM extractions
            FULL JOIN files USING (day)
            FULL JOIN letters USING (day)
            FULL JOIN loaded USING (day)
            FULL JOIN summarized USING (day)
            WHERE day BETWEEN coalesce($begin, day) AND coalesce($end, day)
            ORDER BY day DESC
            """,
            {"begin": begin, "end": end},
        )
        names = DayStatus.__struct_fields__
        return [
            DayStatus(**dict(zip(names, (*row[:-1], tuple(row[-1])), strict=True))) for row in rows
        ]

    def _documents(
        self, names: tuple[str, ...], rest: str, parameters: Mapping[str, object]
    ) -> list[dict[str, Any]]:
        rows = self._analytics.rows(f"SELECT {', '.join(names)} {rest}", parameters)
        return [_document(names, row) for row in rows]


def _document(names: tuple[str, ...], row: tuple[Any, ...]) -> dict[str, Any]:
    return {name: _written(value) for name, value in zip(names, row, strict=True)}


def _written(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value.isoformat() if isinstance(value, date) else value
