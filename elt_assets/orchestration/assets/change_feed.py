"""The asset `change_feed`: where applied changes go after the latest tables.

Applies write the feed. `sensors.feed_sensor` observes the asset; materializing it by hand reports
the same.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from typing import Any

import dagster as dg

from elt_assets.feed.status import FeedStatus, feed_status
from elt_assets.orchestration.assets.step_retries import REPORT_RETRIES, ended_by_interruption
from elt_assets.orchestration.placement import STANDALONE, Placement

CHANGE_FEED = "change_feed"


def change_feed(at: Placement = STANDALONE) -> dg.AssetsDefinition:
    """The asset `change_feed`, downstream of the latest tables of all streams."""

    @dg.multi_asset(
        name=at.step("change_feed"),
        specs=[
            dg.AssetSpec(
                at.key(CHANGE_FEED),
                deps=at.latest_tables(),
                group_name=at.group_or("fleet"),
                owners=list(at.owners),
                kinds={"sqlite"},
                description="Every applied change, for applications, by pull and by webhook. The "
                "transaction that changes a latest table writes its entries; observations say how "
                "far consumers are behind.",
            )
        ],
        # As for `fleet_report`: a run of a range of partitions may select this asset, too.
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=at.retries_or(REPORT_RETRIES),
        required_resource_keys=at.required,
    )
    def report(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        """Report the state of the feed and its consumers."""
        with ended_by_interruption(context):
            platform = at.platform(context)
            status = feed_status(platform.database, platform.settings.keep_feed_bytes)
        return dg.MaterializeResult(metadata=lags(status))

    return report


def observation(status: FeedStatus, at: Placement = STANDALONE) -> dg.AssetObservation:
    """The state of the feed and its consumers as an observation, for reports between runs."""
    return dg.AssetObservation(at.key(CHANGE_FEED), metadata=lags(status))


def lags(status: FeedStatus) -> dict[str, Any]:
    """Metadata of the feed: names of consumers, but no keys and no values of entries."""
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
