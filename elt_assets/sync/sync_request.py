"""What the engine is given: a request to sync one stream, and the installation's parts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypedDict

from elt_assets.config.safeguards import SafeguardOverrides, Safeguards
from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Source
from elt_assets.errors import Stopped
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.warehouse.warehouse import Warehouses
from elt_assets.sync.fault_injection import NO_FAULTS, Faults
from elt_assets.sync.fetch_budget import FetchBudget
from elt_assets.sync.outcome import Mode, ProgressListener, Stage, SyncProgress, silent
from elt_assets.sync.state.registry import Integration, Registry
from elt_assets.sync.streams import StreamKey


class SourceOpener(Protocol):
    """How the engine opens a source: `connectors.catalog.open_source`, except in tests."""

    def __call__(
        self,
        provider: str,
        provider_data: Mapping[str, Any],
        stream: str,
        *,
        secrets: Secrets,
        limits: FetchLimits,
        ref: IntegrationRef,
    ) -> Source:
        """Open the stream of a provider. Raises `SecretMissing` or `InvalidInput`."""


def nothing(*_: object) -> None:
    """No-op callback."""


def always() -> bool:
    """Let every sync begin."""
    return True


class SyncOptions(TypedDict, total=False):
    """Options of a sync; a missing key means its default.

    Without `mode`, the configuration of each integration decides between full and incremental.
    `progress` is called from the worker threads.
    """

    run_id: str | None
    until: Stage
    mode: Mode | None
    progress: ProgressListener
    faults: Faults


@dataclass(frozen=True, slots=True)
class RunControl:
    """Callbacks of a caller while several integrations are synced.

    `meanwhile` is called about once a second from the caller's own thread. Once `may_begin`
    returns False, no further sync begins. `left` is called with each integration that did not
    begin.
    """

    meanwhile: Callable[[], None] = nothing
    may_begin: Callable[[], bool] = always
    left: Callable[[IntegrationRef], None] = nothing


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """What to sync, and up to which stage."""

    key: StreamKey
    sync_id: str
    run_id: str | None
    pages_per_batch: int
    stop: threading.Event
    faults: Faults
    until: Stage = Stage.LATEST
    progress: ProgressListener = silent
    mode: Mode | None = None
    max_pages: int | None = None
    """Pages after which this extraction is cut; None for the installation's limit."""
    again_of: str | None = None
    """The sync whose kept records this one maps again instead of fetching; used when it is new."""

    def tell(self, progress: SyncProgress) -> None:
        """Report progress. A listener that raises `Stopped` stops all syncs of the request."""
        try:
            self.progress(progress)
        except Stopped:
            # Pages that are already fetched are still staged.
            self.stop.set()


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The stores, limits and sources that every sync of an installation uses."""

    database: OperationalDatabase
    warehouses: Warehouses
    registry: Registry
    limits: FetchLimits
    safeguards: Safeguards
    max_recoveries: int
    max_resume: timedelta
    confirm_after: timedelta
    budget: FetchBudget
    open_source: SourceOpener = catalog.open_source
    faults: Faults = NO_FAULTS
    show_values: bool = False

    def safeguards_of(self, integration: Integration) -> Safeguards:
        """The safeguards of one integration: its own values override the installation's."""
        own = integration.provider_data.get("safeguards") or {}
        overrides: SafeguardOverrides = SafeguardOverrides.model_validate(own)
        return overrides.over(self.safeguards)
