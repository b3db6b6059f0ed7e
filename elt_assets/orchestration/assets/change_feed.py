"""The asset `change_feed`: where applied changes go after the latest tables.

Applies write the feed. `sensors.feed_sensor` observes the asset; materializing it by hand reports
the same.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from typing import Any

import dagster as dg

from elt_assets.feed.status import FeedStatus, feed_status
from elt_assets.orchestration.assets.table_specs import OWNER, asset_key
from elt_assets.sync.outcome import Stage
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import STREAMS

CHANGE_FEED = dg.AssetKey("change_feed")


@dg.multi_asset(
    name="change_feed",
    specs=[
        dg.AssetSpec(
            CHANGE_FEED,
            deps=[asset_key(stream, Stage.LATEST) for stream in STREAMS.values()],
            group_name="fleet",
            owners=[OWNER],
            kinds={"sqlite"},
            description="Every applied change, for applications, by pull and by webhook. The "
            "transaction that changes a latest table writes its entries; observations say how far "
            "consumers are behind.",
        )
    ],
    # As for `fleet_report`: a range of a table and what is downstream of it may be selected.
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def change_feed(platform: dg.ResourceParam[SyncService]) -> dg.MaterializeResult[None]:
    """Report how the feed and its consumers stand."""
    return dg.MaterializeResult(
        metadata=lags(feed_status(platform.database, platform.settings.keep_feed_bytes))
    )


def observation(status: FeedStatus) -> dg.AssetObservation:
    """How the feed and its consumers stand, between runs."""
    return dg.AssetObservation(CHANGE_FEED, metadata=lags(status))


def lags(status: FeedStatus) -> dict[str, Any]:
    """Metadata: names of consumers, no keys and no values."""
    failing = [one.name for one in status.consumers if not one.ok]
    return {
        "position": status.position,
        "entries_kept": status.entries,
        "megabytes_kept": round(status.bytes / 1e6, 1),
        "consumers": len(status.consumers),
        "entries_behind": max((one.entries for one in status.consumers), default=0),
        "seconds_behind": max((one.seconds for one in status.consumers), default=0.0),
        "consumers_that_need_a_person": ", ".join(failing) or "none",
    }
