"""The sync mode: extract everything, or only what changed since the last sync."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from elt_assets.connectors.source import Incremental
from elt_assets.errors import PermanentError
from elt_assets.sync.outcome import Mode
from elt_assets.sync.state.versions import Version


@dataclass(frozen=True, slots=True)
class SyncMode:
    """What to fetch; `since` is set only for an incremental extraction.

    It is a time (ISO 8601, UTC) or a source's mark.
    """

    mode: Mode = Mode.FULL
    since: str | None = None
    confirming: bool = False
    """Whether to use another page size or order, to confirm deletes of the previous extraction."""


EVERYTHING = SyncMode()
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Earlier times stand for "never", and subtracting the overlap from some would overflow."""


def choose_sync_mode(
    requested: Mode | None,
    incremental: Incremental | None,
    version: Version,
    now: str,
    configured_at: str = "",
) -> SyncMode:
    """Choose what an extraction that begins `now` fetches.

    It fetches only changes if the provider can list them, everything has been read once, that was
    less than `full_every` ago, and the integration has not been reconfigured since
    (`configured_at`): a listing of changes would lack the records that the new configuration maps
    differently. It fetches everything if the watermark lies in the future, which is a provider's
    mistake: changes before that time may not have been seen. Raises `PermanentError` when
    `requested` is incremental and the integration is not configured for that.
    """
    if incremental is None:
        if requested is Mode.INCREMENTAL:
            raise PermanentError(
                "an incremental sync was requested, but provider_data has no `incremental` for "
                "this stream; add it, or sync without --incremental"
            )
        return EVERYTHING
    begins = version.mark if incremental.by_mark else version.watermark
    if requested is Mode.FULL or begins is None or version.full_at is None:
        return EVERYTHING
    if version.full_at <= configured_at or (begins > now and not incremental.by_mark):
        return EVERYTHING
    due = _time(version.full_at) + incremental.full_every <= _time(now)
    if due and requested is None:
        return EVERYTHING
    if incremental.by_mark:
        return SyncMode(Mode.INCREMENTAL, begins)
    since = max(_time(begins), _EARLIEST + incremental.overlap) - incremental.overlap
    return SyncMode(Mode.INCREMENTAL, since.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def watermark(newest: str | None, began: str) -> str | None:
    """The watermark of an extraction that began at `began` and whose newest change is `newest`.

    It is never later than `began`: a time in the future would hide every change until then.
    """
    return None if newest is None else min(newest, began)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
