"""Queries about past syncs, of one stream of an integration or of all integrations."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Row
from elt_assets.sync.outcome import Certificate, Mode, RecentHarm, Status
from elt_assets.sync.state.ledger import (
    ONE_STREAM,
    ONE_SYNC,
    SyncRow,
    certificate_of,
    sync_row,
)
from elt_assets.sync.streams import Stream, StreamKey

SETTLED = (Status.APPLIED, Status.UNCHANGED, Status.QUARANTINED)
"""Statuses of syncs whose records were compared with the latest table."""


def sql_list(statuses: Collection[Status]) -> str:
    """The statuses as the members of an SQL list."""
    return ", ".join(f"'{status}'" for status in statuses)


_SETTLED = f"status IN ({sql_list(SETTLED)})"
_EXTRACTED = f"mode <> '{Mode.COMPENSATING}'"

ENABLED_AND_NEWEST_SETTLED = """
    FROM connected_integrations AS c
    LEFT JOIN integration_versions AS v
        ON v.organization_id = c.organization_id
        AND v.connected_integration_id = c.id
        AND v.stream = ?
    LEFT JOIN syncs AS s
        ON s.organization_id = v.organization_id
        AND s.connected_integration_id = v.connected_integration_id
        AND s.stream = v.stream
        AND s.sync_id = v.sync_id
    WHERE c.enabled = 1
"""
"""Every enabled integration (`c`), the state of its latest table of a stream (`v`), and the sync
that made that state (`s`); `v` and `s` are NULL where there is none yet. The one parameter is the
stream's name."""


NEWEST_SETTLED = """
    FROM syncs AS s
    JOIN integration_versions AS v
        ON v.organization_id = s.organization_id
        AND v.connected_integration_id = s.connected_integration_id
        AND v.stream = s.stream
        AND v.sync_id = s.sync_id
"""
"""The newest settled sync (`s`) of every stream of every integration."""


def newest(
    database: OperationalDatabase, key: StreamKey, statuses: Collection[Status] = tuple(Status)
) -> SyncRow | None:
    """The newest sync of the stream in one of `statuses`."""
    rows = database.rows(
        f"SELECT * FROM syncs WHERE {ONE_STREAM} AND status IN ({sql_list(statuses)})"
        " ORDER BY ordinal DESC LIMIT 1",
        key.values,
    )
    return sync_row(rows[0]) if rows else None


def newest_plain(database: OperationalDatabase, key: StreamKey) -> str | None:
    """The newest extraction in the warehouse that was applied with nothing withheld, if any."""
    rows = database.rows(
        f"SELECT sync_id FROM syncs WHERE {ONE_STREAM} AND {_EXTRACTED}"
        f" AND status IN ({sql_list((Status.APPLIED, Status.UNCHANGED))})"
        # A sync without a version has repeated the records of an earlier one.
        " AND version IS NOT NULL ORDER BY ordinal DESC LIMIT 1",
        key.values,
    )
    return str(rows[0]["sync_id"]) if rows else None


def listed_before(database: OperationalDatabase, key: StreamKey, limit: int = 3) -> tuple[int, ...]:
    """How many valid records the newest settled extractions found, newest first."""
    rows = database.rows(
        f'SELECT "unique" AS n FROM syncs WHERE {ONE_STREAM} AND fetched > 0'
        f" AND {_SETTLED} ORDER BY ordinal DESC LIMIT ?",
        (*key.values, limit),
    )
    return tuple(row["n"] for row in rows)


def certificate_before(
    database: OperationalDatabase, key: StreamKey, sync_id: str
) -> Certificate | None:
    """The certificate of the settled extraction before `sync_id`, if there is one."""
    rows = database.rows(
        f"""
        SELECT certificate
        FROM syncs
        WHERE {ONE_STREAM} AND {_SETTLED} AND {_EXTRACTED} AND ordinal < (
            SELECT ordinal FROM syncs WHERE {ONE_SYNC}
        )
        ORDER BY ordinal DESC
        LIMIT 1
        """,
        (*key.values, *key.values, sync_id),
    )
    return certificate_of(rows[0]) if rows and rows[0]["certificate"] is not None else None


