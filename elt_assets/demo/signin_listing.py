"""The listing of sign-ins of a period in pages, and days that fail."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import msgspec

from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.page_query import page_limit
from elt_assets.demo.people import rfc3339
from elt_assets.demo.signins import Signin, SigninSource, recorded
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef

_LONGEST = timedelta(days=400)
_CACHED_DAYS = 256


class Outage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days of one integration whose sign-ins fail, each with its HTTP status.

    403 is permanent, 503 may be retried.
    """

    failing: dict[date, int] = {}

    def __post_init__(self) -> None:
        for day, status in self.failing.items():
            if not 400 <= status <= 599:
                raise ValueError(f"{day}: {status} is not the status of an error, use 400 to 599")


class SigninListing:
    """`?from=&to=&cursor=&limit=` → `{"data": {"items", "next", "total"}}`, by time of recording.

    `from` is inclusive, `to` is not. A cursor names the last sign-in of its page, so that later
    records do not move the others.
    """

    def __init__(self, layout: DemoLayout) -> None:
        self._layout = layout
        self._outages: dict[IntegrationRef, Outage] = {}
        # Cached, because one listing is read page by page.
        self._day = lru_cache(_CACHED_DAYS)(
            lambda ref, day: recorded(SigninSource.of(layout, ref), day)
        )

    def order(self, ref: IntegrationRef, outage: Outage) -> Outage:
        """Let only these days of `ref` fail."""
        self._outages[ref] = outage
        return outage

    def failure(self, ref: IntegrationRef, query: Mapping[str, str]) -> int | None:
        """The status of a failing request, if its range begins on a failing day."""
        outage = self._outages.get(ref)
        return None if outage is None else outage.failing.get(_moment(query, "from").date())

    def page(self, ref: IntegrationRef, query: Mapping[str, str]) -> object:
        """One page. Raises `NotFound` or `InvalidInput`."""
        begin, end = _moment(query, "from"), _moment(query, "to")
        if not timedelta(0) <= end - begin <= _LONGEST:
            raise InvalidInput(f"to must be 0 to {_LONGEST.days} days after from")
        limit = page_limit(query.get("limit"), self._layout.page_size)
        found = self._between(ref, begin, end)
        start = bisect_right(found, query.get("cursor", ""), key=_place)
        items = found[start : start + limit]
        following = _place(items[-1]) if start + limit < len(found) else None
        return {"data": {"items": items, "next": following, "total": len(found)}}

    def _between(self, ref: IntegrationRef, begin: datetime, end: datetime) -> list[Signin]:
        days = (end.date() - begin.date()).days + 1
        return [
            one
            for day in range(days)
            for one in self._day(ref, begin.date() + timedelta(days=day))
            if begin <= one.recorded_at < end
        ]


def _place(one: Signin) -> str:
    return f"{rfc3339(one.recorded_at)}~{one.id}"


def _moment(query: Mapping[str, str], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(query.get(name, ""))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput(f"{name} must be a time such as 2026-01-05T00:00:00Z")
    return moment.astimezone(UTC)
