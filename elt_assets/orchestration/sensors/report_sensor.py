"""The report sensor: keeps the fleet report current while syncs settle.

It writes the report itself. A run would wait in the queue behind the very syncs that it is about.
A schedule would not do: the duration of the daily sync varies, and problems must show at once.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from datetime import UTC, datetime
from functools import cache

import dagster as dg
import msgspec

from elt_assets.orchestration.assets.fleet_report import FLEET_REPORT, contents, syncing
from elt_assets.orchestration.jobs.sync_jobs import Job
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.state.sync_history import News, news_since

LONGEST = 600.0
"""Seconds after which a report is renewed while syncs go on and none of them is in trouble."""


class Reported(msgspec.Struct, frozen=True):
    """The sensor's cursor: when it made the last report, the newest event of a sync that the
    report knows, and the newest one that an observation has counted.
    """

    at: float = 0.0
    newest: str = ""
    observed: str = ""


def is_due(news: News, syncing: int, age: float) -> bool:
    """Whether to renew a report of this `age` in seconds, while some runs are `syncing`."""
    if not (news.ended or news.decided):
        return False
    return bool(news.troubled or news.decided or not syncing or age >= LONGEST)


@cache
def report_job(at: Placement = STANDALONE) -> Job:
    """The job that renews the report."""
    return dg.define_asset_job(
        at.name("report"),
        selection=dg.AssetSelection.assets(at.key(FLEET_REPORT)),
        executor_def=dg.in_process_executor,
        tags=at.job_tags,
        description="Renews the fleet report.",
    )


def report_sensor(at: Placement = STANDALONE) -> dg.SensorDefinition:
    """The sensor that keeps the report current."""

    @at.sensor(
        "report_sensor",
        seconds=30,
        description="Renews fleet_report after a failure, a quarantine or a decision, when syncs "
        "have ended, and every ten minutes meanwhile; observes what has settled since.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        platform = at.platform(context)
        seen = _reported(context.cursor)
        news = news_since(platform.database, seen.newest)
        moment = datetime.now(UTC).timestamp()
        under_way = syncing(context.instance, at)
        if is_due(news, under_way, moment - seen.at):
            seen = Reported(moment, news.newest, news.newest)
            event: dg.AssetMaterialization | dg.AssetObservation = dg.AssetMaterialization(
                at.key(FLEET_REPORT), metadata=contents(platform, under_way)
            )
        elif news.newest > seen.observed:
            seen = msgspec.structs.replace(seen, observed=news.newest)
            event = settled_since(news, seen.at, under_way, at)
        else:
            return dg.SkipReason("nothing has settled since the last report or observation")
        context.update_cursor(msgspec.json.encode(seen).decode())
        return dg.SensorResult(asset_events=[event])

    return sensor


def settled_since(
    news: News, reported_at: float, syncing: int, at: Placement
) -> dg.AssetObservation:
    """What has settled since the last report, for a reader who looks at it meanwhile."""
    as_of = datetime.fromtimestamp(reported_at, UTC)
    return dg.AssetObservation(
        at.key(FLEET_REPORT),
        description=f"{news.ended:,} syncs have settled since the report of {as_of:%H:%M:%S} UTC, "
        f"none of them in trouble; runs under way: {syncing:,}",
        metadata={
            "report_as_of": dg.MetadataValue.timestamp(as_of),
            "settled_since": news.ended,
            "runs_under_way": syncing,
        },
    )


def _reported(cursor: str | None) -> Reported:
    """The cursor; a report is due if an earlier release wrote it."""
    try:
        return msgspec.json.decode(cursor or "{}", type=Reported)
    except msgspec.DecodeError:
        return Reported()
