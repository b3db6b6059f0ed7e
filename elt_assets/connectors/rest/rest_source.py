"""Any REST API, as its provider_data describes it: pages in order, from any cursor.

A page is requested and read in `page_fetch`. The end of a listing is decided in `listing_course`.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.http.auth import Authenticator
from elt_assets.connectors.http.http_client import (
    Client,
    PageRequest,
    Response,
)
from elt_assets.connectors.http.origin import Origin, Origins
from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.expression_parser import parse, parse_keys
from elt_assets.connectors.mapping.field_map import parsed
from elt_assets.connectors.mapping.templates import filled
from elt_assets.connectors.probing.probe_answers import ProbeShape
from elt_assets.connectors.probing.record_probes import SingleRecords
from elt_assets.connectors.rest.authentication import authenticator, identity, throttle
from elt_assets.connectors.rest.configuration.stream_data import RestStream
from elt_assets.connectors.rest.configuration.text_types import written
from elt_assets.connectors.rest.listing_course import (
    BEGINNING,
    Course,
    Facts,
    ListingCourse,
    ListingProgress,
)
from elt_assets.connectors.rest.page_dialect import AS_DESCRIBED, PageDialect
from elt_assets.connectors.rest.pages.keyed_pages import KeyedDialect
from elt_assets.connectors.rest.pages.listing_requests import ListingRequests
from elt_assets.connectors.rest.pages.page_fetch import PageFetch
from elt_assets.connectors.rest.pages.page_prefetch import Lookahead
from elt_assets.connectors.rest.pages.page_reader import PageReader, envelope_reader
from elt_assets.connectors.rest.pages.xml_pages import XmlDialect
from elt_assets.connectors.rest.pagination import PageAnswer, paginator
from elt_assets.connectors.rest.permission import confirm_by_request
from elt_assets.connectors.rest.provider_data import RestData
from elt_assets.connectors.rest.request_body import Body
from elt_assets.connectors.source import Cursor, KnownPage, Page, Presence
from elt_assets.errors import (
    PageUnreadable,
    PermanentError,
    ProviderUnavailable,
)
from elt_assets.identifiers import IntegrationRef


class RestSource:
    """One stream of one REST integration. A cursor is a `ListingProgress`."""

    resumable = True
    waits_for_provider = True

    def __init__(
        self,
        config: RestData,
        stream: str,
        *,
        ref: IntegrationRef | None = None,
        secrets: Secrets,
        limits: FetchLimits,
        beside: RestSource | None = None,
        dialect: PageDialect = AS_DESCRIBED,
    ) -> None:
        """`beside` is a source whose client this one shares; close it after this one."""
        described = config.streams[stream]
        names = {} if ref is None else asdict(ref)
        self._limits = limits
        self._names: Mapping[str, str] = names
        self._endpoint = config.api_endpoint.rstrip("/")
        self.records = parse_keys(described.records)
        if described.xml is not None:
            dialect = XmlDialect(described.xml, self.records)
        elif described.keyed:
            dialect = KeyedDialect(self.records)
        self._dialect = dialect
        self._origins = Origins(
            Origin.of(config.api_endpoint), frozenset(config.allowed_hosts), config.allow_plain_http
        )
        requests = self._listing_requests(described)
        self._since = described.incremental
        self.incremental = None if self._since is None else self._since.seam()
        self.fields = {
            name: dialect.expression(expression)
            for name, expression in parsed(described.fields, described.unordered).items()
        }
        if self._since is not None:
            self.fields.setdefault("source_updated_at", parse(self._since.field))
        paging = requests.paginator
        self._pagination_type = described.pagination.type
        self._course = Course(
            paging.kind,
            limits.max_pages,
            paging.start,
            described.parent is not None,
            getattr(described.pagination, "reach", None),
        )
        envelopes = envelope_reader(described, self.fields, stream, paging.cursor, limits)
        reader = PageReader(described, envelopes, dialect, secrets)
        self._required = described.requires
        self.snapshot = described.snapshot
        self.concurrency = config.rate_limit.concurrency
        self._ahead: Lookahead[PageAnswer] | None = None
        self._unchanged: dict[str, ListingProgress] = {}
        self._auth: Authenticator = (
            authenticator(config.auth, limits) if beside is None else beside._auth
        )
        self.client: Client = (
            self._opened(config, described, secrets) if beside is None else beside.client
        )
        self._pages = PageFetch(requests, reader, self.client, secrets, self._auth.query_parameters)
        self._single = None if described.single is None else self._single_records(described)
        self.probes = self._single is not None

    def under(self, key: str, in_path: str) -> RestSource:
        """The same listing for one parent. It shares this source's client and is not closed."""
        one = copy.copy(self)
        one._pages = self._pages.below(key, in_path)
        return one

    def between(self, begin: str, end: str) -> RestSource:
        """The same listing for one period (ISO 8601, UTC; the end is not part of it)."""
        one = copy.copy(self)
        period = {"from": begin, "to": end}
        one._pages = replace(self._pages, requests=self._pages.requests.filled(period))
        return one

    def recall(self, pages: Iterable[KnownPage]) -> None:
        """Have the provider send these pages only if they changed, from now on."""
        self._pages.known.clear()
        self._pages.known.update((page.asked, page) for page in pages)

    def again(self, page: Page) -> Page:
        """Request a page in full that the provider reported as unchanged."""
        if page.known is None:
            return page
        progress = self._unchanged[page.known.asked]
        self._pages.known.pop(page.known.asked, None)
        answer = self._pages.fetch(progress)
        turn = ListingCourse(self._course, progress).take(self._pages.facts(answer, progress.page))
        whole = self._pages.page(answer, turn)
        if _place(whole.next) != _place(page.next):
            raise ProviderUnavailable(
                f"{answer.what} changed after the provider reported it as unchanged"
            )
        return replace(whole, next=page.next, cut_short=page.cut_short, doubts=page.doubts)

    def first(self, stop: threading.Event) -> PageAnswer:
        """Request the first page; `pages` takes the answer as its argument `first`."""
        return self._pages.fetch(BEGINNING, stop)

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        if self._single is None:
            return dict.fromkeys(missing, Presence.UNKNOWN)
        return self._single.probe(missing, listed)

    @property
    def requests(self) -> int:
        """Requests sent by this source's client, which may be shared."""
        return self.client.requests

    def pages(
        self,
        cursor: Cursor | None,
        since: str | None = None,
        first: Callable[[], PageAnswer] | None = None,
    ) -> Iterator[Page]:
        """Yield pages after `cursor` (from the first when None) up to the last one.

        The first page is requested alone: it shows how long pages are, and a caller that reads one
        page causes one request. Later pages are prefetched. `first` returns the answer to the
        first request if it was already sent.
        """
        if since is not None and self._since is not None:
            asked = self._pages.requests.having(self._since.params(since))
            self._pages = replace(self._pages, requests=asked)
        unsaid: tuple[str, ...] = ()
        if self._required is not None:
            unsaid = confirm_by_request(self.client, self._endpoint, self._required)
        listing = ListingCourse(self._course, self._resumed(cursor))
        ahead: Lookahead[PageAnswer] | None = None
        furthest = listing.progress
        try:
            while True:
                now = listing.progress
                if ahead is not None:
                    answer = self._pages.answer(listing, ahead.take)
                else:
                    # In the caller's thread, so that a failure leaves no other thread to stop.
                    answer = self._pages.answer(listing, first or partial(self._pages.fetch, now))
                facts = self._pages.facts(answer, now.page)
                turn = listing.take(facts)
                turn, unsaid = replace(turn, doubts=(*unsaid, *turn.doubts)), ()
                following = turn.next
                if answer.known is not None:
                    self._unchanged[answer.known.asked] = now
                page = self._pages.page(answer, turn)
                if following is None or turn.cut_short is not None:
                    yield page
                    return
                if ahead is not None:
                    ahead.weigh(len(answer.envelope.body))
                    furthest = self._ask(ahead, listing, furthest, facts)
                yield page
                if ahead is None:
                    ahead = self._ahead = Lookahead(self.concurrency)
                    ahead.weigh(len(answer.envelope.body))
                    furthest = self._ask(ahead, listing, following, facts)
        finally:
            if ahead is not None:
                ahead.close()

    def otherwise(self) -> None:
        """From now on list with another page size, where requests have a page size."""
        self._pages = replace(self._pages, requests=self._pages.requests.otherwise())

    def document(self, what: str, path: str) -> Any:
        """Request a JSON document that is not a page of records. Raises as `pages` does."""

        def read(response: Response) -> Any:
            try:
                return decode(self._dialect.body(response.body))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise PageUnreadable(f"{what} is not JSON") from None

        return self.client.fetch(PageRequest(what, self._endpoint + path), read)

    def close(self) -> None:
        """End requests that are under way and close connections."""
        if self._ahead is not None:
            self._ahead.stopped.set()
        self.client.close()
        if self._ahead is not None:
            self._ahead.close()

    def _listing_requests(self, stream: RestStream) -> ListingRequests:
        continued = getattr(stream.pagination, "path", None)
        return ListingRequests(
            f"{self._endpoint}/{stream.path.lstrip('/')}",
            {name: written(value) for name, value in stream.params.items()},
            None if stream.body is None else Body.of(stream.body),
            paginator(stream.pagination, self.records),
            self._origins,
            None if continued is None else f"{self._endpoint}/{continued.lstrip('/')}",
        ).filled(self._names)

    def _opened(self, config: RestData, stream: RestStream, secrets: Secrets) -> Client:
        headers = {name: filled(text, self._names) for name, text in config.headers.items()}
        if stream.xml is not None:
            headers = {"Accept": "application/xml, text/xml"} | headers
        return Client(
            limits=self._limits,
            secrets=secrets,
            auth=self._auth,
            headers=headers,
            throttle=throttle(config, self._limits),
            connections=config.rate_limit.concurrency,
            identity=identity(config),
        )

    def _single_records(self, stream: RestStream) -> SingleRecords:
        """The requests for single records, as the stream's `single` describes them."""
        described, params = stream.single, self._pages.requests.params
        assert described is not None  # noqa: S101
        several = described.several
        if several is not None and several.param in params and several.value == "{clauses}":
            several = None  # the filter would replace the listing's own
        return SingleRecords(
            self.client,
            filled(f"{self._endpoint}/{described.path.lstrip('/')}", self._names),
            {name: filled(text, self._names) for name, text in described.params.items()},
            ProbeShape(
                self.fields["external_id"],
                parse_keys(described.record),
                None if described.active is None else parse(described.active),
                None if described.gone_if is None else parse(described.gone_if),
                described.filtered,
                None if stream.where is None else parse(stream.where),
            ),
            several,
            lambda further: self._pages.matching(self._course, {**params, **further}),
            self._dialect.body,
        )

    def _ask(
        self,
        ahead: Lookahead[PageAnswer],
        listing: ListingCourse,
        furthest: ListingProgress,
        facts: Facts,
    ) -> ListingProgress:
        """Request the next page and the pages expected after it; return the last one's progress."""
        ahead.drop_unless(self._pages.requests.mark(listing.progress.at))
        if ahead.is_empty:
            furthest = listing.progress
            self._start(ahead, furthest)
        while ahead.wants_more:
            following = listing.ahead(furthest, facts)
            if following is None:
                break
            furthest = following
            self._start(ahead, furthest)
        return furthest

    def _start(self, ahead: Lookahead[PageAnswer], progress: ListingProgress) -> None:
        ahead.ask(
            self._pages.requests.mark(progress.at),
            lambda: self._pages.fetch(progress, ahead.stopped),
        )

    def _resumed(self, cursor: Cursor | None) -> ListingProgress:
        if cursor is None:
            return BEGINNING
        try:
            progress = msgspec.convert(cursor, ListingProgress)
        except msgspec.ValidationError:
            progress = BEGINNING
        if progress.page > 1 and self._course.fits(progress.at):
            return progress
        raise PermanentError(
            "the saved position is not one of pagination type "
            f"{self._pagination_type!r}; start a new sync"
        )


def _place(cursor: Cursor | None) -> tuple[Any, Any] | None:
    return None if cursor is None else (cursor["at"], cursor.get("listed"))
