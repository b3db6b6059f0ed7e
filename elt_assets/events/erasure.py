"""Erasure: a tenant who leaves takes every event along.

Belongs here: deleting all rows of an integration, or of an organization. Does not: deciding
who leaves.
"""

from __future__ import annotations

from elt_assets.events.analytics import Analytics
from elt_assets.events.interruption import Interruption
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.stage import transaction

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


def forget(analytics: Analytics, ref: IntegrationRef, *, whole_organization: bool) -> None:
    """Delete what events tell of the integration, or of its whole organization.

    What they told together with others stays counted in summaries until those are made anew.
    """
    if not analytics.exists:
        return
    with analytics.writing(Interruption()) as connection, transaction(connection):
        for table in _OF_ORGANIZATION if whole_organization else _OF_INTEGRATION:
            condition = "organization_id = $organization_id"
            names = {"organization_id": ref.organization_id}
            if not whole_organization:
                condition += " AND integration_id = $integration_id"
                names["integration_id"] = ref.integration_id
            connection.execute(f"DELETE FROM {table} WHERE {condition}", names)
    # What DuckDB deletes stays in the file's free blocks.
    analytics.compact()
