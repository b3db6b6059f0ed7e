"""The clock: the time now as the tables hold it, and how long ago such a time is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def now() -> str:
    """The time in UTC, ISO 8601 with microseconds and Z; sorts as text."""
    return _text(datetime.now(UTC))


def text(moment: datetime) -> str:
    """`moment` in the form of `now`."""
    return _text(moment.astimezone(UTC))


def ago(span: timedelta) -> str:
    """The time `span` before now, in the form of `now`."""
    return _text(datetime.now(UTC) - span)


def seconds_since(moment: str) -> float:
    """Seconds from `moment`, in the form of `now`, until now."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
