"""Request one page of a listing, and read its answer.

The order of requests is decided in `rest_source`, the end of a listing in `listing_course`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.http.http_client import (
    BadRequest,
    Client,
    Gone,
    NotThere,
    PositionExpired,
    Response,
)
from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.rest.listing_course import (
    Course,
    Facts,
    ListingCourse,
    ListingProgress,
    Meaning,
    Missing,
    Position,
    Refusal,
    Turn,
)
from elt_assets.connectors.rest.pages.listing_requests import ListingRequests, request_identity
from elt_assets.connectors.rest.pages.page_reader import PageReader
from elt_assets.connectors.rest.pagination import NextFrom, PageAnswer
from elt_assets.connectors.source import KnownPage, Page
from elt_assets.errors import PageUnreadable, PositionRefused, ProviderRefused

_SHOWN_KEY = 64


@dataclass(frozen=True)
class PageFetch:
    """Fetches the pages of one listing.

    `under` names the parent of the listing in errors. `secret_parameters` are the names of query
    parameters that carry credentials. `known` has earlier pages by the hash of their requests; they
    are requested conditionally, and all copies of this object share them.
    """

    requests: ListingRequests
    reader: PageReader
    client: Client
    secrets: Secrets
    secret_parameters: frozenset[str]
    under: str = ""
    known: dict[str, KnownPage] = field(default_factory=dict)

    def below(self, key: str, in_path: str) -> PageFetch:
        """The same for the list of the parent `key`, whose path step is `in_path`."""
        return replace(
            self, requests=self.requests.under(in_path), under=f" under {_shortened(key)!r}"
        )

    def answer(self, listing: ListingCourse, fetch: Callable[[], PageAnswer]) -> PageAnswer:
        """The answer for the listing's current page, or an empty one if its refusal is the end.

        Raises `PositionRefused` if the refusal means that the position has become invalid.
        """
        try:
            return fetch()
        except ProviderRefused as error:
            refusal = _refusal(error)
            meaning = Meaning.FAILURE if refusal is None else listing.meaning(refusal)
            if meaning is Meaning.POSITION_REFUSED:
                raise PositionRefused(str(error)) from None
            if meaning is Meaning.FAILURE:
                raise
        there = refusal is Refusal.BAD_REQUEST
        envelope = self.reader.nothing(Missing.REFUSED if there else Missing.NOT_THERE)
        return PageAnswer(self._name(listing.progress), self.requests.url, {}, envelope)

    def fetch(self, progress: ListingProgress, stop: threading.Event | None = None) -> PageAnswer:
        """The answer to the request for a page. Raises as `Source.pages` does."""
        what = self._name(progress)
        request = self.requests.at(what, progress.at)
        asked = request_identity(request)
        known = None if progress.again or request.posted else self.known.get(asked)
        # If a header gives the next page, an unchanged last page may have a successor by now. It
        # is then requested in full.
        from_headers = self.requests.paginator.next_from is NextFrom.HEADERS
        if known is not None and (known.next is not None or not from_headers):
            request = replace(request, etag=known.etag)

        def read(response: Response) -> PageAnswer:
            if self.requests.body is not None:
                self.requests.body.check(response.body, what)
            return self.reader.read(what, response, asked, known)

        return self.client.fetch(request, read, stop)

    def facts(self, answer: PageAnswer, page: int) -> Facts:
        """The facts of an answer from which the course of the listing follows."""
        envelope, known = answer.envelope, answer.known
        paging = self.requests.paginator
        if known is None or paging.next_from is NextFrom.COUNT:
            following = self._checked(page + 1, answer, paging.led_to(answer))
        else:
            following = None if known.next is None else known.next["at"]
        return Facts(
            envelope.count,
            following,
            self.reader.declared(answer),
            envelope.more,
            envelope.mark,
            envelope.missing,
        )

    def page(self, answer: PageAnswer, turn: Turn) -> Page:
        """The page that the engine gets for an answer."""
        is_posted = self.requests.body is not None
        return self.reader.page(answer, turn, self.requests.page_size, is_posted=is_posted)

    def matching(self, course: Course, params: Mapping[str, str]) -> list[Any] | None:
        """The records of the first page with these parameters; None if more may follow."""
        what = "a listing by filter"
        request = self.requests.matching(what, params)
        answer = self.client.fetch(request, lambda response: self.reader.read(what, response))
        envelope, total = answer.envelope, self.reader.declared(answer)
        if total is None:
            complete = ListingCourse(course).take(self.facts(answer, 1)).next is None
        else:
            complete = total == envelope.count
        if not complete:
            return None
        records = decode(envelope.body)
        for key in self.reader.records:
            records = records.get(key) or []
        return list(records)

    def _name(self, progress: ListingProgress) -> str:
        return f"page {progress.page:,}{self.under}"

    def _checked(
        self, page: int, answer: PageAnswer, following: Position | None
    ) -> Position | None:
        """The position of `page` that an answer gives.

        Raises `PageUnreadable` if the position must not be stored or followed.
        """
        if following is None:
            return None
        try:
            following = self.requests.storable(following, self.secret_parameters)
            if self.secrets.stands_in(json.dumps(following, ensure_ascii=False)):
                raise PageUnreadable(
                    f"{answer.what} repeats the integration's own credentials in the link or token "
                    "for the next page, which would be stored; ask the provider to leave them out"
                )
            # Checked before the page is delivered: no extraction can continue from a page whose
            # next link must not be followed.
            self.requests.at(f"page {page:,}{self.under}", following)
        except PageUnreadable as error:
            raise PageUnreadable(self.secrets.redact(str(error))) from None
        return following


def _refusal(error: ProviderRefused) -> Refusal | None:
    match error:
        case PositionExpired():
            return Refusal.EXPIRED
        case Gone():
            return Refusal.GONE
        case NotThere():
            return Refusal.NOT_THERE
        case BadRequest():
            return Refusal.BAD_REQUEST
    return None


def _shortened(key: str) -> str:
    return key if len(key) <= _SHOWN_KEY else key[: _SHOWN_KEY - 1] + "…"
