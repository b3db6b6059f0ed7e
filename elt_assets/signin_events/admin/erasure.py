"""Erasure: delete all events of an integration, or of an organization."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import duckdb

from elt_assets.identifiers import IntegrationRef
from elt_assets.signin_events.interruption import Interruption
from elt_assets.signin_events.warehouse.analytics import Analytics
from elt_assets.signin_events.warehouse.pending_days import LOAD, SUMMARIZE, add_waiting
from elt_assets.storage.warehouse.warehouse import transaction

_OF_INTEGRATION = (
    "raw_api_events",
    "raw_csv_events",
    "normalized_api_events",
    "normalized_csv_events",
    "signin_events",
    "rejected_events",
    "event_extractions",
    "extraction_errors",
    "event_watermarks",
)
_OF_ORGANIZATION = (*_OF_INTEGRATION, "daily_signin_summary", "dropped_events")


def forget(analytics: Analytics, ref: IntegrationRef, *, organizations: Collection[str]) -> None:
    """Delete the events of the integration, or all events of its organization if that goes, too.

    `organizations` are the organizations that stay. An export file without events of any of these
    then counts as never loaded.
    """
    if not analytics.exists:
        return
    stays = ref.organization_id in organizations
    condition = "organization_id = $organization_id"
    names = {"organization_id": ref.organization_id}
    if stays:
        condition += " AND integration_id = $integration_id"
        names["integration_id"] = ref.integration_id
    with analytics.writing(Interruption()) as connection, transaction(connection):
        if stays:
            _make_due(connection, condition, names)
        for table in _OF_INTEGRATION if stays else _OF_ORGANIZATION:
            connection.execute(f"DELETE FROM {table} WHERE {condition}", names)
        _drop_empty_files(connection, organizations)
    # Data that DuckDB deletes remains in the free blocks of the file until it is rewritten.
    analytics.compact()


def _make_due(
    connection: duckdb.DuckDBPyConnection, condition: str, names: Mapping[str, str]
) -> None:
    """Make the days of the events due again: another integration may have the same events."""
    rows = connection.execute(
        f"SELECT DISTINCT event_day, ingested_day FROM signin_events WHERE {condition}", names
    ).fetchall()
    for event_day, ingested_day in rows:
        add_waiting(connection, SUMMARIZE, event_day)
        add_waiting(connection, LOAD, ingested_day)


def _drop_empty_files(
    connection: duckdb.DuckDBPyConnection, organizations: Collection[str]
) -> None:
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE empty_files AS
        SELECT ingested_day, file
        FROM event_files
        ANTI JOIN (
            FROM raw_csv_events
            WHERE organization_id IN (SELECT unnest($organizations::VARCHAR[]))
        ) USING (ingested_day, file)
        WHERE status = 'loaded'
        """,
        {"organizations": sorted(organizations)},
    )
    for table in ("raw_csv_events", "rejected_events", "event_files"):
        connection.execute(
            f"DELETE FROM {table} USING empty_files"
            f" WHERE {table}.ingested_day = empty_files.ingested_day"
            f" AND {table}.file = empty_files.file"
        )
    connection.execute(
        """
        DELETE FROM event_files
        WHERE status = 'duplicate' AND same_as NOT IN (
            SELECT strftime(ingested_day, '%Y-%m-%d') || '/' || file
            FROM event_files
            WHERE status = 'loaded'
        )
        """
    )
    connection.execute("DROP TABLE empty_files")
