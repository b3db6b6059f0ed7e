"""How many records each integration's newest sync staged, and how many rows it has in latest.

The ledger has both numbers once a sync has settled. `SyncService.counts` counts the rows in the
stores themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import Row
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.sync_history import newest_totals
from elt_assets.sync.streams import Stream

Totals = dict[str, Any]


def totals(platform: SyncService, stream: Stream, refs: Iterable[IntegrationRef]) -> list[Totals]:
    """The totals of registered integrations, as the ledger has them.

    The totals of a sync that has not settled are read from the integration's warehouse.
    """
    known = newest_totals(platform.database, stream)
    return [_recorded(platform, stream, ref, known.get(ref)) for ref in refs]


def _recorded(
    platform: SyncService, stream: Stream, ref: IntegrationRef, row: Row | None
) -> Totals:
    if row is not None and not _is_known(platform, ref, row):
        return platform.counts(stream, ref)
    found = row or {"sync_id": None, "staged": 0, "unique": 0, "latest": 0}
    return {
        "partition": ref.partition_key,
        "sync_id": found["sync_id"],
        "staged": found["staged"],
        "unique": found["unique"],
        "duplicates": found["staged"] - found["unique"],
        "latest": found["latest"] or 0,
    }


def _is_known(platform: SyncService, ref: IntegrationRef, row: Row) -> bool:
    """Whether to use the ledger's totals: they are current, or a sync holds the warehouse."""
    if row["latest"] is None and row["settled"]:
        return False
    if Status(row["status"]).settled or (row["status"] == Status.FAILED and not row["batches"]):
        return True
    return platform.warehouses.is_held(ref)
