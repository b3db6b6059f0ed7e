"""List the entries of one search, page by page, from the beginning or from a saved position.

A cookie of paged results is valid only on its connection. A listing that continues on another
connection therefore reads the entries before its position again and compares a digest of their
keys. If the digest differs, the position is not valid and the listing begins again.
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
    """A position in a listing: the pages and entries read so far, and a digest of their keys."""

    pages: int = 0
    entries: int = 0
    digest: str = ""
    after: str | None = None
    """The key of the last listed member, if the position is inside the next group."""
    elsewhere: str | None = None
    """A host that holds a part of the tree that was listed so far."""
    unread: int = 0
    """Number of members that could not be read so far."""
    deleted: bool = False
    """Whether the position is among deleted objects, which are read after the others."""
    mark: str | None = None
    """The domain controller's mark when the listing began."""

    def past(self, entries: int, digest: str) -> SearchPosition:
        """The position after `entries` entries with the digest `digest`."""
        return msgspec.structs.replace(self, entries=entries, digest=digest, after=None)


@dataclass(frozen=True, slots=True)
class Listed:
    """The entries of a page, the position after each of them, and the one after the page."""

    entries: Sequence[LdapEntry]
    places: Sequence[SearchPosition]
    behind: SearchPosition
    last: bool
    cut_short: str | None = None


def resumed(cursor: Cursor | None) -> SearchPosition:
    """The position in a cursor. Raises `PermanentError` for a cursor of another kind."""
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
    """The pages of `search` after `place`; there is at least one, and the last has `last` set.

    Raises `PositionRefused` if the entries before the position are no longer the same, and the
    errors of `LdapSession.search`.
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
            cut_short = "the directory ignored that its answer was requested in pages"
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
    """The reasons why a listing that ends at this position may be incomplete."""
    found = []
    if place.elsewhere is not None:
        found.append(
            f"a part of the searched tree is held by {place.elsewhere} and was not read; connect "
            "that server too, or set referrals: ignore if it holds none of these records"
        )
    if place.unread:
        found.append(f"{place.unread:,} members of groups could not be read")
    return tuple(found)


def _moved(place: SearchPosition) -> PositionRefused:
    return PositionRefused(
        f"the first {place.entries:,} entries of the directory are not the same as before the "
        "interruption; the listing begins again"
    )


def _chained(digest: str, key: str) -> str:
    return hashlib.blake2b(f"{digest}{key}".encode(), digest_size=12).hexdigest()
