"""The file sensor of sign-in events: loads a day again when files in its folder arrive or change.

A file in the folder of a closed day reopens that day. Late events in it also reopen their days.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Iterable, Mapping
from datetime import date

import dagster as dg
import msgspec

from elt_assets.orchestration.assets.signin.signin_specs import CSV_EVENTS, following
from elt_assets.orchestration.day_partitions import event_days, has_day
from elt_assets.orchestration.jobs.signin_jobs import event_job
from elt_assets.orchestration.jobs.sync_jobs import Urgency
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.signin_events.pipeline import EventPipeline
from elt_assets.signin_events.results import Arrival

DAYS_A_TICK = 20
"""Most days that one tick requests: a new folder may hold years of them."""


def news(
    arrivals: Iterable[Arrival], seen: Mapping[date, str], at_most: int = DAYS_A_TICK
) -> list[Arrival]:
    """The days whose files have changed since they were seen, oldest first."""
    changed = [one for one in arrivals if seen.get(one.day) != one.look]
    return sorted(changed, key=lambda one: one.day)[:at_most]


def event_file_sensor(at: Placement = STANDALONE) -> dg.SensorDefinition:
    """The sensor that watches the folders of the days.

    A quiet tick costs one listing of each folder. The APIs of a day are not read again.
    """

    of_files = [at.key(asset.name) for asset in (CSV_EVENTS, *following(CSV_EVENTS.name))]

    @at.sensor(
        "event_file_sensor",
        seconds=30,
        job=event_job(at),
        description="Loads the days whose files of sign-in events arrived or changed, once the "
        "files are complete.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        platform = at.platform(context)
        days = event_days(platform.settings.events_start)
        seen = remembered(context.cursor)
        with EventPipeline(platform) as events:
            arrivals = [one for one in events.arrivals() if has_day(days, one.day)]
        new = news(arrivals, seen)
        if not new:
            return dg.SkipReason("no day has new complete files")
        there = {one.day for one in arrivals}
        after = {day: look for day, look in seen.items() if day in there}
        after |= {one.day: one.look for one in new}
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=f"files-{one.day}/{one.look}",
                    partition_key=one.day.isoformat(),
                    asset_selection=of_files,
                    tags=Urgency.NIGHTLY.tags,
                )
                for one in new
            ],
            cursor=msgspec.json.encode(dict(sorted(after.items()))).decode(),
        )

    return sensor


def remembered(cursor: str | None) -> Mapping[date, str]:
    """The content of the sensor's cursor."""
    return msgspec.json.decode(cursor, type=dict[date, str]) if cursor else {}
