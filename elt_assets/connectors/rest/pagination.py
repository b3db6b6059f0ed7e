"""How the next page is asked for: one small pure object for each type of pagination.

Belongs here: turning a position into a request, and an answer into the next position. A
position is a JSON value that is enough on its own, so that every type resumes. Does not:
sending, checking where a link leads (origin), or noticing circles (rest).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import urljoin

from elt_assets.connectors.json.page_envelope import Envelope
from elt_assets.connectors.mapping.expressions import parse_keys
from elt_assets.connectors.rest.provider_data import (
    CursorPagination,
    LinkHeaderPagination,
    NextUrlPagination,
    NoPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
    ScimPagination,
)
from elt_assets.connectors.source import KnownPage
from elt_assets.errors import PageUnreadable

Position = Any
"""A JSON value: a token, an address, a record's number, or {"number", "seen"} of a page."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one page's request adds: parameters, or a whole address that replaces it."""

    params: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer offers to find the next position in."""

    what: str
    url: str
    headers: Mapping[str, str]
    envelope: Envelope
    asked: str | None = None
    known: KnownPage | None = None
    """The page it still is: there is nothing to find the next position in, it knows that."""


class NextFrom(StrEnum):
    """What leads to the next page."""

    PAGE = "page"  # a page that is the same leads to the same one
    HEADERS = "headers"  # which may differ although the page is the same
    COUNT = "count"  # of the records before it


class Paginator(Protocol):
    """One type of pagination."""

    @property
    def cursor(self) -> tuple[str, ...] | None:
        """Where a page holds what leads to the next, if it does."""

    @property
    def pages_can_shift(self) -> bool:
        """Whether who joins or leaves meanwhile moves others from one page to another."""

    def step(self, position: Position | None) -> Step:
        """The request for a position; None is the first page."""

    def following(self, position: Position | None, answer: Answer) -> Position | None:
        """The position after the answer to `position`; None when it was the last."""

    @property
    def next_from(self) -> NextFrom:
        """What says where the next page is."""

    def ahead(self, position: Position, answer: Answer) -> Position | None:
        """Where the page after the one at `position` starts, told before that is fetched.

        `answer` is the newest page there is. None when it cannot be told.
        """

    def fits(self, position: Position) -> bool:
        """Whether a saved position is one of this type."""


class _OneByOne:
    """A page is known only from the one before it."""

    pages_can_shift: bool = False
    next_from = NextFrom.PAGE

    def ahead(self, position: Position, answer: Answer) -> Position | None:
        """Nobody can tell."""
        return None

    def fits(self, position: Position) -> bool:
        """A token or an address."""
        return isinstance(position, (str, int)) and not isinstance(position, bool)


@dataclass(frozen=True)
class CursorPaginator(_OneByOne):
    """A token in the page or in a header, sent back as a parameter."""

    cursor: tuple[str, ...] | None
    param: str
    header: str | None = None
    first: str | None = None

    @property
    def next_from(self) -> NextFrom:  # type: ignore[override]
        """Where the token is."""
        return NextFrom.PAGE if self.header is None else NextFrom.HEADERS

    def step(self, position: Position | None) -> Step:
        """Send the token."""
        value = self.first if position is None else str(position)
        return Step() if value is None else Step({self.param: value})

    def following(self, position: Position | None, answer: Answer) -> Position | None:
        """The token of the page."""
        if self.header is not None:
            return (answer.headers.get(self.header) or "").strip() or None
        return answer.envelope.cursor


@dataclass(frozen=True)
class NextUrlPaginator(_OneByOne):
    """The next page's address in the page."""

    cursor: tuple[str, ...]
    pages_can_shift: bool = False

    def step(self, position: Position | None) -> Step:
        """Follow the address."""
        return Step(url=None if position is None else str(position))

    def following(self, position: Position | None, answer: Answer) -> Position | None:
        """The address, resolved against the page that gave it."""
        found = answer.envelope.cursor
        if isinstance(found, int):
            raise PageUnreadable(f"{answer.what} gives a number for the next page's address")
        return None if found is None else urljoin(answer.url, found)


@dataclass(frozen=True)
class LinkHeaderPaginator(_OneByOne):
    """The next page's address in the `Link` header."""

    cursor: tuple[str, ...] | None = None
    pages_can_shift: bool = False
    next_from = NextFrom.HEADERS

    def step(self, position: Position | None) -> Step:
        """Follow the address."""
        return Step(url=None if position is None else str(position))

    def following(self, position: Position | None, answer: Answer) -> Position | None:
        """The target of the first link whose relation is `next`."""
        try:
            target = next_link(answer.headers.get("link") or "")
        except ValueError as error:
            raise PageUnreadable(f"{answer.what} has a Link header with {error}") from None
        return None if target is None else urljoin(answer.url, target)


