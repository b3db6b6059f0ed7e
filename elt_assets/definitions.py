"""The Dagster definitions: assets, jobs, schedules, sensors and resources in one graph.

Importing this module touches no file, no network and no environment variable.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from elt_assets.config.settings import Settings, load_settings
from elt_assets.errors import InvalidInput
from elt_assets.orchestration.assets.change_feed import change_feed
from elt_assets.orchestration.assets.fleet_report import fleet_report
from elt_assets.orchestration.assets.signin.signin_assets import event_assets
from elt_assets.orchestration.assets.stream_assets import stream_assets
from elt_assets.orchestration.checks.signin_checks import event_checks
from elt_assets.orchestration.checks.sync_checks import (
    audit_specs,
    check_job,
    daily_checks,
    stream_checks,
)
from elt_assets.orchestration.day_partitions import event_days
from elt_assets.orchestration.instance.run_retention import OwnRuns
from elt_assets.orchestration.jobs.daily_schedule import daily_sync
from elt_assets.orchestration.jobs.decisions_job import decisions_job
from elt_assets.orchestration.jobs.maintenance_job import maintenance_job, weekly_maintenance
from elt_assets.orchestration.jobs.signin_jobs import daily_events, event_job, hourly_events
from elt_assets.orchestration.jobs.sync_jobs import sync_jobs
from elt_assets.orchestration.placement import OWNER, STANDALONE, Placement
from elt_assets.orchestration.resources import (
    NO_LISTENER,
    PlatformResource,
    RunListener,
    platform_resource,
)
from elt_assets.orchestration.sensors.alert_sensor import alert_sensor
from elt_assets.orchestration.sensors.confirmation_sensor import confirmation_sensor
from elt_assets.orchestration.sensors.drop_sensor import drop_sensor
from elt_assets.orchestration.sensors.feed_sensor import feed_sensor
from elt_assets.orchestration.sensors.recovery_sensor import recovery_sensor
from elt_assets.orchestration.sensors.registry_sensor import registry_sensor
from elt_assets.orchestration.sensors.report_sensor import report_job, report_sensor
from elt_assets.orchestration.sensors.signin_file_sensor import event_file_sensor
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import STREAMS, Stream


def build_defs(
    *,
    key_prefix: str | Sequence[str] = (),
    group: str | None = None,
    owners: Sequence[str] = (OWNER,),
    settings: Settings | None = None,
    retry_policy: dg.RetryPolicy | None = None,
    schedules: bool = True,
    sensors: bool = True,
    streams: Collection[str] = tuple(STREAMS),
    events: bool = True,
    start_automation: bool = False,
) -> dg.Definitions:
    """Return the definitions of one installation, to be merged with those of other projects.

    `key_prefix` begins every asset key and every name; two installations in one code location need
    different ones. `group`, `owners` and `retry_policy` apply to all assets and steps. Without
    `settings`, each run reads them from its environment. `streams` are the names of the streams to
    sync, `events` includes sign-in events. Schedules and sensors wait to be started, unless
    `start_automation` is set. Raises `InvalidInput` for an unknown stream or a wrong prefix.
    """
    placement = Placement(
        key_prefix=(key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix),
        group=group,
        owners=tuple(owners),
        retry_policy=retry_policy,
        start_automation=start_automation,
        streams=_declared(streams),
        events=events,
    )
    definitions = assembled(
        placement, platform_resource(settings), first=settings or load_settings()
    )
    return dg.Definitions(
        assets=definitions.assets,
        asset_checks=definitions.asset_checks,
        jobs=definitions.jobs,
        schedules=definitions.schedules if schedules else (),
        sensors=definitions.sensors if sensors else (),
        resources=definitions.resources,
    )


class Retries(dg.Model, dg.Resolvable):
    """The retry policy of every step: exponential waits from `delay` seconds, with jitter."""

    max_retries: int = Field(default=2, ge=0)
    delay: float = Field(default=1.0, ge=0)

    def policy(self) -> dg.RetryPolicy:
        return dg.RetryPolicy(
            max_retries=self.max_retries,
            delay=self.delay,
            backoff=dg.Backoff.EXPONENTIAL,
            jitter=dg.Jitter.PLUS_MINUS,
        )


class DirectorySync(dg.Component, dg.Model, dg.Resolvable):
    """Keeps a current copy of the users of connected directories, in assets by integration."""

    key_prefix: list[str] = Field(
        default=[],
        description="Parts that begin every asset key and every name; two installations in one "
        "project need different ones.",
        examples=[["directory"]],
    )
    group: str | None = Field(
        default=None, description="Group of every asset; a group for each stream if unset."
    )
    owners: list[str] = Field(default=[OWNER], description="Owners of every asset.")
    settings: dict[str, Any] = Field(
        default={},
        description="Settings of the installation by their names without ELT_ASSETS_; others come "
        "from the environment.",
        examples=[{"home": "/srv/elt_assets"}],
    )
    retry_policy: Retries | None = Field(
        default=None, description="Retries of every step; each step's own if unset."
    )
    streams: list[str] = Field(default=list(STREAMS), description="Names of the streams to sync.")
    events: bool = Field(default=True, description="Whether sign-in events are included.")
    schedules: bool = Field(default=True, description="Whether schedules are included.")
    sensors: bool = Field(default=True, description="Whether sensors are included.")
    start_automation: bool = Field(
        default=False, description="Whether schedules and sensors run without being started."
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        return build_defs(
            key_prefix=self.key_prefix,
            group=self.group,
            owners=self.owners,
            settings=load_settings(**self.settings),
            retry_policy=self.retry_policy.policy() if self.retry_policy else None,
            schedules=self.schedules,
            sensors=self.sensors,
            streams=self.streams,
            events=self.events,
            start_automation=self.start_automation,
        )


def assembled(
    at: Placement = STANDALONE,
    platform: SyncService | PlatformResource | None = None,
    *,
    listener: RunListener = NO_LISTENER,
    first: Settings | None = None,
) -> dg.Definitions:
    """Return the definitions of the installation at `at`.

    A run in the caller's own process may pass an open `platform` and a `listener`. `first` are the
    settings that define the first day of sign-in events.
    """
    days = event_days(first.events_start) if first else event_days()
    assets = [
        *(stream_assets(stream, at, listener) for stream in at.streams),
        *(event_assets(days, at) if at.events else ()),
        fleet_report(at),
        change_feed(at),
    ]
    maintenance = maintenance_job(_own_runs(assets, at), at)
    return dg.Definitions(
        assets=[*assets, *audit_specs(at)],
        asset_checks=[
            *(stream_checks(stream, at) for stream in at.streams),
            *([event_checks(at)] if at.events else ()),
        ],
        jobs=[
            *sync_jobs(at),
            *([event_job(at)] if at.events else ()),
            check_job(at),
            report_job(at),
            decisions_job(at),
            maintenance,
        ],
        schedules=[
            *(daily_sync(stream, at) for stream in at.streams),
            *([daily_events(at), hourly_events(at)] if at.events else ()),
            daily_checks(at),
            weekly_maintenance(maintenance, at),
        ],
        sensors=[
            registry_sensor(at),
            recovery_sensor(at),
            confirmation_sensor(at),
            alert_sensor(at),
            drop_sensor(at),
            *([event_file_sensor(at)] if at.events else ()),
            report_sensor(at),
            feed_sensor(at),
        ],
        resources={at.resource: platform or platform_resource()},
    )


def own_runs() -> OwnRuns:
    """The runs of the stand-alone installation, which commands maintain."""
    return _own_runs(
        one for one in assembled().assets or () if isinstance(one, dg.AssetsDefinition)
    )


def _own_runs(assets: Iterable[dg.AssetsDefinition], at: Placement = STANDALONE) -> OwnRuns:
    keys = {key for definition in assets for key in definition.keys}
    return OwnRuns(at.tags, frozenset(keys | {spec.key for spec in audit_specs(at)}))


def _declared(names: Collection[str]) -> tuple[Stream, ...]:
    """The streams of these names, in the order of their declaration."""
    unknown = [name for name in names if name not in STREAMS]
    if unknown or not names:
        raise InvalidInput(
            f"streams: {unknown[0]!r} is not a stream; give some of {', '.join(STREAMS)}"
            if unknown
            else f"streams is empty; give some of {', '.join(STREAMS)}"
        )
    return tuple(stream for name, stream in STREAMS.items() if name in names)


@dg.definitions
def defs() -> dg.Definitions:
    """Return what Dagster loads for the stand-alone workspace.

    Dagster calls this function, so that importing the module reads no setting. Only this code
    location is ours alone: here automation starts by itself, and runs of selected assets use our
    executor, too.
    """
    return dg.Definitions.merge(
        build_defs(start_automation=True), dg.Definitions(executor=dg.in_process_executor)
    )
