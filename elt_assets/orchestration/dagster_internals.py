"""Every name of Dagster that is used here and is not public, with the reason.

No other module imports a private module of Dagster. A name is looked up when it is imported: a
release of Dagster without it breaks only what uses it, with an error that names it, and a command
that needs no storage does not load one.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import (
        UnresolvedAssetJobDefinition as UnresolvedAssetJobDefinition,
    )
    from dagster._core.errors import (
        DagsterUserCodeUnreachableError as DagsterUserCodeUnreachableError,
    )
    from dagster._core.events import EngineEventData as EngineEventData
    from dagster._core.launcher import CheckRunHealthResult as CheckRunHealthResult
    from dagster._core.launcher import LaunchRunContext as LaunchRunContext
    from dagster._core.launcher import ResumeRunContext as ResumeRunContext
    from dagster._core.launcher import WorkerStatus as WorkerStatus
    from dagster._core.storage.base_storage import DagsterStorage as DagsterStorage
    from dagster._core.storage.event_log import SqliteEventLogStorage as SqliteEventLogStorage
    from dagster._core.storage.event_log.schema import AssetKeyTable as AssetKeyTable
    from dagster._core.storage.event_log.schema import (
        SqlEventLogStorageTable as SqlEventLogStorageTable,
    )
    from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
        INDEX_SHARD_NAME as INDEX_SHARD_NAME,
    )
    from dagster._core.storage.sqlite import (
        SQLITE_BUSY_TIMEOUT_SECONDS as SQLITE_BUSY_TIMEOUT_SECONDS,
    )
    from dagster._grpc.types import ExecuteRunArgs as ExecuteRunArgs
    from dagster._grpc.types import ResumeRunArgs as ResumeRunArgs
    from dagster._serdes import ConfigurableClass as ConfigurableClass
    from dagster._serdes import ConfigurableClassData as ConfigurableClassData
    from dagster._serdes import pack_value as pack_value
    from dagster._serdes import unpack_value as unpack_value
    from dagster._utils.tags import TagConcurrencyLimitsCounter as TagConcurrencyLimitsCounter

CHECKED_ON = "1.13.27"
"""The release of Dagster on which the names below were last checked."""

DAEMON = "dagster._daemon"
"""The module of `dagster-daemon`. The script need not be on the PATH; `python -m` finds the module
of the same environment."""


class Internal(NamedTuple):
    """Where a name is, and why no public way serves."""

    module: str
    why: str


_LAUNCHER = "part of the signature of a run launcher, and Dagster has no public base for one"
_STORAGE = "Dagster has no public base for storage that dagster.yaml names"
_MESSAGE = "the workers' messages are those of dagster-celery, whose tasks read this form"

INTERNALS: Mapping[str, Internal] = {
    "UnresolvedAssetJobDefinition": Internal(
        "dagster._core.definitions.unresolved_asset_job_definition",
        "the type of what the public define_asset_job returns; needed to annotate it",
    ),
    "EngineEventData": Internal(
        "dagster._core.events",
        "an event with metadata in a run's log while its step works; the public context.log "
        "stores text, and clients would have to parse it",
    ),
    "DagsterUserCodeUnreachableError": Internal(
        "dagster._core.errors", "the only error after which Dagster's queue keeps a run"
    ),
    "CheckRunHealthResult": Internal("dagster._core.launcher", _LAUNCHER),
    "LaunchRunContext": Internal("dagster._core.launcher", _LAUNCHER),
    "ResumeRunContext": Internal("dagster._core.launcher", _LAUNCHER),
    "WorkerStatus": Internal("dagster._core.launcher", _LAUNCHER),
    "ExecuteRunArgs": Internal("dagster._grpc.types", _MESSAGE),
    "ResumeRunArgs": Internal("dagster._grpc.types", _MESSAGE),
    "pack_value": Internal("dagster._serdes", _MESSAGE),
    "unpack_value": Internal("dagster._serdes", _MESSAGE),
    "ConfigurableClass": Internal("dagster._serdes", _STORAGE),
    "ConfigurableClassData": Internal("dagster._serdes", _STORAGE),
    "DagsterStorage": Internal("dagster._core.storage.base_storage", _STORAGE),
    "SqliteEventLogStorage": Internal("dagster._core.storage.event_log", _STORAGE),
    "INDEX_SHARD_NAME": Internal(
        "dagster._core.storage.event_log.sqlite.sqlite_event_log",
        "which of the event log's files is the index; its connection must stay open",
    ),
    "SQLITE_BUSY_TIMEOUT_SECONDS": Internal(
        "dagster._core.storage.sqlite",
        "other processes open the same files with Dagster's own storage and its time limit",
    ),
    "AssetKeyTable": Internal(
        "dagster._core.storage.event_log.schema",
        "delete_run leaves a copy of a deleted event as the newest of its asset",
    ),
    "SqlEventLogStorageTable": Internal(
        "dagster._core.storage.event_log.schema",
        "the open-source storages store a batch of events one by one",
    ),
    "TagConcurrencyLimitsCounter": Internal(
        "dagster._utils.tags",
        "the daemon's own counter; Dagster has no query for the reason why a run waits",
    ),
}


def __getattr__(name: str) -> Any:
    """The name from Dagster. Raises `ImportError` if this release does not have it."""
    if name not in INTERNALS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, why = INTERNALS[name]
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        from dagster import __version__

        raise ImportError(
            f"Dagster {__version__} has no {module}.{name}, which Dagster {CHECKED_ON} has "
            f"({why}): install dagster=={CHECKED_ON}, or adapt {__name__}"
        ) from None
