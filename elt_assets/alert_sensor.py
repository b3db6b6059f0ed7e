"""The alert sensor: tells a person what newly waits for one, and when it is over.

Belongs here: remembering what was said. Does not: what there is to say, or saying it
(alerts).
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import dagster as dg
import msgspec

from elt_assets.alerts import Matter, grouped, open_matters, post
from elt_assets.errors import EltAssetsError
from elt_assets.sync.platform import Platform


def changes_since(said: list[Matter], open_now: list[Matter]) -> tuple[list[Matter], list[Matter]]:
    """What is newly open, and what was said and is over, as matters of kind 'recovered'."""
    said_keys = {matter.key for matter in said}
    open_keys = {matter.key for matter in open_now}
    new = [matter for matter in open_now if matter.key not in said_keys]
    over = [
        msgspec.structs.replace(matter, kind="recovered")
        for matter in said
        if matter.key not in open_keys
    ]
    return new, over


def alert_sensor() -> dg.SensorDefinition:
    """The sensor that alerts; it runs unless stopped in the UI.

    What was said is in its cursor, which outlives the daemon: nothing is said twice. When
    the receiver does not take a message, the tick fails and the next one says it again.
    """

    @dg.sensor(
        name="alert_sensor",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Posts quarantines and lasting failures, grouped by cause, to "
        "ELT_ASSETS_ALERT_WEBHOOK; without it they are in this sensor's ticks.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]
    ) -> dg.SkipReason:
        said = msgspec.json.decode(context.cursor or "[]", type=list[Matter])
        open_now = open_matters(platform.quarantined(), platform.newest_syncs())
        new, over = changes_since(said, open_now)
        if not new and not over:
            return dg.SkipReason(f"nothing new; {len(open_now)} open")
        alerts = grouped([*new, *over])
        url, secret = platform.settings.alert_webhook, platform.settings.alert_secret
        if url is not None:
            try:
                post(
                    url.get_secret_value(),
                    alerts,
                    None if secret is None else secret.get_secret_value(),
                )
            except EltAssetsError as error:
                raise dg.Failure(str(error)) from None
        context.update_cursor(msgspec.json.encode(open_now).decode())
        return dg.SkipReason("\n".join(alert.text for alert in alerts))

    return sensor
