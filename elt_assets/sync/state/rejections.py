"""Rejections: harmful changes that a person has refused, for a while.

A rejected change of a row is neither applied nor asked about again until the rejection ends:
at its date, when it is reopened, or when the provider lists a missing record again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Row, Transaction
from elt_assets.sync.clock import now
from elt_assets.sync.streams import Stream

_ONE_STREAM = "organization_id = ? AND connected_integration_id = ? AND stream = ?"


def standing(
    database: OperationalDatabase, stream: Stream, ref: IntegrationRef, moment: str
) -> list[tuple[str, str]]:
    """(id, change_type) of every change whose rejection lasts at `moment`."""
    rows = database.rows(
        f"SELECT id, change_type FROM rejected_changes WHERE {_ONE_STREAM} AND until > ?",
        (*_key(stream, ref), moment),
    )
    return [(row["id"], row["change_type"]) for row in rows]


def sets(database: OperationalDatabase, ref: IntegrationRef | None = None) -> list[Row]:
    """Rejections that last, one row for each decision, newest first.

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
        (now(), *(() if ref is None else (ref.organization_id, ref.integration_id))),
    )


def add(
    transaction: Transaction,
    stream: Stream,
    ref: IntegrationRef,
    changes: Sequence[tuple[str, str]],
    decision: Decision,
) -> None:
    """Reject changes, given as (id, change_type); an earlier rejection of one is replaced."""
    organization, integration, name = _key(stream, ref)
    table = pa.table(
        {
            "organization_id": [organization] * len(changes),
            "connected_integration_id": [integration] * len(changes),
            "stream": [name] * len(changes),
            "id": [change[0] for change in changes],
            "change_type": [change[1] for change in changes],
            "sync_id": [decision.sync_id] * len(changes),
            "decided_by": [decision.by] * len(changes),
            "decided_at": [decision.at] * len(changes),
            "until": [decision.until] * len(changes),
        }
    )
    columns = ", ".join(table.column_names)
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


class Decision(msgspec.Struct, frozen=True):
    """A rejection: of what `sync_id` withheld, by whom, when, and until when."""

    sync_id: str
    by: str
    at: str
    until: str


def end(
    transaction: Transaction, stream: Stream, ref: IntegrationRef, ids: Collection[str]
) -> None:
    """End the rejected deletes of these rows: the provider lists them again."""
    transaction.execute(
        f"DELETE FROM rejected_changes WHERE {_ONE_STREAM} AND change_type = 'DELETE'"
        f" AND id IN ({transaction.dialect.texts})",
        (*_key(stream, ref), msgspec.json.encode([*ids]).decode()),
    )


def reopen(transaction: Transaction, ref: IntegrationRef) -> int:
    """End every rejection of an integration; return how many changes are asked about again."""
    return transaction.execute(
        "DELETE FROM rejected_changes WHERE organization_id = ? AND connected_integration_id = ?"
        " AND until > ?",
        (ref.organization_id, ref.integration_id, now()),
    )


def _key(stream: Stream, ref: IntegrationRef) -> tuple[Any, ...]:
    return ref.organization_id, ref.integration_id, stream.name
