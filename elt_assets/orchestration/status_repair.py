"""The status of partitions from the ledger, for a home whose Dagster history is new.

A backup holds the stores without Dagster's history, so that every partition of a restored home
would show as missing although its data is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from elt_assets.orchestration.assets.failed_partitions import failed_observation, failure_details
from elt_assets.orchestration.assets.materializations import materializations
from elt_assets.orchestration.assets.quarantine_details import quarantine_details
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.orchestration.partitions import add_partition_keys
from elt_assets.sync.outcome import Outcome, Stage, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import sync_history
from elt_assets.sync.streams import STREAMS, Stream, StreamKey


def repair_status(platform: SyncService, instance: dg.DagsterInstance) -> dict[str, int]:
    """Report the newest settled sync of every partition that Dagster does not know as
    materialized; return how many partitions of each table that were.

    A partition whose newest sync failed also gets that failure as an observation: Dagster has no
    event for one failed partition, and shows it red only when a run fails again.
    """
    add_partition_keys(instance, [entry.ref for entry in platform.registry.all()])
    repaired: dict[str, int] = {}
    for stream in STREAMS.values():
        known = {
            stage: instance.get_materialized_partitions(asset_key(stream, stage)) for stage in Stage
        }
        for ref in platform.offering(stream):
            lacking = [stage for stage in Stage if ref.partition_key not in known[stage]]
            if lacking:
                for event in _events(platform, StreamKey(stream, ref), lacking):
                    instance.report_runless_asset_event(event)
                    if isinstance(event, dg.AssetMaterialization):
                        table = event.asset_key.to_user_string()
                        repaired[table] = repaired.get(table, 0) + 1
    return repaired


def _events(
    platform: SyncService, key: StreamKey, lacking: list[Stage]
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    settled = sync_history.newest(platform.database, key, sync_history.SETTLED)
    if settled is not None:
        details = {"settled_at": settled.finished_at or settled.started_at}
        yield from materializations(
            key.stream,
            settled.outcome(),
            lacking,
            of_latest={**details, **_marked(platform, settled.outcome())},
        )
    newest = sync_history.newest(platform.database, key)
    if newest is not None and newest.status is Status.FAILED:
        yield _failure(platform, key.stream, newest.outcome())


def _marked(platform: SyncService, outcome: Outcome) -> Mapping[str, Any]:
    return quarantine_details(platform, outcome) if outcome.status is Status.QUARANTINED else {}


def _failure(platform: SyncService, stream: Stream, outcome: Outcome) -> dg.AssetObservation:
    return failed_observation(stream, outcome, failure_details(platform, stream, outcome))
