"""Which warehouses an audit has to read: those that have changed, and a share of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from math import ceil

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin.warehouse_audit.checked import Known

WITHIN = timedelta(days=7)
"""The time in which every warehouse is read at least once."""
_ROUND = timedelta(days=6)
"""The time in which the shares add up to all warehouses: a day less, in case a run is late."""


def due(
    known: Iterable[Known], written: Mapping[IntegrationRef, str], now: datetime
) -> list[Known]:
    """The warehouses to be read now.

    These are the ones that never passed an audit or have changed since, and a share of the others,
    the longest unread first. The share is the time since the last audit divided by six days.
    """
    changed: list[Known] = []
    held: list[tuple[datetime, Known]] = []
    newest: datetime | None = None
    for one in known:
        if one.held is not None:
            at = datetime.fromisoformat(one.held.at)
            newest = at if newest is None else max(at, newest)
            if not has_changed(one, written[one.ref]):
                held.append((at, one))
                continue
        changed.append(one)
    if newest is None:
        return changed
    held.sort(key=lambda entry: entry[0])
    turn = ceil(len(held) * min((now - newest) / _ROUND, 1.0))
    overdue = sum(now - at >= WITHIN for at, _ in held)
    return changed + [one for _, one in held[: max(turn, overdue)]]


def has_changed(one: Known, written: str) -> bool:
    """Whether the rows of the warehouse may have changed since it passed, or it never passed."""
    held = one.held
    if held is None:
        return True
    if one.version == held.version:
        # No sync has settled since; the mark of the last write shows any other change.
        return written != held.written
    # Versions whose syncs are no longer in the ledger count as changes, too.
    return one.version - held.version != one.uneventful
