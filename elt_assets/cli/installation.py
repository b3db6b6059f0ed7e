"""Open the platform of this installation, and find the integrations that a command names."""

from __future__ import annotations

from elt_assets.config.settings import load_settings
from elt_assets.errors import NotFound
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.from_settings import operational_database
from elt_assets.sync.service import SyncService


def existing_platform() -> SyncService:
    """The platform of this installation. Raises `NotFound` instead of creating an empty one."""
    settings = load_settings()
    database = operational_database(settings)
    try:
        exists = database.exists
    finally:
        database.close()
    if not exists:
        raise NotFound(
            f"{settings.operational_address or settings.home} holds no platform yet: change to "
            "its folder, set ELT_ASSETS_HOME, or begin with `elt-assets demo` or `elt-assets "
            "integrations add`"
        )
    return SyncService.open(settings)


def registered(platform: SyncService, partition_key: str) -> IntegrationRef:
    """The integration of that name. Raises `NotFound` if it is not registered."""
    return platform.registry.get(IntegrationRef.parse(partition_key)).ref
