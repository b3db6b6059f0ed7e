"""The users of a day, from each integration's change log, to be joined with that day's events."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta

import pyarrow as pa

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.arrow_chunks import ROWS_AT_ONCE
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import change_log, versions
from elt_assets.sync.state.store_tables import has_tables
from elt_assets.sync.streams import USERS, StreamKey

_SCHEMA = pa.schema(
    [
        ("organization_id", pa.string()),
        ("integration_id", pa.string()),
        ("external_id", pa.string()),
        ("active", pa.bool_()),
    ]
)


def users_as_of(platform: SyncService, organizations: Collection[str], day: date) -> pa.Table:
    """The users of these organizations as they were at the end of the day.

    If an integration's change log begins later, its users are those of the first entries, because
    the events of a newly connected tenant may be older than its first sync.
    """
    following = datetime(day.year, day.month, day.day) + timedelta(days=1)  # noqa: DTZ001 - UTC
    tables = [
        _of_integration(platform, entry.ref, following)
        for entry in platform.registry.all()
        if entry.ref.organization_id in organizations and entry.offers(USERS)
    ]
    return pa.concat_tables([_SCHEMA.empty_table(), *tables])


def _of_integration(platform: SyncService, ref: IntegrationRef, moment: datetime) -> pa.Table:
    if not platform.warehouses.exists(ref):
        return _SCHEMA.empty_table()
    with platform.warehouses.open(ref, read_only=True) as warehouse:
        if not has_tables(warehouse, USERS):
            return _SCHEMA.empty_table()
        applied = versions.current(platform.database, StreamKey(USERS, ref)).version
        (first,) = warehouse.execute(
            f"SELECT min(detected_at) FROM {USERS.cdc} WHERE version <= $applied",
            {"applied": applied},
        ).fetchall()[0]
        if first is None:
            return _SCHEMA.empty_table()
        return (
            warehouse.execute(
                f"""
                SELECT
                    $organization_id AS organization_id, $integration_id AS integration_id,
                    external_id, active
                FROM ({change_log.replayed(USERS)})
                """,
                {
                    "organization_id": ref.organization_id,
                    "integration_id": ref.integration_id,
                    "applied": applied,
                    "moment": max(moment, first),
                },
            )
            .to_arrow_table(ROWS_AT_ONCE)
            .cast(_SCHEMA)
        )
