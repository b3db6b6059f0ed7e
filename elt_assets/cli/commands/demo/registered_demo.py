"""Register the embedded provider's integrations, and remove those of an earlier demo."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from elt_assets.cli.console.output import note
from elt_assets.config.settings import Settings
from elt_assets.demo.registration import provider_data
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService

_ORGANIZATION = re.compile(r"demo-\d{3,}")


def clear_earlier_demo(platform: SyncService, token_path: Path) -> list[IntegrationRef]:
    """Remove the integrations that an earlier demo registered, by their name and token file.

    The name alone is not enough: a user's own integration must never be removed.
    """
    earlier = [
        integration.ref
        for integration in platform.registry.all()
        if _ORGANIZATION.fullmatch(integration.ref.organization_id)
        and integration.provider_data.get("auth", {}).get("token") == {"file": str(token_path)}
    ]
    for ref in earlier:
        platform.remove(ref)
    if earlier:
        note(f"removed the {len(earlier):,} integrations of an earlier demo")
    return earlier


def register(
    settings: Settings,
    url: str,
    refs: Sequence[IntegrationRef],
    token_path: Path,
    *,
    groups: bool = False,
    signins: bool = False,
) -> None:
    """Register the integrations `refs` of the provider at `url`."""
    with SyncService.open(settings) as platform:
        for ref in refs:
            data = provider_data(
                url, ref, {"file": str(token_path)}, single=True, groups=groups, signins=signins
            )
            platform.registry.add(ref, "rest", data)
