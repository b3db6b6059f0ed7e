"""How the next page is asked for: one small pure object for each type of pagination.

Belongs here: turning a position into a request, and an answer into the next position. A
position is a JSON value that is enough on its own, so that every type resumes. Does not:
sending, checking where a link leads (origin), or noticing circles (rest).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urljoin

from elt_assets.connectors.envelope import Envelope
from elt_assets.connectors.expressions import parse_keys
from elt_assets.connectors.provider_data import (
    CursorPagination,
    LinkHeaderPagination,
    NextUrlPagination,
    NoPagination,
    Pagination,
)
from elt_assets.errors import PageUnreadable

Position = str | int


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


class Paginator(Protocol):
    """One type of pagination."""

    @property
    def cursor(self) -> tuple[str, ...] | None:
        """Where a page holds what leads to the next, if it does."""

    def step(self, position: Position | None) -> Step:
        """The request for a position; None is the first page."""

    def following(self, answer: Answer) -> Position | None:
        """The position after an answer; None when it was the last."""


@dataclass(frozen=True, slots=True)
class CursorPaginator:
    """A token in the page, sent back as a parameter."""

    cursor: tuple[str, ...]
    param: str

    def step(self, position: Position | None) -> Step:
        """Send the token."""
        return Step() if position is None else Step({self.param: str(position)})

    def following(self, answer: Answer) -> Position | None:
        """The token of the page."""
        return answer.envelope.cursor


@dataclass(frozen=True, slots=True)
class NextUrlPaginator:
    """The next page's address in the page."""

    cursor: tuple[str, ...]

    def step(self, position: Position | None) -> Step:
        """Follow the address."""
        return Step(url=None if position is None else str(position))

    def following(self, answer: Answer) -> Position | None:
        """The address, resolved against the page that gave it."""
        found = answer.envelope.cursor
        if isinstance(found, int):
            raise PageUnreadable(f"{answer.what} gives a number for the next page's address")
        return None if found is None else urljoin(answer.url, found)


@dataclass(frozen=True, slots=True)
class LinkHeaderPaginator:
    """The next page's address in the `Link` header."""

    cursor: tuple[str, ...] | None = None

    def step(self, position: Position | None) -> Step:
        """Follow the address."""
        return Step(url=None if position is None else str(position))

    def following(self, answer: Answer) -> Position | None:
        """The target of the first link whose relation is `next`."""
        try:
            target = next_link(answer.headers.get("link") or "")
        except ValueError as error:
            raise PageUnreadable(f"{answer.what} has a Link header with {error}") from None
        return None if target is None else urljoin(answer.url, target)


@dataclass(frozen=True, slots=True)
class SinglePage:
    """Everything in one answer."""

    cursor: tuple[str, ...] | None = None

    def step(self, position: Position | None) -> Step:
        """Nothing to add."""
        return Step()

    def following(self, answer: Answer) -> Position | None:
        """Nothing follows."""
        return None


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
        case CursorPagination():
            return CursorPaginator(parse_keys(pagination.cursor), pagination.param)
        case NextUrlPagination():
            return NextUrlPaginator(parse_keys(pagination.url))
        case LinkHeaderPagination():
            return LinkHeaderPaginator()
        case NoPagination():
            return SinglePage()
