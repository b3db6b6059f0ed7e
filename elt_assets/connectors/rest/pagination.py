"""How the next page is requested: one small pure object for each type of pagination.

Each object turns a position into a request and finds the next position in an answer. Whether the
listing continues is decided in `listing_course`; whether a link may be followed, in `http.origin`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol, TypeVar
from urllib.parse import quote, urljoin

from elt_assets.connectors.json.page_envelope import Envelope
from elt_assets.connectors.mapping.expression_parser import parse, parse_keys
from elt_assets.connectors.rest.configuration.pagination_data import (
    CursorPagination,
    KeysetPagination,
    LinkHeaderPagination,
    NextUrlPagination,
    NoPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
    ScimPagination,
)
from elt_assets.connectors.rest.listing_course import Continuation, Position
from elt_assets.connectors.source import KnownPage
from elt_assets.errors import PageUnreadable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """What the request for one page adds: parameters, or an address that replaces the listing's."""

    params: Mapping[str, str | int] = field(default_factory=dict)
    url: str | None = None

    @property
    def query(self) -> dict[str, str]:
        """The parameters with their values as text."""
        return {name: str(value) for name, value in self.params.items()}


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """The parts of an answer that may hold the next position."""

    what: str
    url: str
    headers: Mapping[str, str]
    envelope: Envelope
    asked: str | None = None
    known: KnownPage | None = None
    """The earlier page, if the answer is 304; it has the next position, the answer does not."""


class NextFrom(StrEnum):
    """The part of an answer that gives the next position."""

    PAGE = "page"  # an unchanged page leads to the same next page
    HEADERS = "headers"  # may differ although the page is unchanged
    COUNT = "count"  # the number of pages or records so far


class Paginator(Protocol):
    """One type of pagination."""

    @property
    def kind(self) -> Continuation:
        """What leads from one page to the next."""

    @property
    def start(self) -> int:
        """Number of the first page or record."""

    @property
    def cursor(self) -> tuple[str, ...] | None:
        """The keys of the next token or address in a page; None if it is not in the page."""

    @property
    def next_from(self) -> NextFrom:
        """The part of an answer that gives the next position."""

    def step(self, position: Position | None) -> Step:
        """The request for a position; None is the first page."""

    def led_to(self, answer: PageAnswer) -> str | int | None:
        """The token or the whole address of the next page, or None if the answer has none."""

    def otherwise(self) -> Paginator:
        """The same pagination with another page size, where requests have a page size."""


class _Fixed:
    """A pagination without a page size in its requests."""

    start: int = 0
    next_from = NextFrom.PAGE

    def otherwise(self: T) -> T:
        """Return the same pagination, as there is no page size to change."""
        return self


@dataclass(frozen=True)
class CursorPaginator(_Fixed):
    """A token in the page or in a header, sent back as a parameter."""

    cursor: tuple[str, ...] | None
    param: str
    header: str | None = None
    first: str | None = None
    stop: frozenset[str] = frozenset()
    kind: Continuation = Continuation.TOKEN

    @property
    def next_from(self) -> NextFrom:  # type: ignore[override]
        """The part of an answer that has the token."""
        return NextFrom.PAGE if self.header is None else NextFrom.HEADERS

    def step(self, position: Position | None) -> Step:
        value = self.first if position is None else position
        return Step() if value is None else Step({self.param: value})

    def led_to(self, answer: PageAnswer) -> str | int | None:
        """The token; None if it is absent or marks the end."""
        found: str | int | None = answer.envelope.cursor
        if self.header is not None:
            found = (answer.headers.get(self.header) or "").strip() or None
        return _token(found, self.stop)


@dataclass(frozen=True)
class NextUrlPaginator(_Fixed):
    """The next page's address in the page."""

    cursor: tuple[str, ...]
    kind: Continuation = Continuation.ADDRESS

    def step(self, position: Position | None) -> Step:
        return Step(url=None if position is None else str(position))

    def led_to(self, answer: PageAnswer) -> str | int | None:
        """The address, resolved against the address of the page."""
        found = _token(answer.envelope.cursor)
        if isinstance(found, int):
            raise PageUnreadable(f"{answer.what} gives a number for the next page's address")
        return None if found is None else _address(answer.url, found)


@dataclass(frozen=True)
class LinkHeaderPaginator(_Fixed):
    """The next page's address in the `Link` header."""

    cursor: tuple[str, ...] | None = None
    kind: Continuation = Continuation.ADDRESS
    next_from = NextFrom.HEADERS

    def step(self, position: Position | None) -> Step:
        return Step(url=None if position is None else str(position))

    def led_to(self, answer: PageAnswer) -> str | int | None:
        """The target of the first link whose relation is `next`."""
        try:
            target = next_link(answer.headers.get("link") or "")
        except ValueError as error:
            raise PageUnreadable(f"{answer.what} has a Link header with {error}") from None
        return None if target is None else _address(answer.url, target)


