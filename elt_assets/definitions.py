"""The Dagster definitions: the only place that assembles the graph.

Belongs here: putting assets, jobs, schedules, sensors and resources together. Does not:
defining any of them, or doing anything: importing this module touches no file, no
network and no environment variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import dagster as dg

from elt_assets.alert_sensor import alert_sensor
from elt_assets.assets.events import event_assets
from elt_assets.assets.fleet_report import fleet_report
from elt_assets.assets.streams import TRANSIENT, stream_assets
from elt_assets.checks import check_job, daily_checks, stream_checks
from elt_assets.drop_sensor import drop_sensor
from elt_assets.event_checks import event_checks
from elt_assets.event_days import FIRST_DAY, event_days
from elt_assets.event_jobs import daily_events, event_job, hourly_events
from elt_assets.event_sensor import event_file_sensor
from elt_assets.jobs import sync_jobs
from elt_assets.maintenance_job import maintenance_job, weekly_maintenance
from elt_assets.recovery_sensor import recovery_sensor
from elt_assets.report_sensor import report_job, report_sensor
from elt_assets.resources import (
    OperationalResource,
    RunListener,
    WarehouseResource,
    platform_resource,
)
from elt_assets.schedules import daily_sync
from elt_assets.sensors import registry_sensor
from elt_assets.settings import load_settings
from elt_assets.sync.stream import STREAMS


def build_defs(
    *,
    resources: Mapping[str, object] | None = None,
    retry_policy: dg.RetryPolicy = TRANSIENT,
    events_start: date = FIRST_DAY,
) -> dg.Definitions:
    """Everything Dagster knows of this project, with `resources` in the place of defaults."""
    return dg.Definitions(
        assets=[
            *(stream_assets(stream, retry_policy=retry_policy) for stream in STREAMS.values()),
            *event_assets(event_days(events_start)),
            fleet_report,
        ],
        asset_checks=[*(stream_checks(stream) for stream in STREAMS.values()), event_checks()],
        jobs=[*sync_jobs.values(), event_job, check_job, report_job, maintenance_job],
        schedules=[
            *(daily_sync(stream) for stream in STREAMS.values()),
            daily_events(),
            hourly_events(),
            daily_checks(),
            weekly_maintenance(),
        ],
        sensors=[
            registry_sensor(),
            recovery_sensor(),
            alert_sensor(),
            drop_sensor(),
            event_file_sensor(),
            report_sensor(),
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


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads: called by it, so that importing this module reads no setting."""
    return build_defs(events_start=load_settings().events_start)
