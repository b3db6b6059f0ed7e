"""One page of a listing: ask for it, and read what its answer says.

In which order pages are asked for is `rest_source`'s, when a listing ends `listing_course`'s.
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
    """What the pages of one listing are asked for with, and what is known of them.

    `under` names the parent of the listing in errors. `secret_parameters` are the names of query
    parameters that carry credentials. `known` are pages by what they were asked with, which need
    not be sent again; every copy shares them.
    """

    requests: ListingRequests
    reader: PageReader
    client: Client
    secrets: Secrets
    secret_parameters: frozenset[str]
    under: str = ""
    known: dict[str, KnownPage] = field(default_factory=dict)

    def below(self, key: str, in_path: str) -> PageFetch:
        """The same for the list of one parent."""
        return replace(
            self, requests=self.requests.under(in_path), under=f" under {_shortened(key)!r}"
        )

    def answer(self, listing: ListingCourse, fetch: Callable[[], PageAnswer]) -> PageAnswer:
        """The answer to the page at hand, or what its refusal comes to."""
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
        # Where headers lead on, the last page may have a successor and be the same.
        from_headers = self.requests.paginator.next_from is NextFrom.HEADERS
        if known is not None and (known.next is not None or not from_headers):
            request = replace(request, etag=known.etag)

        def read(response: Response) -> PageAnswer:
            if self.requests.body is not None:
                self.requests.body.check(response.body, what)
            return self.reader.read(what, response, asked, known)

        return self.client.fetch(request, read, stop)

    def facts(self, answer: PageAnswer, page: int) -> Facts:
        """What an answer says about the course of the listing."""
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
        """An answer as the engine takes it."""
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
        """Where an answer leads for `page`, if it may be stored and followed."""
        if following is None:
            return None
        try:
            following = self.requests.storable(following, self.secret_parameters)
            if self.secrets.stands_in(json.dumps(following, ensure_ascii=False)):
                raise PageUnreadable(
                    f"{answer.what} repeats the integration's own credentials in what leads to the "
                    "next page, which would be stored; ask the provider to leave them out"
                )
            # Checked before the page is delivered: a page whose next link must not be
            # followed is not one that can be continued from.
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
