"""The one clock: times as the tables hold them.

Belongs here: now, as text. Does not: measuring durations.
"""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """The time in UTC, ISO 8601 with microseconds and Z; sorts as text."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
