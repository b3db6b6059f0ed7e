"""Cut a snapshot into pages, by cursors or by numbers."""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from hmac import compare_digest

import msgspec

from elt_assets.demo.edits import Record
from elt_assets.demo.layout import LARGEST_PAGE
from elt_assets.demo.people import ACTIVE, SUSPENDED
from elt_assets.demo.world import Snapshot
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef

_STATUSES = {"all": None, ACTIVE: ACTIVE, SUSPENDED: SUSPENDED}
_CACHED_BYTES = 256 * 2**20
_NUMBER, _SEAL = 8, 8


class _Data(msgspec.Struct):
    items: list[Record]
    next: str | None
    total: int


class _Page(msgspec.Struct):
    data: _Data


class PageQuery:
    """`?cursor=&limit=&status=` → `{"data": {"items", "next", "total"}}`.

    A cursor holds the last number of its page, signed for its integration and filter: it stays
    valid through rounds, edits and restarts, and is refused elsewhere. With `?page=` (from 1) or
    `?offset=` (from 0) a page has no cursor.
    """

    def __init__(self, *, seed: int, page_size: int) -> None:
        self._key = blake2b(f"cursor\0{seed}".encode(), digest_size=32).digest()
        self._page_size = page_size
        self._encode = msgspec.json.Encoder().encode
        self._pages = PageCache(_CACHED_BYTES)

    def page(self, snapshot: Snapshot, query: Mapping[str, str]) -> bytes:
        """One page. Raises `InvalidInput` for a bad limit, status, cursor, page or offset."""
        ref = snapshot.people.ref
        limit = page_limit(query.get("limit"), self._page_size)
        status = _status(query.get("status", "all"))
        first = _first(query, limit)
        if first is not None:
            records, total = snapshot.counted_page(first, limit, status)
            return self._encode(_Page(_Data(records, None, total)))
        cursor = query.get("cursor")
        after = 0 if cursor is None else self._opened(cursor, ref, status)
        place = (ref, snapshot.version, after, limit, status)
        body = self._pages.get(place)
        if body is None:
            records, last, total = snapshot.page(after, limit, status)
            following = None if last is None else self._sealed(last, ref, status)
            body = self._encode(_Page(_Data(records, following, total)))
            self._pages.put(place, body)
        return body

    def _sealed(self, number: int, ref: IntegrationRef, status: str | None) -> str:
        plain = number.to_bytes(_NUMBER, "big")
        sealed = plain + self._seal(plain, ref, status)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def _opened(self, cursor: str, ref: IntegrationRef, status: str | None) -> int:
        try:
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), "-_", validate=True)
        except (binascii.Error, ValueError):
            sealed = b""
        plain, seal = sealed[:_NUMBER], sealed[_NUMBER:]
        if not compare_digest(seal, self._seal(plain, ref, status)):
            raise InvalidInput("the cursor is not of this listing")
        return int.from_bytes(plain, "big")

    def _seal(self, plain: bytes, ref: IntegrationRef, status: str | None) -> bytes:
        listing = f"\0{ref}\0{status}".encode()
        return blake2b(plain + listing, key=self._key, digest_size=_SEAL).digest()


class PageCache:
    """A cache of encoded pages, limited in bytes, that drops the least recently used."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._pages: OrderedDict[object, bytes] = OrderedDict()

    def get(self, place: object) -> bytes | None:
        """The cached page for `place`."""
        page = self._pages.get(place)
        if page is not None:
            self._pages.move_to_end(place)
        return page

    def put(self, place: object, page: bytes) -> None:
        """Cache `page`, and drop others if the cache is full."""
        self._pages[place] = page
        self._bytes += len(page)
        while self._bytes > self._most_bytes:
            _, gone = self._pages.popitem(last=False)
            self._bytes -= len(gone)


def page_limit(text: str | None, page_size: int) -> int:
    """The page size of the request, or else `page_size`. Raises `InvalidInput`."""
    if text is None:
        return page_size
    limit = _whole("limit", text)
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidInput(f"limit must be 1 to {LARGEST_PAGE}")
    return limit


def _first(query: Mapping[str, str], limit: int) -> int | None:
    """The place of the first record of a numbered page; None for a page with a cursor."""
    if "offset" in query:
        return _whole("offset", query["offset"])
    if "page" not in query:
        return None
    number = _whole("page", query["page"])
    if number == 0:
        raise InvalidInput("pages are numbered from 1")
    return (number - 1) * limit


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise InvalidInput(f"{name} must be a whole number")
    return int(text)


def _status(text: str) -> str | None:
    try:
        return _STATUSES[text]
    except KeyError:
        raise InvalidInput(f"status must be one of {', '.join(_STATUSES)}") from None