@dataclass(frozen=True)
class SinglePage(_Fixed):
    """All records in one answer."""

    cursor: tuple[str, ...] | None = None
    kind: Continuation = Continuation.SINGLE

    def step(self, position: Position | None) -> Step:
        """Return a step that adds nothing."""
        return Step()

    def led_to(self, answer: PageAnswer) -> str | int | None:
        """None: no page follows."""
        return None


@dataclass(frozen=True)
class CountingPaginator:
    """Sends the number of a page or of its first record, and the page size."""

    kind: Continuation
    param: str
    start: int
    size_param: str | None
    size: int
    cursor: tuple[str, ...] | None = None
    next_from = NextFrom.COUNT

    def step(self, position: Position | None) -> Step:
        """Request the page with this number, or the page that starts at this record."""
        params = {self.param: self.start if position is None else int(position)}
        if self.size_param is not None:
            params[self.size_param] = self.size
        return Step(params)

    def led_to(self, answer: PageAnswer) -> str | int | None:
        """None: `listing_course` calculates the next number."""
        return None

    def otherwise(self) -> CountingPaginator:
        """The same pagination with another page size."""
        return self if self.size_param is None else replace(self, size=another_size(self.size))


def another_size(size: int) -> int:
    """A page size near `size` whose pages seldom begin where pages of `size` begin."""
    if size < 3:
        return 3 - size
    smaller = range(size - size // 7 - 1, 0, -1)
    return next(other for other in smaller if math.gcd(other, size) == 1)


def _address(base: str, found: str) -> str:
    """A link as an absolute address, with invalid characters percent-encoded."""
    return urljoin(base, quote(found.strip(), safe=_ADDRESS_CHARACTERS))


_NO_TOKENS = frozenset({"", "0", "-1"})
"""Tokens by which providers say that there is no next page."""


def _token(found: str | int | None, stop: frozenset[str] = frozenset()) -> str | int | None:
    """The token; None if it marks the end."""
    return None if found is None or str(found).strip() in _NO_TOKENS | stop else found


_ADDRESS_CHARACTERS = "%:/?#[]@!$&'()*+,;=-._~"

_NAME = r"[\w!#$&+.^`|~*-]++"
_VALUE = r"""(?:"((?:[^"\\]|\\.)*+)"|'([^']*+)'|([^\s",;'][^\s",;]*+))"""
_PARAMETER = re.compile(rf"(?:\s*+;)++\s*+({_NAME})\s*+(?:=\s*+{_VALUE})?", re.ASCII)
_TARGET = re.compile(r"[\s,;]*+<([^>]*+)>")


def next_link(header: str) -> str | None:
    """The target of the link whose relation is `next` (RFC 8288), or None.

    Raises `ValueError` for a header that is not a list of links. If it contains the next link, the
    page must not pass for the last one.
    """
    position = 0
    while target := _TARGET.match(header, position):
        position = target.end()
        relation: str | None = None
        while parameter := _PARAMETER.match(header, position):
            position = parameter.end()
            if parameter[1].lower() == "rel" and relation is None:
                relation = parameter[2] or parameter[3] or parameter[4] or ""
        if relation is not None and "next" in relation.lower().split():
            return target[1].strip()
    if header[position:].strip(",; \t"):
        raise ValueError(f"unexpected text at position {position + 1}")
    return None


def paginator(pagination: Pagination, records: tuple[str, ...] = ()) -> Paginator:
    """The paginator that provider_data describes, for lists at `records` of a page."""
    match pagination:
        case KeysetPagination(param=param, value=value, size_param=size_param, size=size):
            # Imported here, because that module imports this one.
            from elt_assets.connectors.rest.keyset import KeysetPaginator

            key = parse(pagination.key)
            return KeysetPaginator(records, key, param, value, size_param, size)
        case CursorPagination(cursor=cursor, header=header, param=param, first=first, stop=stop):
            keys = None if cursor is None else parse_keys(cursor)
            return CursorPaginator(keys, param, header, first, frozenset(stop))
        case NextUrlPagination():
            return NextUrlPaginator(parse_keys(pagination.url))
        case LinkHeaderPagination():
            return LinkHeaderPaginator()
        case PagePagination(param=param, start=start, size_param=size_param, size=size):
            return CountingPaginator(Continuation.NUMBERED, param, start, size_param, size)
        case OffsetPagination(param=param, start=start, size_param=size_param, size=size):
            return CountingPaginator(Continuation.COUNTED, param, start, size_param, size)
        case ScimPagination(count=count):
            size_param = None if count is None else "count"
            return CountingPaginator(Continuation.COUNTED, "startIndex", 1, size_param, count or 1)
        case NoPagination():
            return SinglePage()