def recent_harm(database: OperationalDatabase, key: StreamKey, since: str) -> RecentHarm:
    """Harmful changes of extractions that settled after `since`; approvals do not count."""
    rows = database.rows(
        f"""
        SELECT coalesce(sum(deletes), 0) AS deletes,
            coalesce(sum(deactivations), 0) AS deactivations,
            coalesce(sum(losses), 0) AS losses,
            coalesce(max(latest_before), 0) AS latest
        FROM syncs
        WHERE {ONE_STREAM} AND finished_at > ? AND {_EXTRACTED} AND {_SETTLED}
        """,
        (*key.values, since),
    )
    return RecentHarm(**{name: int(value) for name, value in rows[0].items()})


def changes_of(database: OperationalDatabase, key: StreamKey, version: int) -> int | None:
    """How many changes the sync that made `version` applied; None if no such sync is known."""
    rows = database.rows(
        "SELECT inserts + updates + deletes AS n FROM syncs"
        f" WHERE {ONE_STREAM} AND version = ? AND {_SETTLED}",
        (*key.values, version),
    )
    return rows[0]["n"] if rows else None


def recent(database: OperationalDatabase, ref: IntegrationRef | None, limit: int) -> list[SyncRow]:
    """The newest syncs, of one integration or of all, newest first."""
    one = "" if ref is None else "WHERE organization_id = ? AND connected_integration_id = ?"
    rows = database.rows(
        f"SELECT * FROM syncs {one} ORDER BY started_at DESC, ordinal DESC LIMIT ?",
        (*(() if ref is None else ref.values), limit),
    )
    return [sync_row(row) for row in rows]


class News(msgspec.Struct, frozen=True):
    """What has happened to syncs since a moment.

    `ended` counts the syncs that ended, `troubled` those of them that need a person's attention
    (failed or quarantined), `decided` the decisions. `newest` is the time of the newest of all.
    """

    ended: int = 0
    troubled: int = 0
    decided: int = 0
    newest: str = ""


def news_since(database: OperationalDatabase, moment: str) -> News:
    """The news after `moment`; of all syncs in the ledger if it is ''."""
    troubled = sql_list((Status.FAILED, Status.QUARANTINED))
    rows = database.rows(
        f"""
        SELECT
            count(*) AS ended,
            coalesce(sum(CASE WHEN status IN ({troubled}) THEN 1 ELSE 0 END), 0) AS troubled,
            coalesce(max(finished_at), '') AS newest
        FROM syncs
        WHERE finished_at > ?
        UNION ALL
        SELECT count(*), 0, coalesce(max(decided_at), '')
        FROM syncs
        WHERE decided_at > ?
        """,
        (moment, moment),
    )
    ended, decided = rows
    return News(
        ended=ended["ended"],
        troubled=int(ended["troubled"]),
        decided=decided["ended"],
        newest=max(ended["newest"], decided["newest"]),
    )


def begun(
    database: OperationalDatabase, stream: Stream, refs: Iterable[IntegrationRef]
) -> set[IntegrationRef]:
    """Return the integrations of `refs` for which a sync of `stream` was ever begun."""
    rows = database.rows(
        f"""
        SELECT first AS organization_id, second AS connected_integration_id
        FROM ({database.dialect.pairs}) AS asked
        WHERE EXISTS (
            SELECT 1
            FROM syncs AS s
            WHERE s.organization_id = asked.first
                AND s.connected_integration_id = asked.second
                AND s.stream = ?
        )
        """,
        (_pairs(refs), stream.name),
    )
    return {_ref(row) for row in rows}


def statuses_of(
    database: OperationalDatabase, stream: Stream, sync_id: str, refs: Iterable[IntegrationRef]
) -> dict[IntegrationRef, Status]:
    """The status of the sync `sync_id` for each integration of `refs` that began it."""
    rows = database.rows(
        f"""
        SELECT s.organization_id, s.connected_integration_id, s.status
        FROM ({database.dialect.pairs}) AS asked
        JOIN syncs AS s
            ON s.organization_id = asked.first
            AND s.connected_integration_id = asked.second
            AND s.stream = ?
            AND s.sync_id = ?
        """,
        (_pairs(refs), stream.name, sync_id),
    )
    return {_ref(row): Status(row["status"]) for row in rows}


def newest_of_each(
    database: OperationalDatabase, stream: Stream, statuses: Collection[Status] = tuple(Status)
) -> list[SyncRow]:
    """The newest sync of every integration, if its status is one of `statuses`."""
    rows = database.rows(
        f"""
        SELECT s.*
        FROM connected_integrations AS c
        JOIN syncs AS s
            ON s.organization_id = c.organization_id
            AND s.connected_integration_id = c.id
            AND s.stream = ?
            AND s.ordinal = (
                SELECT max(newest.ordinal)
                FROM syncs AS newest
                WHERE newest.organization_id = c.organization_id
                    AND newest.connected_integration_id = c.id
                    AND newest.stream = ?
            )
        WHERE s.status IN ({sql_list(statuses)})
        """,
        (stream.name, stream.name),
    )
    return [sync_row(row) for row in rows]


