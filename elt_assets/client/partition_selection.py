"""Select the integrations of a backfill by the state of a table's partitions on the web server.

A client cannot read the ledger: only the server's machine can (`sync.admin.freshness`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

from elt_assets.client.web_server import PartitionStatuses, Server
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import USERS, Stream

Choice = Literal["failed", "stale", "all"]

_HOUR = 3600.0


def chosen(
    server: Server, stream: Stream, which: Choice, hours: float, org: str | None
) -> list[str]:
    """Return the selected keys; stale means `hours` without a sync, `org` None means all."""
    table = asset_key(stream, Stage.LATEST).path
    found = pick(server.partition_statuses(table), which, has_all=stream is USERS)
    keys = [key for key in found if org in (None, IntegrationRef.parse(key).organization_id)]
    if which != "stale":
        return keys
    settled_at = server.materialized_at(table, keys)
    return stale(keys, settled_at, time.time() - hours * _HOUR)


def pick(statuses: PartitionStatuses, which: Choice, *, has_all: bool) -> list[str]:
    """Return the candidates for `which`; partitions being materialized count for "all" only.

    An integration whose partition was never materialized may not offer the stream. Unless every
    integration offers it (`has_all`), first syncs are left to the sensor that requests them.
    """
    if which == "failed":
        return list(statuses.failed)
    never = statuses.never if has_all else ()
    going = statuses.going if which == "all" else ()
    return [*statuses.failed, *never, *statuses.materialized, *going]


def stale(keys: list[str], settled_at: Mapping[str, float], before: float) -> list[str]:
    """The keys that were last brought up to date before this time, or never."""
    return [key for key in keys if settled_at.get(key, 0.0) < before]
