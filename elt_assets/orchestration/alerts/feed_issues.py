"""Open issues of the change feed: consumers that fail, have stopped or have lost entries."""

from __future__ import annotations

from elt_assets.errors.foreign_text import inert
from elt_assets.feed.status import Lag, feed_status
from elt_assets.orchestration.alerts.issues import Issue, OpenIssues
from elt_assets.sync.service import SyncService

_LONGEST = 300


def feed_issues(platform: SyncService) -> OpenIssues:
    """Return one issue for each consumer that needs a person."""
    consumers = feed_status(platform.database, platform.settings.keep_feed_bytes).consumers
    return OpenIssues([_issue(one) for one in consumers if not one.ok])


def cause(lag: Lag) -> str:
    """What is wrong with a consumer and what to do, in a line."""
    match lag.state:
        case "lost":
            return (
                "entries that it had not read were deleted: it needs a snapshot "
                "(ELT_ASSETS_KEEP_FEED_UNREAD_DAYS, ELT_ASSETS_KEEP_FEED_MB)"
            )
        case "losing":
            return (
                "its unread entries nearly fill ELT_ASSETS_KEEP_FEED_MB, and the oldest are "
                "deleted next: let it catch up, remove it, or raise that limit"
            )
        case "stopped":
            return (
                f"delivery to its webhook stopped ({inert(lag.error or 'no reason', _LONGEST)}): "
                f"run elt-assets feed retry {lag.name}, or feed skip {lag.name}"
            )
        case _:
            return f"its webhook fails ({inert(lag.error or 'no reason', _LONGEST)})"


def _issue(lag: Lag) -> Issue:
    return Issue(f"feed/{lag.name}", "feed", lag.name, cause(lag), of="consumer", state=lag.state)
