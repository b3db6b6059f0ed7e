"""Retention of the records from which events were made. Events and summaries stay.

The records of a day are deleted together, some time after the last of them arrived, and not while a
step of the day is due. From then on, the event's row in the table takes the place of its records:
loading compares that row with records that arrive later (`transform.load`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import duckdb

from elt_assets.config.settings import Settings
from elt_assets.errors import EltAssetsError
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.warehouse.analytics import Analytics
from elt_assets.storage.warehouse.warehouse import one_row, transaction
from elt_assets.sync.admin.maintenance import MaintenanceReport, Work

_RAW = ("raw_api_events", "raw_csv_events")
_NORMALIZED = ("normalized_api_events", "normalized_csv_events")
_LETTERS = ("rejected_events",)
_NO_MORE_DUE = ("extraction_errors", "dropped_events")
_WORTH_REWRITING = 0.1
"""Share of the file that must be free before it is rewritten."""

_OLD_DAYS = """
    SELECT DISTINCT ingested_day AS day
    FROM (
        SELECT
            ingested_day, coalesce(completed_at, started_at) AS arrived_at,
            status <> 'complete' AND started_at > $resumable::TIMESTAMP AS can_go_on
        FROM event_extractions
        UNION ALL
        SELECT ingested_day, loaded_at, false FROM event_files
    )
    WHERE ingested_day < $before
    GROUP BY ingested_day
    HAVING max(arrived_at) < $before::TIMESTAMP
        AND NOT bool_or(can_go_on)
        AND ingested_day NOT IN (SELECT day FROM waiting_days)
"""


def maintain(
    analytics: Analytics, settings: Settings, *, dry_run: bool, moment: datetime | None = None
) -> MaintenanceReport:
    """Delete the records of days past their retention, and reclaim the space in the file.

    With `dry_run`, only count them.
    """
    now = moment or datetime.now(UTC)
    ends = {
        "before": now.date() - timedelta(days=settings.keep_event_records_days),
        "resumable": (now - timedelta(hours=settings.max_resume_hours)).replace(tzinfo=None),
    }
    counts = dict.fromkeys((_RAW, _NORMALIZED, _LETTERS), 0)
    rewritten = freed = 0
    left: tuple[str, ...] = ()
    try:
        if dry_run:
            with analytics.reading() as connection:
                if connection is not None:
                    counts = _counted(connection, ends)
        elif analytics.exists:
            with analytics.writing(Interruption()) as connection:
                counts = _counted(connection, ends)
                _forget(connection, ends)
                worth = _free_share(connection) >= _WORTH_REWRITING
            if worth:
                rewritten, freed = 1, analytics.compact()
    except EltAssetsError as error:
        left = (f"sign-in events: {error}",)
    raw, normalized, letters = counts.values()
    return MaintenanceReport(
        works=(
            Work("fetched records of sign-in events", raw),
            Work("normalized records of sign-in events", normalized),
            Work("dead letters of sign-in events", letters),
            Work("file of sign-in events rewritten", rewritten, freed),
        ),
        left=left,
    )


def _counted(
    connection: duckdb.DuckDBPyConnection, ends: Mapping[str, object]
) -> dict[tuple[str, ...], int]:
    """The number of rows of each kind that are past their retention."""
    return {
        tables: sum(
            int(
                one_row(
                    connection,
                    f"SELECT count(*) FROM {table} WHERE ingested_day IN ({_OLD_DAYS})",
                    ends,
                )[0]
            )
            for table in tables
        )
        for tables in (_RAW, _NORMALIZED, _LETTERS)
    }


def _forget(connection: duckdb.DuckDBPyConnection, ends: Mapping[str, object]) -> None:
    with transaction(connection):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE old_days AS {_OLD_DAYS}", dict(ends))
        connection.execute(
            "INSERT INTO forgotten_days FROM old_days WHERE day NOT IN (FROM forgotten_days)"
        )
        for table in (*_RAW, *_NORMALIZED, *_LETTERS, *_NO_MORE_DUE):
            connection.execute(f"DELETE FROM {table} WHERE ingested_day IN (FROM old_days)")
        connection.execute("DROP TABLE old_days")
    # DuckDB counts deleted blocks as free only after a checkpoint.
    connection.execute("CHECKPOINT")


def _free_share(connection: duckdb.DuckDBPyConnection) -> float:
    (share,) = one_row(
        connection,
        "SELECT max(free_blocks / greatest(total_blocks, 1)) FROM pragma_database_size()"
        " WHERE database_name = current_database()",
        {},
    )
    return float(share or 0)
