"""The confirmation sensor: lists an integration again when deletes wait for a second listing.

How a second listing confirms a delete is decided in `sync.detect.delete_confirmation`.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from elt_assets.orchestration.assets.stream_assets import step_name
from elt_assets.orchestration.jobs.sync_jobs import Urgency, sync_jobs
from elt_assets.orchestration.mode_choice import ModeChoice
from elt_assets.orchestration.names import SYNC_ID_TAG
from elt_assets.orchestration.partitions import RangeLimits, RangePlan, partition_tags
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.listings import CONFIRMING, PendingDeletes, pending_deletes
from elt_assets.sync.streams import STREAMS
from elt_assets.sync.workload import loads

_LONGEST_ORIGIN = 50
_CONFIRMING = re.compile(rf"{CONFIRMING}(\d+)-(.+)")


def due(
    pending: Iterable[PendingDeletes], now: datetime, after: timedelta, every: timedelta
) -> list[PendingDeletes]:
    """The pending deletes whose integrations must be listed again at `now`.

    Their listing is older than `after`, and no confirming sync of the integration began within
    `every`. Of several streams of one integration, only the one that waits longest is due.
    """
    found: dict[str, PendingDeletes] = {}
    for one in sorted(pending, key=lambda one: one.since):
        waited = now - datetime.fromisoformat(one.since) >= after
        rested = not one.confirmed_at or now - datetime.fromisoformat(one.confirmed_at) >= every
        if waited and rested:
            found.setdefault(one.partition, one)
    return list(found.values())


def confirming_sync_id(sync_id: str) -> str:
    """The name of the sync that confirms the deletes that `sync_id` left pending.

    It depends only on `sync_id`: contiguous integrations of that sync share a run, and a repeated
    request starts nothing twice.
    """
    again = _CONFIRMING.fullmatch(sync_id)
    number, origin = (int(again[1]) + 1, again[2]) if again else (1, sync_id)
    if len(origin) > _LONGEST_ORIGIN:
        origin = hashlib.sha256(origin.encode()).hexdigest()[:16]
    return f"{CONFIRMING}{number}-{origin}"


def confirmation_requests(
    plans: Mapping[str, RangePlan],
    pending: Iterable[PendingDeletes],
    at: Placement = STANDALONE,
) -> list[dg.RunRequest]:
    """Runs that list everything again; contiguous integrations of one sync and stream share a run.

    `plans` are by stream name.
    """
    together: dict[tuple[str, str], list[str]] = {}
    for one in pending:
        names = one.stream, confirming_sync_id(one.sync_id)
        together.setdefault(names, []).append(one.partition)
    return [
        dg.RunRequest(
            run_key=f"{sync_id}/{stream}/{keys[0]}...{keys[-1]}",
            job_name=at.job(STREAMS[stream]),
            run_config={
                "ops": {step_name(STREAMS[stream], at): {"config": {"mode": ModeChoice.full.name}}}
            },
            tags={
                SYNC_ID_TAG: sync_id,
                **Urgency.CONFIRMATION.tags,
                **partition_tags(keys),
            },
        )
        for (stream, sync_id), wanted in together.items()
        for keys in plans[stream].in_turn(wanted, longest_waiting_first=True)
    ]


def confirmation_sensor(
    at: Placement = STANDALONE, *, limits: RangeLimits | None = None
) -> dg.SensorDefinition:
    """The sensor that requests confirming syncs.

    It has no cursor: the ledger holds the pending deletes and the times of confirming syncs.
    """

    @at.sensor(
        "confirmation_sensor",
        seconds=60,
        jobs=sync_jobs(at),
        description="Lists an integration again ELT_ASSETS_CONFIRM_AFTER a sync that left deletes "
        "waiting for a second complete listing, at most once in ELT_ASSETS_CONFIRM_EVERY.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        platform = at.platform(context)
        settings = platform.settings
        found = due(
            _pending(platform, at),
            datetime.now(UTC),
            settings.confirm_after,
            settings.confirm_every,
        )
        if not found:
            return dg.SkipReason("no pending delete is due for a second listing")
        keys = context.instance.get_dynamic_partitions(at.partitions)
        allowed = limits or RangeLimits.of(settings)
        plans = {
            name: RangePlan(keys, loads(platform, STREAMS[name]), allowed)
            for name in {one.stream for one in found}
        }
        return dg.SensorResult(run_requests=confirmation_requests(plans, found, at))

    return sensor


def _pending(platform: SyncService, at: Placement) -> list[PendingDeletes]:
    found = []
    for stream in at.streams:
        pending = pending_deletes(platform.database, stream)
        offering = {ref.partition_key for ref in platform.offering(stream)} if pending else set()
        found += [one for one in pending if one.partition in offering]
    return found
