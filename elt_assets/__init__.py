"""elt_assets: a Dagster asset graph that keeps every customer's users in sync.

docs/architecture.md describes the folders and the direction of the imports between them, which
`lint-imports` enforces. The names below are the public API, for use inside another deployment
(docs/embedding.md). Each is imported when it is first used: importing this package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elt_assets.config.settings import Settings, load_settings
    from elt_assets.definitions import DirectorySync, build_defs
    from elt_assets.identifiers import IntegrationRef
    from elt_assets.sync.service import SyncService
    from elt_assets.sync.streams import STREAMS

__all__ = [
    "STREAMS",
    "DirectorySync",
    "IntegrationRef",
    "Settings",
    "SyncService",
    "build_defs",
    "load_settings",
]

_PLACES = {
    "STREAMS": "elt_assets.sync.streams",
    "DirectorySync": "elt_assets.definitions",
    "IntegrationRef": "elt_assets.identifiers",
    "Settings": "elt_assets.config.settings",
    "SyncService": "elt_assets.sync.service",
    "build_defs": "elt_assets.definitions",
    "load_settings": "elt_assets.config.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
