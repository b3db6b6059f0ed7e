"""The results of the pipeline's steps, findings of checks, and progress, as values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from enum import StrEnum
from typing import Any

import msgspec


class EventSource(StrEnum):
    """Where events come from."""

    API = "api"
    CSV = "csv"


class ExtractionStatus(StrEnum):
    """How one integration's extraction of one day stands."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


class FileStatus(StrEnum):
    """What became of one export file.

    `unchanged` was loaded before and is as it was; `duplicate` has the content of another
    file that was loaded, wherever that lies.
    """

    LOADED = "loaded"
    UNCHANGED = "unchanged"
    DUPLICATE = "duplicate"
    FAILED = "failed"


class DayExtraction(msgspec.Struct, frozen=True):
    """One integration's events of one day, fetched or not; fetched = staged + rejected.

    `resumed_pages` were committed by an earlier attempt and not fetched again. `generation`
    counts the complete readings of the day that were begun, `attempt` the tries of this one.
    """

    partition: str
    day: date
    status: ExtractionStatus
    pages: int = 0
    fetched: int = 0
    staged: int = 0
    rejected: int = 0
    resumed_pages: int = 0
    generation: int = 1
    attempt: int = 1
    seconds: float = 0.0
    error: str | None = None
    retryable: bool = False


class FileLoad(msgspec.Struct, frozen=True):
    """One export file of one day; fetched = staged + rejected."""

    day: date
    file: str
    status: FileStatus
    size: int = 0
    fetched: int = 0
    staged: int = 0
    rejected: int = 0
    same_as: str | None = None
    seconds: float = 0.0
    error: str | None = None
    retryable: bool = False


class Normalized(msgspec.Struct, frozen=True):
    """One source's records of one day in the declared schema; read = normalized + rejected.

    `event_days` are the days on which those events happened; `late` counts those of days
    before `day`.
    """

    source: EventSource
    day: date
    schema: str
    read: int = 0
    normalized: int = 0
    rejected: int = 0
    late: int = 0
    event_days: tuple[date, ...] = ()


class Loaded(msgspec.Struct, frozen=True):
    """What loading one day changed in `signin_events`.

    `days` are the days of events that changed: usually the day itself, and every earlier one
    that late events reopened. `duplicates` are records of this day that did not win their
    key; `deleted` counts events that are marked as deleted now, `removed` those that no
    source has any more. `fingerprint` is that of the day's own events.
    """

    day: date
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    removed: int = 0
    unchanged: int = 0
    duplicates: int = 0
    days: tuple[date, ...] = ()
    fingerprint: str = ""


class Summarized(msgspec.Struct, frozen=True):
    """The summary of one day; `also` are later days whose new countries changed with it."""

    day: date
    organizations: int = 0
    events: int = 0
    failures: int = 0
    unknown_users: int = 0
    inactive_users: int = 0
    also: tuple[date, ...] = ()


class CheckResult(msgspec.Struct, frozen=True):
    """The result of a check: whether it passed, a message, and how many offend, with a sample."""

    check: str
    passed: bool
    message: str
    count: int = 0
    sample: tuple[dict[str, Any], ...] = ()


class DayStatus(msgspec.Struct, frozen=True):
    """One day as the warehouse knows it, for listings."""

    day: date
    extractions: int = 0
    failed_extractions: int = 0
    files: int = 0
    failed_files: int = 0
    fetched: int = 0
    rejected: int = 0
    events: int = 0
    deleted: int = 0
    summarized: bool = False
    errors: tuple[str, ...] = ()


class Arrival(msgspec.Struct, frozen=True):
    """A day's folder with files that stand still; `look` changes whenever one of them does."""

    day: date
    look: str
    files: tuple[str, ...]


class EventProgress(msgspec.Struct, frozen=True):
    """A sign of life of one long step: `what` is an integration or a file.

    `share` (0 to 1), and `seconds_left` with it, are None while the end is not known.
    """

    step: str
    what: str
    rows: int
    rate: float
    share: float | None = None
    seconds_left: float | None = None


EventListener = Callable[[EventProgress], None]


def unheard(_: EventProgress) -> None:
    """Ignore progress."""