@dataclass(frozen=True)
class SinglePage(_OneByOne):
    """Everything in one answer."""

    cursor: tuple[str, ...] | None = None

    def step(self, position: Position | None) -> Step:
        """Nothing to add."""
        return Step()

    def following(self, position: Position | None, answer: Answer) -> Position | None:
        """Nothing follows."""
        return None


@dataclass(frozen=True)
class PagePaginator:
    """A page's number. A short page is not the end: a provider may ignore the size asked for."""

    param: str
    start: int
    size_param: str | None
    size: int
    cursor: tuple[str, ...] | None = None
    pages_can_shift: bool = True
    next_from = NextFrom.COUNT

    def step(self, position: Position | None) -> Step:
        """Ask for the page of that number."""
        number = self.start if position is None else position["number"]
        params = {self.param: str(number)}
        if self.size_param is not None:
            params[self.size_param] = str(self.size)
        return Step(params)

    def following(self, position: Position | None, answer: Answer) -> Position | None:
        """The next number, until the declared total is reached or a page is empty."""
        envelope = answer.envelope
        if envelope.count == 0:
            return None
        number, seen = (self.start, 0) if position is None else position.values()
        return self._unless_done(number + 1, seen + envelope.count, envelope.total)

    def ahead(self, position: Position, answer: Answer) -> Position | None:
        """The number after it."""
        seen = position["seen"] + answer.envelope.count
        return self._unless_done(position["number"] + 1, seen, answer.envelope.total)

    def fits(self, position: Position) -> bool:
        """A number, and how many records came before it."""
        match position:
            case {"number": int(), "seen": int()} if len(position) == 2:
                return True
        return False

    def _unless_done(self, number: int, seen: int, total: int | None) -> Position | None:
        return None if total is not None and seen >= total else {"number": number, "seen": seen}


@dataclass(frozen=True)
class OffsetPaginator:
    """The number of a page's first record; the next page starts where this one really ended."""

    param: str
    start: int
    size_param: str
    size: int
    cursor: tuple[str, ...] | None = None
    pages_can_shift: bool = True
    next_from = NextFrom.COUNT

    def step(self, position: Position | None) -> Step:
        """Ask for the records from that number on."""
        offset = self.start if position is None else position
        return Step({self.param: str(offset), self.size_param: str(self.size)})

    def following(self, position: Position | None, answer: Answer) -> Position | None:
        """The record after the page's last, until the total is reached or a page is empty."""
        if answer.envelope.count == 0:
            return None
        return self._after(self.start if position is None else position, answer)

    def ahead(self, position: Position, answer: Answer) -> Position | None:
        """A page further, as long as pages are."""
        return self._after(position, answer) if answer.envelope.count else None

    def fits(self, position: Position) -> bool:
        """A number that is not before the first."""
        return type(position) is int and position > self.start

    def _after(self, offset: int, answer: Answer) -> Position | None:
        following, total = offset + answer.envelope.count, answer.envelope.total
        return None if total is not None and following - self.start >= total else following


_NAME = r"[\w!#$&+.^`|~*-]++"
_VALUE = r"""(?:"((?:[^"\\]|\\.)*+)"|([^\s",;]++))"""
_PARAMETER = re.compile(rf"\s*+;\s*+({_NAME})\s*+(?:=\s*+{_VALUE})?", re.ASCII)
_TARGET = re.compile(r"[\s,]*+<([^>]*+)>")


def next_link(header: str) -> str | None:
    """The target of the link whose relation is `next` (RFC 8288), or None.

    Raises `ValueError` for a header that is not a list of links: one that hides its next
    link must not pass for the last page.
    """
    position = 0
    while target := _TARGET.match(header, position):
        position = target.end()
        relation: str | None = None
        while parameter := _PARAMETER.match(header, position):
            position = parameter.end()
            if parameter[1].lower() == "rel" and relation is None:
                relation = parameter[2] or parameter[3] or ""
        if relation is not None and "next" in relation.lower().split():
            return target[1].strip()
    if header[position:].strip(", \t"):
        raise ValueError(f"unexpected text at position {position + 1}")
    return None


def paginator(pagination: Pagination) -> Paginator:
    """The paginator that provider_data describes."""
    match pagination:
        case CursorPagination(cursor=cursor, header=header, param=param, first=first):
            keys = None if cursor is None else parse_keys(cursor)
            return CursorPaginator(keys, param, header, first)
        case NextUrlPagination():
            return NextUrlPaginator(parse_keys(pagination.url), pagination.counted)
        case LinkHeaderPagination(counted=counted):
            return LinkHeaderPaginator(pages_can_shift=counted)
        case PagePagination(param=param, start=start, size_param=size_param, size=size):
            return PagePaginator(param, start, size_param, size)
        case OffsetPagination(param=param, start=start, size_param=size_param, size=size):
            return OffsetPaginator(param, start, size_param, size)
        case ScimPagination(count=count):
            return OffsetPaginator("startIndex", 1, "count", count)
        case NoPagination():
            return SinglePage()
