"""Rejections: harmful changes that a person has refused, for a while.

A rejected change of a row is neither applied nor withheld for another decision until the rejection
ends: at its date, when it is reopened, or when the provider lists a missing record again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
import pyarrow as pa

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Row, Transaction
from elt_assets.sync.clock import now
from elt_assets.sync.state.ledger import ONE_STREAM
from elt_assets.sync.streams import StreamKey

_DECIDED = ("sync_id", "decided_by", "decided_at", "until")
"""The columns that hold the fields of a `Rejection`."""


def standing(database: OperationalDatabase, key: StreamKey, moment: str) -> list[tuple[str, str]]:
    """(id, change_type) of every change whose rejection has not ended at `moment`."""
    rows = database.rows(
        f"SELECT id, change_type FROM rejected_changes WHERE {ONE_STREAM} AND until > ?",
        (*key.values, moment),
    )
    return [(row["id"], row["change_type"]) for row in rows]


def sets(database: OperationalDatabase, ref: IntegrationRef | None = None) -> list[Row]:
    """Rejections that have not ended, one row for each decision, newest first.

    Columns: organization_id, connected_integration_id, stream, sync_id, changes, decided_by,
    decided_at, until.
    """
    one = "" if ref is None else "AND organization_id = ? AND connected_integration_id = ?"
    return database.rows(
        f"""
        SELECT organization_id, connected_integration_id, stream, sync_id, count(*) AS changes,
            decided_by, decided_at, until
        FROM rejected_changes
        WHERE until > ? {one}
        GROUP BY organization_id, connected_integration_id, stream, sync_id, decided_by,
            decided_at, until
        ORDER BY decided_at DESC
        """,
        (now(), *(() if ref is None else ref.values)),
    )


def add(
    transaction: Transaction,
    key: StreamKey,
    changes: Sequence[tuple[str, str]],
    decision: Rejection,
) -> None:
    """Reject changes, given as (id, change_type); replace an earlier rejection of the same one."""
    names = (
        "organization_id",
        "connected_integration_id",
        "stream",
        "id",
        "change_type",
        *_DECIDED,
    )
    rows = [(*key.values, *change, *msgspec.structs.astuple(decision)) for change in changes]
    table = pa.Table.from_pylist(
        [dict(zip(names, row, strict=True)) for row in rows],
        pa.schema([(name, pa.string()) for name in names]),
    )
    columns = ", ".join(names)
    with transaction.ingested("rejecting", table) as rejecting:
        transaction.execute(
            f"""
            INSERT INTO rejected_changes ({columns})
            SELECT {columns} FROM {rejecting} WHERE true
            ON CONFLICT (organization_id, connected_integration_id, stream, id, change_type)
            DO UPDATE SET sync_id = excluded.sync_id, decided_by = excluded.decided_by,
                decided_at = excluded.decided_at, until = excluded.until
            """
        )


class Rejection(msgspec.Struct, frozen=True):
    """A rejection of the changes that `sync_id` withheld: who decided, when, and until when."""

    sync_id: str
    by: str
    at: str
    until: str


def end(transaction: Transaction, key: StreamKey, ids: Collection[str]) -> None:
    """End the rejected deletes of these rows: the provider lists them again."""
    transaction.execute(
        f"DELETE FROM rejected_changes WHERE {ONE_STREAM} AND change_type = 'DELETE'"
        f" AND id IN ({transaction.dialect.texts})",
        (*key.values, msgspec.json.encode([*ids]).decode()),
    )


def reopen(transaction: Transaction, ref: IntegrationRef) -> int:
    """End every rejection of an integration; return the number of changes they covered."""
    return transaction.execute(
        "DELETE FROM rejected_changes WHERE organization_id = ? AND connected_integration_id = ?"
        " AND until > ?",
        (*ref.values, now()),
    )
