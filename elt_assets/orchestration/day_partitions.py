"""Partitions by day, and the conversion between partition keys and dates."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from elt_assets.config.settings import Settings

FIRST_DAY: date = Settings.model_fields["events_start"].default


def event_days(start: date = FIRST_DAY) -> dg.DailyPartitionsDefinition:
    """Every day in UTC from `start` to today, inclusive."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=1)


def day_of(partition_key: str) -> date:
    """The day of a partition."""
    return date.fromisoformat(partition_key)


def has_day(days: dg.DailyPartitionsDefinition, day: date) -> bool:
    """Whether `day` is a partition; late events may be older than the first one."""
    return days.has_partition_key(day.isoformat())


def yesterday(now: datetime) -> date:
    """The newest day that has ended at `now`."""
    return now.astimezone(UTC).date() - timedelta(days=1)
