"""The results of the pipeline's steps, findings of checks, and progress, as data objects."""

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
    """The status of one integration's extraction of one day."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


class FileStatus(StrEnum):
    """The result of loading one export file.

    An `unchanged` file was loaded before and has not changed; a `duplicate` has the content of
    another file that was loaded, of any day.
    """

    LOADED = "loaded"
    UNCHANGED = "unchanged"
    DUPLICATE = "duplicate"
    FAILED = "failed"


class DayExtraction(msgspec.Struct, frozen=True):
    """One integration's extraction of one day, complete or not; fetched = staged + rejected.

    `resumed_pages` were committed by an earlier attempt and not fetched again. `generation`
    numbers the extractions of the day, `attempt` the attempts at this one.
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
    """The load of one export file of one day; fetched = staged + rejected."""

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
    """The normalization of one source's records of one day; read = normalized + rejected.

    `event_days` are the days on which those events happened; `late` counts the events of days
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

    `days` are the days of events that changed: usually the day itself, and each earlier day for
    which late events arrived. `duplicates` counts records of this day that lost to another record
    of the same event. `deleted` counts the day's events that are marked as deleted, `removed` those
    that no source has any more. `fingerprint` is that of the events that happened on the day.
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
    """The summary of one day; `also` are later days whose counts of new countries changed, too."""

    day: date
    organizations: int = 0
    events: int = 0
    failures: int = 0
    unknown_users: int = 0
    inactive_users: int = 0
    also: tuple[date, ...] = ()


class CheckResult(msgspec.Struct, frozen=True):
    """The result of a check: whether it passed, a message, and violations with a sample."""

    check: str
    passed: bool
    message: str
    count: int = 0
    sample: tuple[dict[str, Any], ...] = ()


class DayStatus(msgspec.Struct, frozen=True):
    """The status of one day in the warehouse, for listings."""

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
    """A day's folder whose files are no longer written; `look` changes when one of them does."""

    day: date
    look: str
    files: tuple[str, ...]


class EventProgress(msgspec.Struct, frozen=True):
    """A progress report of one long step; `what` is an integration, a file or a day.

    `share` (0 to 1) and `seconds_left` are None while the total is not known.
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
