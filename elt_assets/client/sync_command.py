"""The syncs that a command requests in its own process."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from elt_assets.sync.fault_injection import NO_FAULTS, Faults
from elt_assets.sync.outcome import Mode
from elt_assets.sync.streams import STREAMS, Stream


@dataclass(frozen=True, slots=True)
class SyncCommand:
    """One sync of several integrations: for each, those of `streams` that it offers.

    Without `mode` and `pages_per_batch` each integration's configuration decides.
    """

    sync_id: str
    streams: Collection[Stream] = tuple(STREAMS.values())
    mode: Mode | None = None
    pages_per_batch: int | None = None
    faults: Faults = NO_FAULTS
