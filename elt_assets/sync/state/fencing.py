"""Fencing: a worker that was cut off from an integration and comes back changes nothing more.

A lock alone cannot promise that: its holder may lose it, to a network failure or a machine that
stood still, and not know yet. So every holder brings a number that is larger than all before it,
and the database refuses smaller ones (a fencing token: Kleppmann, "How to do distributed locking",
2016).
"""

from __future__ import annotations

from elt_assets.errors import WarehouseBusy
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import Transaction


def raise_fence(transaction: Transaction, ref: IntegrationRef, token: int) -> None:
    """Refuse all smaller numbers from now on. 0 is that of a lock that cannot be lost.

    Raises `WarehouseBusy` when a larger number is known already.
    """
    if not token:
        return
    transaction.execute(
        """
        INSERT INTO integration_fences VALUES (?, ?, ?)
        ON CONFLICT (organization_id, connected_integration_id)
        DO UPDATE SET token = excluded.token
        WHERE integration_fences.token < excluded.token
        """,
        (*ref.values, token),
    )
    check_fence(transaction, ref, token)


def check_fence(transaction: Transaction, ref: IntegrationRef, token: int) -> None:
    """Raise `WarehouseBusy` unless `token` is the newest number."""
    if not token:
        return
    rows = transaction.rows(
        "SELECT token FROM integration_fences"
        " WHERE organization_id = ? AND connected_integration_id = ?",
        ref.values,
    )
    if [row["token"] for row in rows] != [token]:
        raise WarehouseBusy(
            f"{ref}: another worker took it over, since this one was cut off; nothing of this "
            "attempt was applied"
        )


def forget_fence(transaction: Transaction, ref: IntegrationRef) -> None:
    """Delete what is known of the integration's holders."""
    transaction.execute(
        "DELETE FROM integration_fences WHERE organization_id = ? AND connected_integration_id = ?",
        ref.values,
    )
