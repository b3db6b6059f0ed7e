"""Listing the entries of one search, page by page, from the beginning or from a place in it.

A cookie of paged results belongs to its connection. A listing that goes on in another one reads
the entries before its place again and compares them, by a digest of their keys in order. Where
they are others, the place means nothing and the listing begins again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from elt_assets.connectors.ldap.codec import LdapEntry, Search
from elt_assets.connectors.ldap.session import LdapSession
from elt_assets.connectors.source import Cursor
from elt_assets.errors import PermanentError, PositionRefused


class SearchPosition(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a listing stands: pages asked for, entries behind it, and a digest of their keys."""

    pages: int = 0
    entries: int = 0
    digest: str = ""
    after: str | None = None
    """The last member that was listed of the group behind the place."""
    elsewhere: str | None = None
    """A host that holds a part of what was listed so far."""
    unread: int = 0
    """Members that could not be read so far."""
    deleted: bool = False
    """Whether it is a place among deleted objects, which are read behind the others."""
    mark: str | None = None
    """Where the domain controller's history stood when the listing began."""

    def past(self, entries: int, digest: str) -> SearchPosition:
        """The place behind an entry."""
        return msgspec.structs.replace(self, entries=entries, digest=digest, after=None)


@dataclass(frozen=True, slots=True)
class Listed:
    """Entries behind a place, the place behind each of them, and the one behind the page."""

    entries: Sequence[LdapEntry]
    places: Sequence[SearchPosition]
    behind: SearchPosition
    last: bool
    cut_short: str | None = None


def resumed(cursor: Cursor | None) -> SearchPosition:
    """The place that a cursor holds."""
    if cursor is None:
        return SearchPosition()
    try:
        return msgspec.convert(cursor, SearchPosition)
    except msgspec.ValidationError:
        raise PermanentError(
            "the saved position is not one of a directory; start a new sync"
        ) from None


def listed(
    session: LdapSession,
    search: Search,
    place: SearchPosition,
    *,
    key: Callable[[LdapEntry], str],
    most_pages: int,
    keep_elsewhere: bool,
) -> Iterator[Listed]:
    """The pages of `search` behind `place`, at least one, the last one marked as such.

    Raises `PositionRefused` where other entries stand before the place than did, and what
    `Session.search` raises.
    """
    at = SearchPosition(elsewhere=place.elsewhere, unread=place.unread, mark=place.mark)
    target, cookie = place, b""
    while True:
        answer = session.search(replace(search, cookie=cookie))
        places = []
        pages, elsewhere = at.pages + 1, at.elsewhere
        if keep_elsewhere and answer.references:
            elsewhere = answer.references[0]
        at = msgspec.structs.replace(at, pages=pages, elsewhere=elsewhere)
        for entry in answer.entries:
            at = at.past(at.entries + 1, _chained(at.digest, key(entry)))
            places.append(at)
            if at.entries == target.entries and at.digest != target.digest:
                raise _moved(target)
        fresh = max(0, len(places) - max(0, at.entries - target.entries))
        entries, cookie = answer.entries[fresh:], answer.cookie or b""
        cut_short = answer.cut_short
        if cut_short is None and answer.cookie is None:
            cut_short = "the directory took no notice that its answer was to be paged"
        if cut_short is None and cookie and at.pages >= most_pages:
            cut_short = f"page limit of {most_pages:,} reached"
        last = cut_short is not None or not cookie
        if last and at.entries < target.entries:
            raise _moved(target)
        if entries or last:
            yield Listed(entries, places[fresh:], at, last, cut_short)
        if last:
            return


def doubts(place: SearchPosition) -> tuple[str, ...]:
    """Why a listing that came to this place may lack something."""
    found = []
    if place.elsewhere is not None:
        found.append(
            f"a part of what was searched is held by {place.elsewhere} and was not read; connect "
            "that server too, or say referrals: ignore where it holds none of these records"
        )
    if place.unread:
        found.append(f"{place.unread:,} members of groups could not be read")
    return tuple(found)


def _moved(place: SearchPosition) -> PositionRefused:
    return PositionRefused(
        f"the directory lists other entries than before the interruption among the first "
        f"{place.entries:,}; the listing begins again"
    )


def _chained(digest: str, key: str) -> str:
    return hashlib.blake2b(f"{digest}{key}".encode(), digest_size=12).hexdigest()
