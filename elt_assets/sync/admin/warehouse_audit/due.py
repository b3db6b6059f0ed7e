"""Which warehouses an audit has to read: what has changed, and a share of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from math import ceil

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin.warehouse_audit.checked import Known

WITHIN = timedelta(days=7)
"""The time in which every warehouse is read at least once."""
_ROUND = timedelta(days=6)
"""The time that the shares of a round add up to: a day less, for a run that comes late."""


def due(
    known: Iterable[Known], written: Mapping[IntegrationRef, str], now: datetime
) -> list[Known]:
    """Those to be read now.

    These are the ones that changed since they last held or never did, and of the others the longest
    unread: as many as the time since the last audit is a part of a round.
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
    """Whether the warehouse may hold other rows than when it held, or never held."""
    held = one.held
    if held is None:
        return True
    if one.version == held.version:
        # Not by a sync that settled.
        return written != held.written
    # A version that the ledger does not explain counts, too: the ledger is not kept for ever.
    return one.version - held.version != one.uneventful
