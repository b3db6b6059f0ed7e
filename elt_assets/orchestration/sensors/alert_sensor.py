"""The alert sensor: tells a person what newly waits for one, and when it is over.

Belongs here: remembering what was said, and to whom. Does not: what there is to say (issues)
or saying it (channels).
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import dagster as dg
import msgspec

from elt_assets.errors import EltAssetsError
from elt_assets.orchestration.alerts.channels import channels
from elt_assets.orchestration.alerts.issues import (
    Matter,
    changes_since,
    grouped,
    open_matters,
    still_said,
)
from elt_assets.orchestration.alerts.signin_issues import event_matters
from elt_assets.sync.service import Platform

TICKS = "ticks"
"""The channel that is always there: what a tick of the sensor says of itself."""


def alert_sensor() -> dg.SensorDefinition:
    """The sensor that alerts; it runs unless stopped in the UI.

    What was said to whom is in its cursor, which outlives the daemon: nothing is said twice.
    A channel that does not take a message is told again at the next tick, it alone.
    """

    @dg.sensor(
        name="alert_sensor",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells of quarantines, lasting failures, integrations that fell behind, "
        "days of sign-in events that failed, and their recovery, grouped by cause: to "
        "ELT_ASSETS_ALERT_WEBHOOK, _SLACK and _EMAIL_TO; "
        "without any they are in this sensor's ticks.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]
    ) -> dg.SkipReason:
        said_to = _remembered(context.cursor)
        said_by_anyone = (matter for said in said_to.values() for matter in said)
        now = open_matters(platform) + event_matters(context.instance, said_by_anyone)
        told: dict[str, list[Matter]] = {}
        complaints: list[str] = []
        lines: list[str] = []
        configured = channels(platform.settings)
        for name, send in [(TICKS, None), *((one.name, one.send) for one in configured)]:
            said = said_to.get(name, [])
            new, over = changes_since(said, now)
            alerts = grouped([*new, *over])
            if alerts and send is not None:
                try:
                    send(alerts)
                except EltAssetsError as error:
                    complaints.append(str(error))
                    told[name] = said
                    continue
            told[name] = still_said(said, new, over)
            lines = lines or [alert.text for alert in alerts]
        if complaints and len(complaints) == len(configured):
            raise dg.Failure("; ".join(complaints))
        context.update_cursor(msgspec.json.encode(told).decode())
        said_now = [*lines, *(f"{complaint}; tried again" for complaint in complaints)]
        return dg.SkipReason("\n".join(said_now) or f"nothing new; {len(now.open)} open")

    return sensor


def _remembered(cursor: str | None) -> dict[str, list[Matter]]:
    """What was said, by channel. What cannot be read was said by an older release: once more."""
    try:
        return msgspec.json.decode(cursor or "{}", type=dict[str, list[Matter]])
    except msgspec.DecodeError:
        return {}