def newest_totals(database: OperationalDatabase, stream: Stream) -> dict[IntegrationRef, Row]:
    """Per integration: what its newest sync staged, and the rows in latest after the last apply.

    `settled` is 0 before the first sync settles. `latest` is None, with `settled` 1, where the
    sync that made the latest table is no longer in the ledger.
    """
    rows = database.rows(
        """
        SELECT
            newest.organization_id, newest.connected_integration_id,
            newest.sync_id, newest.status, newest.batches, newest.staged,
            newest."unique" AS "unique",
            s.latest,
            CASE WHEN v.version IS NULL THEN 0 ELSE 1 END AS settled
        FROM syncs AS newest
        LEFT JOIN integration_versions AS v
            ON v.organization_id = newest.organization_id
            AND v.connected_integration_id = newest.connected_integration_id
            AND v.stream = newest.stream
        LEFT JOIN syncs AS s
            ON s.organization_id = v.organization_id
            AND s.connected_integration_id = v.connected_integration_id
            AND s.stream = v.stream
            AND s.sync_id = v.sync_id
        WHERE newest.stream = ? AND newest.ordinal = (
            SELECT max(one.ordinal)
            FROM syncs AS one
            WHERE one.organization_id = newest.organization_id
                AND one.connected_integration_id = newest.connected_integration_id
                AND one.stream = newest.stream
        )
        """,
        (stream.name,),
    )
    return {_ref(row): row for row in rows}


def unsettled(database: OperationalDatabase) -> list[SyncRow]:
    """The newest sync of each stream, if it has not settled and can be continued."""
    rows = database.rows(
        f"""
        SELECT s.*
        FROM syncs AS s
        WHERE s.status IN ('{Status.EXTRACTING}', '{Status.FAILED}')
            AND (s.status = '{Status.EXTRACTING}' OR s.retryable = 1)
            AND NOT EXISTS (
                SELECT 1
                FROM syncs AS newer
                WHERE newer.organization_id = s.organization_id
                    AND newer.connected_integration_id = s.connected_integration_id
                    AND newer.stream = s.stream
                    AND newer.ordinal > s.ordinal
            )
        ORDER BY s.started_at
        """
    )
    return [sync_row(row) for row in rows]


def quarantined(database: OperationalDatabase, ref: IntegrationRef | None = None) -> list[SyncRow]:
    """Syncs whose withheld changes wait for a decision; only the newest settled of each stream."""
    one = "" if ref is None else "AND s.organization_id = ? AND s.connected_integration_id = ?"
    rows = database.rows(
        f"""
        SELECT s.*
        {NEWEST_SETTLED}
        WHERE s.status = '{Status.QUARANTINED}' AND s.decision IS NULL {one}
        ORDER BY s.finished_at DESC
        """,
        () if ref is None else ref.values,
    )
    return [sync_row(row) for row in rows]


def quarantined_since(database: OperationalDatabase, row: SyncRow) -> str:
    """When the first of the consecutive syncs that withheld the same changes as `row` settled."""
    key = row.key.values
    rows = database.rows(
        f"""
        SELECT min(finished_at) AS since
        FROM syncs
        WHERE {ONE_STREAM} AND status = '{Status.QUARANTINED}' AND ordinal <= ? AND ordinal > (
            SELECT coalesce(max(ordinal), 0)
            FROM syncs
            WHERE {ONE_STREAM} AND ordinal < ? AND {_EXTRACTED} AND {_SETTLED} AND NOT (
                status = '{Status.QUARANTINED}'
                AND decision IS NULL
                AND withheld_digest = ?
            )
        )
        """,
        (*key, row.ordinal, *key, row.ordinal, row.withheld_digest),
    )
    return str(rows[0]["since"] or row.finished_at)


def _pairs(refs: Iterable[IntegrationRef]) -> str:
    return msgspec.json.encode([ref.values for ref in refs]).decode()


def _ref(row: Row) -> IntegrationRef:
    return IntegrationRef(row["organization_id"], row["connected_integration_id"])
