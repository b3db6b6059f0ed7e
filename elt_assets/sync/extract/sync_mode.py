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
    """What to fetch; `since` (ISO 8601, UTC, or a source's mark) is set for an incremental
    extraction only.
    """

    mode: Mode = Mode.FULL
    since: str | None = None
    confirming: bool = False
    """Whether it lists in another way than the one before, of which it confirms the deletes."""


EVERYTHING = SyncMode()
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""Times before it stand for "never", and some cannot be counted back from."""


def choose_sync_mode(
    requested: Mode | None,
    incremental: Incremental | None,
    version: Version,
    now: str,
    configured_at: str = "",
) -> SyncMode:
    """What an extraction that begins `now` fetches.

    Everything, unless the provider can say what changed, everything has been read once and
    the time to read it again (`full_every`) has not come, nor was the integration configured
    again since (`configured_at`): what it lists would then not tell what is mapped otherwise
    now. A watermark that has not come yet is a provider's mistake: nothing says what was
    changed before it and not seen. Raises `PermanentError` when `requested` asks for what the
    integration is not configured for.
    """
    if incremental is None:
        if requested is Mode.INCREMENTAL:
            raise PermanentError(
                "an incremental sync was asked for and provider_data has no `incremental` for "
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
    """How far an extraction that `began` then has seen, its newest change being `newest`.

    Never later than its beginning: a time in the future would hide every change until then.
    """
    return None if newest is None else min(newest, began)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
