"""The newest listing of each enabled integration, and when the last complete one was read.

Compensating syncs list nothing and are skipped.
"""

from __future__ import annotations

import msgspec

from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.sync.outcome import Certificate, Mode, Status
from elt_assets.sync.state.ledger import certificate_of
from elt_assets.sync.state.sync_history import SETTLED, sql_list
from elt_assets.sync.streams import Stream

CONFIRMING = "confirm-"
"""The prefix of the ids of confirming syncs."""

_STATUSES = sql_list(SETTLED)
_SAME_STREAM = """
    {alias}.organization_id = v.organization_id
    AND {alias}.connected_integration_id = v.connected_integration_id
    AND {alias}.stream = v.stream
"""


def _same_stream(alias: str) -> str:
    return _SAME_STREAM.format(alias=alias)


# The newest settled sync is nearly always a listing: only after a compensating one is the ledger
# searched for the listing before it.
_NEWEST = f"""
    FROM connected_integrations AS c
    JOIN integration_versions AS v
        ON v.organization_id = c.organization_id
        AND v.connected_integration_id = c.id
        AND v.stream = ?
    JOIN syncs AS newest ON {_same_stream("newest")} AND newest.sync_id = v.sync_id
    JOIN syncs AS s ON {_same_stream("s")} AND s.sync_id = CASE
        WHEN newest.mode <> '{Mode.COMPENSATING}' THEN newest.sync_id
        ELSE (
            SELECT listed.sync_id
            FROM syncs AS listed
            WHERE {_same_stream("listed")}
                AND listed.status IN ({_STATUSES})
                AND listed.mode <> '{Mode.COMPENSATING}'
            ORDER BY listed.ordinal DESC
            LIMIT 1
        )
    END
    WHERE c.enabled = 1
"""


class _Listed(msgspec.Struct, frozen=True):
    organization_id: str
    connected_integration_id: str
    stream: str
    sync_id: str

    @property
    def partition(self) -> str:
        """The integration's partition key."""
        return f"{self.organization_id}:{self.connected_integration_id}"


class SettledListing(_Listed, frozen=True):
    """An integration's newest settled listing of a stream.

    `complete_at` is when the last complete listing settled, `full_at` when the last complete full
    listing did; None if there was none.
    """

    mode: Mode
    finished_at: str
    latest: int
    certificate: Certificate
    complete_at: str | None
    full_at: str | None

    @property
    def why(self) -> str:
        """Why the listing is not complete."""
        return "; ".join(self.certificate.reasons) or "no reason is recorded"


class PendingDeletes(_Listed, frozen=True):
    """Deletes of one stream that wait for a second complete listing.

    `since` is when the listing that lacked the records settled, `sync_id` is the sync of that
    listing. `confirmed_at` is when the integration's newest confirming sync began, '' if there was
    none.
    """

    since: str
    deletes: int
    confirmed_at: str


def newest_listings(
    database: OperationalDatabase, stream: Stream, *, incomplete: bool = False
) -> list[SettledListing]:
    """The newest listing of every enabled integration, or only those that are incomplete."""
    only = "AND s.complete = 0" if incomplete else ""
    rows = database.rows(
        f"""
        SELECT
            s.organization_id, s.connected_integration_id, s.stream, s.sync_id, s.mode,
            s.finished_at, s.latest, s.certificate,
            CASE WHEN s.complete = 1 THEN s.finished_at ELSE {_last_complete()} END AS complete_at,
            CASE
                WHEN s.complete = 1 AND s.mode = '{Mode.FULL}' THEN s.finished_at
                ELSE {_last_complete(f"AND past.mode = '{Mode.FULL}'")}
            END AS full_at
        {_NEWEST} {only}
        ORDER BY s.organization_id, s.connected_integration_id
        """,
        (stream.name,),
    )
    return [
        msgspec.convert({**row, "certificate": certificate_of(row)}, SettledListing) for row in rows
    ]


def pending_deletes(database: OperationalDatabase, stream: Stream) -> list[PendingDeletes]:
    """Streams whose newest full listing left deletes pending, the longest waiting first.

    A stream with a newer, unsettled sync is left out: that sync is the second listing.
    """
    rows = database.rows(
        f"""
        SELECT
            s.organization_id, s.connected_integration_id, s.stream, s.sync_id,
            s.finished_at AS since,
            s.pending_deletes AS deletes,
            coalesce((
                SELECT max(confirming.started_at)
                FROM syncs AS confirming
                WHERE confirming.organization_id = s.organization_id
                    AND confirming.connected_integration_id = s.connected_integration_id
                    AND confirming.sync_id LIKE '{CONFIRMING}%'
            ), '') AS confirmed_at
        {_NEWEST}
            AND s.pending_deletes > 0
            AND s.mode = '{Mode.FULL}'
            AND NOT EXISTS (
                SELECT 1
                FROM syncs AS newer
                WHERE {_same_stream("newer")}
                    AND newer.ordinal > s.ordinal
                    AND newer.status IN ('{Status.EXTRACTING}', '{Status.FAILED}')
            )
        ORDER BY s.finished_at
        """,
        (stream.name,),
    )
    return [msgspec.convert(row, PendingDeletes) for row in rows]


def _last_complete(condition: str = "") -> str:
    """The SQL expression for when the stream's last complete listing settled."""
    return f"""(
        SELECT max(past.finished_at)
        FROM syncs AS past
        WHERE {_same_stream("past")}
            AND past.complete = 1
            AND past.mode <> '{Mode.COMPENSATING}'
            AND past.status IN ({_STATUSES})
            {condition}
    )"""
