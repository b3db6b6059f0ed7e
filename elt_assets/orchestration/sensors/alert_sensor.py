"""The alert sensor: sends an alert when an issue opens and when it is resolved.

Its cursor records which issues were reported to which channel.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

import dagster as dg
import msgspec

from elt_assets.errors import EltAssetsError
from elt_assets.orchestration.alerts.channels import channels
from elt_assets.orchestration.alerts.feed_issues import feed_issues
from elt_assets.orchestration.alerts.issues import (
    Issue,
    changes_since,
    grouped,
    open_issues,
    reported_after,
)
from elt_assets.orchestration.alerts.signin_issues import signin_issues
from elt_assets.orchestration.placement import STANDALONE, Placement

TICKS = "ticks"
"""The channel that always exists: the message of the sensor's tick."""


def alert_sensor(at: Placement = STANDALONE) -> dg.SensorDefinition:
    """The sensor that sends alerts.

    The cursor outlives the daemon, so nothing is reported twice. A channel that rejects a message
    gets it again at the next tick; the other channels do not.
    """

    @at.sensor(
        "alert_sensor",
        seconds=60,
        description="Reports quarantines, lasting failures, stale integrations, failed days "
        "of sign-in events, failing consumers of the change feed, and their recovery, grouped by "
        "cause, to ELT_ASSETS_ALERT_WEBHOOK, _SLACK and _EMAIL_TO, or without any of them "
        "in this sensor's ticks.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        platform = at.platform(context)
        reported_to = _reported(context.cursor)
        reported_anywhere = (issue for issues in reported_to.values() for issue in issues)
        now = (
            open_issues(platform)
            + signin_issues(context.instance, reported_anywhere, at)
            + feed_issues(platform)
        )
        sent: dict[str, list[Issue]] = {}
        rejections: list[str] = []
        lines: list[str] = []
        configured = channels(platform.settings)
        for name, send in [(TICKS, None), *((one.name, one.send) for one in configured)]:
            reported = reported_to.get(name, [])
            new, resolved = changes_since(reported, now)
            alerts = grouped([*new, *resolved])
            if alerts and send is not None:
                try:
                    send(alerts)
                except EltAssetsError as error:
                    rejections.append(str(error))
                    sent[name] = reported
                    continue
            sent[name] = reported_after(reported, new, resolved)
            lines = lines or [alert.text for alert in alerts]
        if rejections and len(rejections) == len(configured):
            raise dg.Failure("; ".join(rejections))
        context.update_cursor(msgspec.json.encode(sent).decode())
        messages = [*lines, *(f"{rejection}; will be sent again" for rejection in rejections)]
        return dg.SkipReason("\n".join(messages) or f"nothing new; {len(now.open)} open")

    return sensor


def _reported(cursor: str | None) -> dict[str, list[Issue]]:
    """The reported issues by channel; none if an older release wrote the cursor."""
    try:
        return msgspec.json.decode(cursor or "{}", type=dict[str, list[Issue]])
    except msgspec.DecodeError:
        return {}
