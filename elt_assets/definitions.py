"""The Dagster definitions: assets, jobs, schedules, sensors and resources in one graph.

Importing this module touches no file, no network and no environment variable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

import dagster as dg

from elt_assets.config.settings import load_settings
from elt_assets.orchestration.assets.change_feed import change_feed
from elt_assets.orchestration.assets.fleet_report import fleet_report
from elt_assets.orchestration.assets.signin.signin_assets import event_assets
from elt_assets.orchestration.assets.stream_assets import TRANSIENT, stream_assets
from elt_assets.orchestration.checks.signin_checks import EVENT_AUDIT, event_checks
from elt_assets.orchestration.checks.sync_checks import (
    audit_spec,
    check_job,
    daily_checks,
    stream_checks,
)
from elt_assets.orchestration.day_partitions import FIRST_DAY, event_days
from elt_assets.orchestration.instance.run_retention import OwnRuns
from elt_assets.orchestration.jobs.daily_schedule import daily_sync
from elt_assets.orchestration.jobs.decisions_job import decisions_job
from elt_assets.orchestration.jobs.maintenance_job import maintenance_job, weekly_maintenance
from elt_assets.orchestration.jobs.signin_jobs import daily_events, event_job, hourly_events
from elt_assets.orchestration.jobs.sync_jobs import sync_jobs
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.orchestration.resources import (
    OperationalResource,
    RunListener,
    WarehouseResource,
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
from elt_assets.sync.streams import STREAMS


def build_defs(
    *,
    resources: Mapping[str, object] | None = None,
    retry_policy: dg.RetryPolicy = TRANSIENT,
    events_start: date = FIRST_DAY,
) -> dg.Definitions:
    """Everything Dagster knows of this project, with `resources` in the place of defaults."""
    assets = [
        *(stream_assets(stream, retry_policy=retry_policy) for stream in STREAMS.values()),
        *event_assets(event_days(events_start)),
        fleet_report,
        change_feed,
    ]
    maintenance = maintenance_job(_own_runs(assets))
    return dg.Definitions(
        assets=[*assets, *(audit_spec(stream) for stream in STREAMS.values()), EVENT_AUDIT],
        asset_checks=[*(stream_checks(stream) for stream in STREAMS.values()), event_checks()],
        jobs=[*sync_jobs.values(), event_job, check_job, report_job, decisions_job, maintenance],
        schedules=[
            *(daily_sync(stream) for stream in STREAMS.values()),
            daily_events(),
            hourly_events(),
            daily_checks(),
            weekly_maintenance(maintenance),
        ],
        sensors=[
            registry_sensor(),
            recovery_sensor(),
            confirmation_sensor(),
            alert_sensor(),
            drop_sensor(),
            event_file_sensor(),
            report_sensor(),
            feed_sensor(),
        ],
        resources={
            "warehouse": WarehouseResource(),
            "operational": OperationalResource(),
            "platform": platform_resource,
            "listener": RunListener(),
            **(resources or {}),
        },
        executor=dg.in_process_executor,
    )


def own_runs() -> OwnRuns:
    """The runs of the stand-alone installation, which commands maintain."""
    return _own_runs(
        definition
        for definition in build_defs().assets or ()
        if isinstance(definition, dg.AssetsDefinition)
    )


def _own_runs(assets: Iterable[dg.AssetsDefinition]) -> OwnRuns:
    keys = frozenset(key for definition in assets for key in definition.keys)
    return OwnRuns(STANDALONE.tags, keys)


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads: called by it, so that importing this module reads no setting."""
    return build_defs(events_start=load_settings().events_start)
