"""Records of audits: which warehouses passed, when, and whether they have changed since."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import pyarrow as pa

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Transaction
from elt_assets.sync.clock import now
from elt_assets.sync.outcome import Status
from elt_assets.sync.streams import Stream


class LastHeld(msgspec.Struct, frozen=True):
    """The state of a warehouse when it last passed an audit, and the time of that audit."""

    version: int
    ordinal: int
    written: str
    at: str


class Known(msgspec.Struct, frozen=True):
    """A stream of an integration that was synced at least once.

    `held` is None if the warehouse never passed an audit. `uneventful` counts the syncs since then
    that changed no row. `syncing` says that a sync of the stream is still extracting.
    """

    ref: IntegrationRef
    version: int
    ordinal: int
    syncing: bool
    held: LastHeld | None
    uneventful: int


def known(database: OperationalDatabase, stream: Stream) -> list[Known]:
    """Every registered integration for which a sync of `stream` was ever begun."""
    rows = database.rows(
        f"""
        SELECT
            c.organization_id, c.id,
            coalesce(v.version, 0) AS version,
            coalesce(v.ordinal, 0) AS ordinal,
            k.version AS held_version, k.ordinal AS held_ordinal, k.written, k.held_at,
            (
                SELECT count(*)
                FROM syncs AS s
                WHERE s.organization_id = k.organization_id
                    AND s.connected_integration_id = k.connected_integration_id
                    AND s.stream = k.stream
                    AND s.ordinal > k.ordinal
                    AND s.status = '{Status.UNCHANGED}'
                    AND s.version IS NOT NULL
            ) AS uneventful,
            (
                SELECT count(*)
                FROM syncs AS s
                WHERE s.organization_id = c.organization_id
                    AND s.connected_integration_id = c.id
                    AND s.stream = ?
                    AND s.status = '{Status.EXTRACTING}'
            ) AS syncing
        FROM connected_integrations AS c
        LEFT JOIN integration_versions AS v
            ON v.organization_id = c.organization_id
            AND v.connected_integration_id = c.id
            AND v.stream = ?
        LEFT JOIN checked_warehouses AS k
            ON k.organization_id = c.organization_id
            AND k.connected_integration_id = c.id
            AND k.stream = ?
        WHERE v.version IS NOT NULL OR EXISTS (
            SELECT 1
            FROM syncs AS s
            WHERE s.organization_id = c.organization_id
                AND s.connected_integration_id = c.id
                AND s.stream = ?
        )
        ORDER BY c.organization_id, c.id
        """,
        (stream.name,) * 4,
    )
    return [
        Known(
            ref=IntegrationRef(row["organization_id"], row["id"]),
            version=row["version"],
            ordinal=row["ordinal"],
            syncing=bool(row["syncing"]),
            held=None
            if row["held_at"] is None
            else LastHeld(row["held_version"], row["held_ordinal"], row["written"], row["held_at"]),
            uneventful=row["uneventful"],
        )
        for row in rows
    ]


def record(
    transaction: Transaction,
    stream: Stream,
    held: Collection[tuple[Known, str]],
    failed: Collection[Known],
) -> None:
    """Record the result of an audit.

    `held` are the warehouses that passed, each with its mark of the last write (`last_written`).
    The records of those that `failed` are deleted, so that the next audit reads them again.
    """
    for one in failed:
        _forget(transaction, one.ref, "AND stream = ?", (stream.name,))
    if not held:
        return
    moment = now()
    rows = pa.Table.from_pylist(
        [
            {
                "organization_id": one.ref.organization_id,
                "connected_integration_id": one.ref.integration_id,
                "stream": stream.name,
                "version": one.version,
                "ordinal": one.ordinal,
                "written": written,
                "held_at": moment,
            }
            for one, written in held
        ]
    )
    names = ", ".join(rows.column_names)
    with transaction.ingested("held", rows) as found:
        transaction.execute(
            f"""
            INSERT INTO checked_warehouses ({names})
            SELECT {names} FROM {found} WHERE true
            ON CONFLICT (organization_id, connected_integration_id, stream) DO UPDATE
            SET version = excluded.version, ordinal = excluded.ordinal,
                written = excluded.written, held_at = excluded.held_at
            """
        )


def forget(transaction: Transaction, ref: IntegrationRef) -> None:
    """Delete the audit records of the integration's warehouse."""
    _forget(transaction, ref)


def _forget(
    transaction: Transaction, ref: IntegrationRef, only: str = "", of: tuple[str, ...] = ()
) -> None:
    transaction.execute(
        "DELETE FROM checked_warehouses"
        f" WHERE organization_id = ? AND connected_integration_id = ? {only}",
        (*ref.values, *of),
    )
