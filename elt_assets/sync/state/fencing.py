"""Fencing: a worker that lost its lease of an integration can no longer change its rows.

A lock alone does not ensure that: its holder may have lost it, to a network failure or a suspended
machine, without noticing. Each holder therefore presents a number larger than all earlier ones,
and the database refuses smaller numbers (a fencing token: Kleppmann, "How to do distributed
locking", 2016).
"""

from __future__ import annotations

from elt_assets.errors import WarehouseBusy
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import Transaction


def raise_fence(transaction: Transaction, ref: IntegrationRef, token: int) -> None:
    """Refuse all smaller tokens from now on. A lock that cannot be lost has token 0, which passes.

    Raises `WarehouseBusy` when a larger token is already recorded.
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
    """Raise `WarehouseBusy` unless `token` is the newest one, or 0."""
    if not token:
        return
    rows = transaction.rows(
        "SELECT token FROM integration_fences"
        " WHERE organization_id = ? AND connected_integration_id = ?",
        ref.values,
    )
    if [row["token"] for row in rows] != [token]:
        raise WarehouseBusy(
            f"{ref}: another worker took it over after this one lost its lease; nothing of this "
            "attempt was applied"
        )


def forget_fence(transaction: Transaction, ref: IntegrationRef) -> None:
    """Delete the integration's fencing token."""
    transaction.execute(
        "DELETE FROM integration_fences WHERE organization_id = ? AND connected_integration_id = ?",
        ref.values,
    )
