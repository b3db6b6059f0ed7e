"""The feed sensor: delivers webhooks, keeps the feed within its size, observes `change_feed`.

`elt-assets serve-feed` delivers at once; where it does not run, this sensor delivers.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import dagster as dg
import msgspec

from elt_assets.feed.delivery import Deliverer
from elt_assets.feed.feed_retention import keep_to_room
from elt_assets.feed.status import FeedStatus, feed_status
from elt_assets.orchestration.assets.change_feed import observation
from elt_assets.orchestration.placement import STANDALONE, Placement

_SECONDS = 20.0
"""Seconds for delivery in one tick; Dagster ends a tick after a minute."""


def feed_sensor(at: Placement = STANDALONE) -> dg.SensorDefinition:
    """The sensor of the change feed.

    Its cursor records the last observation, so that an unchanged state is not observed again.
    """

    @at.sensor(
        "feed_sensor",
        seconds=30,
        description="Delivers due webhooks of the change feed, deletes the oldest entries beyond "
        "ELT_ASSETS_KEEP_FEED_MB, and reports how far consumers are behind when that has changed.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        platform = at.platform(context)
        taken = Deliverer(platform.database, platform.settings).deliver(seconds=_SECONDS)
        room = platform.settings.keep_feed_bytes
        status = feed_status(platform.database, room)
        if status.bytes > room:
            deleted = keep_to_room(platform.database, room)
            context.log.warning(f"{deleted:,} entries beyond ELT_ASSETS_KEEP_FEED_MB were deleted")  # noqa: G004
            status = feed_status(platform.database, room)
        seen = _seen(status)
        if seen == context.cursor:
            return dg.SkipReason(f"nothing new; the feed is at {status.position}")
        context.update_cursor(seen)
        context.log.info(f"{taken:,} entries delivered")  # noqa: G004
        return dg.SensorResult(asset_events=[observation(status, at)])

    return sensor


def _seen(status: FeedStatus) -> str:
    """Return the state whose change is worth an observation; passing time is not."""
    consumers = [(one.name, one.state, one.entries) for one in status.consumers]
    return msgspec.json.encode([status.position, consumers]).decode()
