"""Any REST API, as its provider_data describes it: pages in order, from any cursor.

The module combines pagination, authentication and the page envelope. The end of a listing is
decided in `listing_course`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote_plus

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.http.auth import Authenticator
from elt_assets.connectors.http.http_client import (
    BadRequest,
    Client,
    Gone,
    NotThere,
    PositionExpired,
    Request,
    Response,
)
from elt_assets.connectors.http.origin import Origin, Origins
from elt_assets.connectors.json.json_limits import PageLimits, decode
from elt_assets.connectors.json.page_envelope import Envelope, EnvelopeReader, count_of
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.evaluate import text_at
from elt_assets.connectors.mapping.expressions import (
    Condition,
    parse,
    parse_condition,
    parse_keys,
    speaks_of_parent,
)
from elt_assets.connectors.mapping.field_map import key_fields, parsed
from elt_assets.connectors.mapping.templates import filled
from elt_assets.connectors.probing.answers import Shape
from elt_assets.connectors.probing.records import SingleRecords
from elt_assets.connectors.rest.authentication import authenticator, identity, throttle
from elt_assets.connectors.rest.dialect import AS_DESCRIBED, Dialect
from elt_assets.connectors.rest.listing_course import (
    BEGINNING,
    Course,
    Facts,
    Listing,
    Meaning,
    Missing,
    Position,
    Progress,
    Refusal,
    Turn,
)
from elt_assets.connectors.rest.page_prefetch import Lookahead
from elt_assets.connectors.rest.pagination import Answer, NextFrom, another_size, paginator
from elt_assets.connectors.rest.permission import confirm_by_header, confirm_by_request
from elt_assets.connectors.rest.provider_data import RestData, SingleRecord
from elt_assets.connectors.rest.request_body import Body
from elt_assets.connectors.rest.row_filter import kept
from elt_assets.connectors.rest.text_types import written
from elt_assets.connectors.source import Cursor, FieldMap, Incremental, KnownPage, Page, Presence
from elt_assets.errors import (
    PageUnreadable,
    PermanentError,
    PositionRefused,
    ProviderRefused,
    ProviderUnavailable,
)
from elt_assets.identifiers import IntegrationRef

_LONGEST_ETAG = 512
"""Characters. A longer one is not kept: it stands in a table for every page."""


class RestSource:
    """One stream of one REST integration. A cursor is the listing's `Progress`."""

    def __init__(
        self,
        config: RestData,
        stream: str,
        *,
        ref: IntegrationRef | None = None,
        secrets: Secrets,
        limits: FetchLimits,
        beside: RestSource | None = None,
        dialect: Dialect = AS_DESCRIBED,
    ) -> None:
        """`beside` lends its connections and its budget; close it after this one."""
        self._dialect = dialect
        described = config.streams[stream]
        self._limits = limits
        self._endpoint = config.api_endpoint.rstrip("/")
        self._url = f"{self._endpoint}/{described.path.lstrip('/')}"
        names = (
            {}
            if ref is None
            else {
                "organization_id": ref.organization_id,
                "integration_id": ref.integration_id,
            }
        )
        self._url = filled(self._url, names)
        self._params = {
            name: filled(written(value), names) for name, value in described.params.items()
        }
        self._body = None if described.body is None else Body.of(described.body).filled(names)
        self._since = described.incremental
        self._records = parse_keys(described.records)
        self._fields = {
            name: dialect.expression(expression)
            for name, expression in parsed(described.fields, described.unordered).items()
        }
        if self._since is not None:
            self._fields.setdefault("source_updated_at", parse(self._since.field))
        self._pagination_type = described.pagination.type
        self._paginator = paginator(described.pagination, self._records)
        self._course = Course(
            self._paginator.kind,
            limits.max_pages,
            self._paginator.start,
            described.parent is not None,
            getattr(described.pagination, "reach", None),
        )
        self._where = None if described.where is None else parse(described.where)
        self._required = described.requires
        self._snapshot = described.snapshot
        self._total = described.declared_total
        self._envelope = EnvelopeReader(
            self._records,
            limits=PageLimits(limits.page_records, limits.record_bytes),
            cursor=self._paginator.cursor,
            total=_keys(None if self._total is None else self._total.path),
            more=_keys(described.more),
            may_be_absent=described.pagination.type == "scim",
            empty_if=None if described.empty_if is None else parse_condition(described.empty_if),
            is_record=self._looks_like_a_record(stream),
        )
        self._auth: Authenticator = (
            authenticator(config.auth, limits) if beside is None else beside._auth
        )
        self._secrets = secrets
        self._under = ""
        self._in_flight = config.rate_limit.concurrency
        self._ahead: Lookahead[Answer] | None = None
        self._origins = Origins(
            Origin.of(config.api_endpoint),
            frozenset(config.allowed_hosts),
            config.allow_plain_http,
        )
        self._known: dict[str, KnownPage] = {}
        self._unchanged: dict[str, Progress] = {}
        self._client: Client = (
            beside._client
            if beside is not None
            else Client(
                limits=limits,
                secrets=secrets,
                auth=self._auth,
                headers={name: filled(text, names) for name, text in config.headers.items()},
                throttle=throttle(config, limits),
                connections=config.rate_limit.concurrency,
                identity=identity(config),
            )
        )
        self._single = (
            None
            if described.single is None
            else self._single_records(described.single, names, self._params.copy())
        )

    def under(self, key: str, in_path: str) -> RestSource:
        """The same listing for one parent; it shares everything, and needs no closing."""
        one = copy.copy(self)
        one._url = filled(self._url, {"parent": quote(in_path, safe="")})
        one._params = {name: filled(v, {"parent": in_path}) for name, v in self._params.items()}
        one._body = None if self._body is None else self._body.filled({"parent": in_path})
        one._under = f" under {_shortened(key)!r}"
        return one

    def between(self, begin: str, end: str) -> RestSource:
        """The same listing for one period (ISO 8601, UTC; the end is not part of it)."""
        period = {"from": begin, "to": end}
        one = copy.copy(self)
        one._url = filled(self._url, period)
        one._params = {name: filled(value, period) for name, value in self._params.items()}
        one._body = None if self._body is None else self._body.filled(period)
        return one

    def recall(self, pages: Iterable[KnownPage]) -> None:
        """From now on ask for these only if they changed."""
        self._known = {page.asked: page for page in pages}

    def again(self, page: Page) -> Page:
        """A page that was said to be unchanged, in full."""
        if page.known is None:
            return page
        progress = self._unchanged[page.known.asked]
        self._known.pop(page.known.asked, None)
        answer = self._fetch(progress, None)
        turn = Listing(self._course, progress).take(self._facts(answer, progress.page))
        whole = self._page(answer, turn)
        if _place(whole.next) != _place(page.next):
            raise ProviderUnavailable(f"{answer.what} was changed after it was said not to be")
        return replace(whole, next=page.next, cut_short=page.cut_short, doubts=page.doubts)

    @property
    def client(self) -> Client:
        """What sends this source's requests."""
        return self._client

    @property
    def concurrency(self) -> int:
        """How many requests may be in flight at once."""
        return self._in_flight

    def first(self, stop: threading.Event) -> Answer:
        """The answer to the first request, for `pages` to begin with."""
        return self._fetch(BEGINNING, stop)

    @property
    def records(self) -> tuple[str, ...]:
        """Object keys that lead to the list of records in a page."""
        return self._records

    @property
    def fields(self) -> FieldMap:
        """How a record's fields are found in it."""
        return self._fields

    @property
    def incremental(self) -> Incremental | None:
        """Set where the configuration says how to ask for changes."""
        return None if self._since is None else self._since.seam()

    @property
    def resumable(self) -> bool:
        """Every type of pagination has a position to go on from."""
        return True

    @property
    def snapshot(self) -> bool:
        """Only where the configuration promises it."""
        return self._snapshot

    @property
    def probes(self) -> bool:
        """Whether the configuration defines how a single record is requested."""
        return self._single is not None

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        """Ask for single records."""
        if self._single is None:
            return dict.fromkeys(missing, Presence.UNKNOWN)
        return self._single.probe(missing, listed)

    @property
    def requests(self) -> int:
        """Requests sent by this source's client, which may be shared."""
        return self._client.requests

    def pages(
        self,
        cursor: Cursor | None,
        since: str | None = None,
        first: Callable[[], Answer] | None = None,
    ) -> Iterator[Page]:
        """Yield pages after `cursor` (from the first when None) up to the last one.

        The first page is requested alone, because it shows how long pages are and because a
        caller that reads one page causes one request; from then on pages are fetched ahead.
        `first` gives that answer where it was requested before.
        """
        if since is not None and self._since is not None:
            if self._body is None:
                self._params |= self._since.params(since)
            else:
                self._body = self._body.having(self._since.params(since))
        unsaid: tuple[str, ...] = ()
        if self._required is not None:
            unsaid = confirm_by_request(self._client, self._endpoint, self._required)
        listing = Listing(self._course, self._resumed(cursor))
        ahead: Lookahead[Answer] | None = None
        furthest = listing.progress
        try:
            while True:
                now = listing.progress
                if ahead is not None:
                    answer = self._answer(listing, ahead.take)
                else:
                    # In the reader's thread: nothing is left to stop if it fails.
                    answer = self._answer(listing, first or partial(self._fetch, now, None))
                facts = self._facts(answer, now.page)
                turn = listing.take(facts)
                turn, unsaid = replace(turn, doubts=(*unsaid, *turn.doubts)), ()
                following = turn.next
                if answer.known is not None:
                    self._unchanged[answer.known.asked] = now
                page = self._page(answer, turn)
                if following is None or turn.cut_short is not None:
                    yield page
                    return
                if ahead is not None:
                    ahead.weigh(len(answer.envelope.body))
                    furthest = self._ask(ahead, listing, furthest, facts)
                yield page
                if ahead is None:
                    ahead = self._ahead = Lookahead(self._in_flight)
                    ahead.weigh(len(answer.envelope.body))
                    furthest = self._ask(ahead, listing, following, facts)
        finally:
            if ahead is not None:
                ahead.close()

    def otherwise(self) -> None:
        """From now on list with pages of another length, where a length is asked for."""
        self._paginator = self._paginator.otherwise()
        sizes = [name for name in self._params if name.lower() in _SIZES]
        if len(sizes) == 1 and self._params[sizes[0]].isdecimal():
            self._params[sizes[0]] = str(another_size(int(self._params[sizes[0]])))

    def document(self, what: str, path: str) -> Any:
        """One JSON document other than the pages of records. Raises as `pages` does."""

        def read(response: Response) -> Any:
            try:
                return decode(self._dialect.body(response.body))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise PageUnreadable(f"{what} is not JSON") from None

        return self._client.fetch(Request(what, self._endpoint + path), read)

    def close(self) -> None:
        """End what is under way and give back connections."""
        if self._ahead is not None:
            self._ahead.stopped.set()
        self._client.close()
        if self._ahead is not None:
            self._ahead.close()

    def _single_records(
        self, described: SingleRecord, names: Mapping[str, str], params: Mapping[str, str]
    ) -> SingleRecords:
        """How single records are asked for; `params` are those of the listing."""
        several = described.several
        if several is not None and several.param in params and several.value == "{clauses}":
            several = None  # the filter would replace the listing's own
        return SingleRecords(
            self._client,
            filled(f"{self._endpoint}/{described.path.lstrip('/')}", names),
            {name: filled(text, names) for name, text in described.params.items()},
            Shape(
                self._fields["external_id"],
                parse_keys(described.record),
                None if described.active is None else parse(described.active),
                None if described.gone_if is None else parse(described.gone_if),
                described.filtered,
                self._where,
            ),
            several,
            lambda further: self._matching({**params, **further}),
            self._dialect.body,
        )

    def _matching(self, params: Mapping[str, str]) -> list[Any] | None:
        """The records of the first page with these parameters; None if more may follow."""
        step = self._paginator.step(None)
        what = "a listing by filter"

        def read(response: Response) -> Answer:
            envelope = self._envelope.read(self._dialect.body(response.body), what)
            return Answer(what, response.url, response.headers, envelope)

        request = Request(what, self._url, {**params, **step.query})
        answer = self._client.fetch(request, read)
        envelope, total = answer.envelope, self._declared(answer)
        if total is None:
            complete = Listing(self._course).take(self._facts(answer, 1)).next is None
        else:
            complete = total == envelope.count
        if not complete:
            return None
        records = decode(envelope.body)
        for key in self._records:
            records = records.get(key) or []
        return list(records)

    def _ask(
        self, ahead: Lookahead[Answer], listing: Listing, furthest: Progress, facts: Facts
    ) -> Progress:
        """Ask for the page at hand and those expected after it; where the last one starts."""
        ahead.drop_unless(self._mark(listing.progress))
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

    def _start(self, ahead: Lookahead[Answer], progress: Progress) -> None:
        ahead.ask(self._mark(progress), lambda: self._fetch(progress, ahead.stopped))

    def _mark(self, progress: Progress) -> Hashable:
        """What is asked for at a position, whatever else the position remembers."""
        step = self._paginator.step(progress.at)
        return step.url, tuple(step.params.items())

    def _answer(self, listing: Listing, fetch: Callable[[], Answer]) -> Answer:
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
        envelope = self._envelope.nothing(Missing.REFUSED if there else Missing.NOT_THERE)
        return Answer(self._name(listing.progress), self._url, {}, envelope)

    def _name(self, progress: Progress) -> str:
        return f"page {progress.page:,}{self._under}"

    def _fetch(self, progress: Progress, stop: threading.Event | None) -> Answer:
        what = self._name(progress)
        request = self._request(what, progress.at)
        asked = _identity(request)
        known = None if progress.again or request.posted else self._known.get(asked)
        # Where headers lead on, the last page may have a successor and be the same.
        if known is not None and (
            known.next is not None or self._paginator.next_from is not NextFrom.HEADERS
        ):
            request = replace(request, etag=known.etag)

        def read(response: Response) -> Answer:
            if self._body is not None:
                self._body.check(response.body, what)
            if response.unchanged and known is not None:
                envelope = Envelope(b"", known.count, None, known.total)
                return Answer(what, response.url, response.headers, envelope, asked, known)
            if response.status != HTTPStatus.NO_CONTENT:
                envelope = self._envelope.read(self._dialect.body(response.body), what)
            else:
                envelope = self._envelope.nothing(Missing.NO_CONTENT)
            confirm_by_header(what, response.headers, self._required)
            return Answer(what, response.url, response.headers, envelope, asked)

        return self._client.fetch(request, read, stop)

    def _page(self, answer: Answer, turn: Turn) -> Page:
        envelope = answer.envelope
        if turn.repeated:
            envelope = self._envelope.nothing(Missing.NULL)
        if self._where is not None:
            return self._counted_alone(answer, envelope, turn)
        return Page(
            envelope.body,
            envelope.count,
            next=None if turn.next is None else msgspec.to_builtins(turn.next),
            total=turn.total,
            cut_short=turn.cut_short,
            doubts=turn.doubts,
            bare_end=envelope.missing is not None and turn.next is None,
            wanted=_page_size(self._params | self._paginator.step(None).query),
            asked=answer.asked,
            # A page that says less when it is not sent again is always sent again.
            etag=self._mark_of(answer)
            if not (turn.doubts or turn.cut_short or envelope.missing)
            else None,
            known=answer.known,
        )

    def _counted_alone(self, answer: Answer, envelope: Envelope, turn: Turn) -> Page:
        """A page of those records that are meant. The provider's total is of others, too."""
        if self._where is None:
            raise AssertionError("no filter")
        body, count = kept(envelope.body, self._records, self._where, answer.what)
        return Page(
            body,
            count,
            next=None if turn.next is None else msgspec.to_builtins(turn.next),
            cut_short=turn.cut_short,
            doubts=(*turn.doubts, *self._lacking(turn, answer)),
        )

    def _lacking(self, turn: Turn, answer: Answer) -> tuple[str, ...]:
        """What the total says against a listing that ends here, before records are left out."""
        if turn.next is not None or turn.total is None or turn.listed == turn.total:
            return ()
        return (f"the provider counts {turn.total:,} records and listed {turn.listed:,}",)

    def _mark_of(self, answer: Answer) -> str | None:
        """The answer's entity tag, if it may be kept. One that says "unchanged" may lack it."""
        if answer.known is not None:
            return answer.known.etag
        etag = answer.headers.get("etag")
        if (
            self._body is not None
            or etag is None
            or len(etag) > _LONGEST_ETAG
            or self._secrets.stands_in(etag)
        ):
            return None
        return etag

    def _facts(self, answer: Answer, page: int) -> Facts:
        envelope, known = answer.envelope, answer.known
        if known is None or self._paginator.next_from is NextFrom.COUNT:
            following = self._checked(page + 1, answer, self._paginator.led_to(answer))
        else:
            following = None if known.next is None else known.next["at"]
        return Facts(
            envelope.count,
            following,
            envelope.total if known is not None else self._declared(answer),
            envelope.more,
            envelope.mark,
            envelope.missing,
        )

    def _declared(self, answer: Answer) -> int | None:
        """The provider's count of all records, as far as it is more than an estimate."""
        if self._total is None or self._total.estimate:
            return None
        if self._total.header is None:
            return answer.envelope.total
        try:
            return count_of(answer.headers.get(self._total.header))
        except ValueError:
            raise PageUnreadable(
                f"{answer.what} has a header {self._total.header} that is not a count"
            ) from None

    def _checked(self, page: int, answer: Answer, following: Position | None) -> Position | None:
        """Where an answer leads for `page`, if it may be stored and followed."""
        if following is None:
            return None
        try:
            following = self._storable(following)
            if self._secrets.stands_in(json.dumps(following, ensure_ascii=False)):
                raise PageUnreadable(
                    f"{answer.what} repeats the integration's own credentials in what leads to the "
                    "next page, which would be stored; ask the provider to leave them out"
                )
            # Checked before the page is delivered: a page whose next link must not be
            # followed is not one that can be continued from.
            self._request(f"page {page:,}{self._under}", following)
        except PageUnreadable as error:
            raise PageUnreadable(self._secrets.redact(str(error))) from None
        return following

    def _request(self, what: str, position: Position | None) -> Request:
        step = self._paginator.step(position)
        posted = None
        if self._body is not None:
            posted = self._body.posted(step.params)
        if step.url is None:
            params = self._params if posted else {**self._params, **step.query}
            return Request(what, self._url, params, posted=posted)
        trusted = self._origins.may_carry_credentials(step.url, f"the address of {what}")
        return Request(what, step.url, with_credentials=trusted, posted=posted)

    def _storable(self, position: Position) -> Position:
        """A position as a table may hold it: providers echo the key that a query carried."""
        link = self._paginator.step(position).url
        return position if link is None else without_parameters(link, self._auth.query_parameters)

    def _resumed(self, cursor: Cursor | None) -> Progress:
        if cursor is None:
            return BEGINNING
        try:
            progress = msgspec.convert(cursor, Progress)
        except msgspec.ValidationError:
            progress = BEGINNING
        if progress.page > 1 and self._course.fits(progress.at):
            return progress
        raise PermanentError(
            "the saved position is not one of pagination type "
            f"{self._pagination_type!r}; start a new sync"
        )

    def _looks_like_a_record(self, stream: str) -> Callable[[Any], bool]:
        """Whether an object holds a record: its key, and something of what is known of it."""
        places = {
            name: place
            for name, place in self._fields.items()
            if not (isinstance(place, Condition) or speaks_of_parent(place))
        }
        keys = places.keys() & key_fields(stream)

        def looks(value: Any) -> bool:
            found = {name for name, place in places.items() if text_at(place, value)}
            return isinstance(value, dict) and found >= keys and len(found) > len(keys)

        return looks


def _identity(request: Request) -> str:
    """What is requested, without the address: a query may contain a person's name."""
    posted = () if request.posted is None else (request.posted.text,)
    asked = json.dumps([request.url, sorted(request.params.items()), *posted])
    return hashlib.sha256(asked.encode()).hexdigest()


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


def _place(cursor: Cursor | None) -> tuple[Any, Any] | None:
    return None if cursor is None else (cursor["at"], cursor.get("listed"))


def _keys(path: str | None) -> tuple[str, ...] | None:
    return None if path is None else parse_keys(path)


def without_parameters(link: str, names: frozenset[str]) -> str:
    """`link` without its fragment and the query parameters of those names, else unchanged."""
    address, _, query = link.partition("#")[0].partition("?")
    kept = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]) not in names]
    return f"{address}?{'&'.join(kept)}" if any(kept) else address


_SHOWN_KEY = 64
_SIZES = frozenset(
    {"limit", "per_page", "perpage", "page_size", "pagesize", "maxresults", "$top", "count", "size"}
)


def _page_size(params: Mapping[str, str]) -> int | None:
    """How many records a page is asked to hold, by the usual names of that parameter."""
    found = [text for name, text in params.items() if name.lower() in _SIZES]
    return int(found[0]) if len(found) == 1 and found[0].isdecimal() else None


def _shortened(key: str) -> str:
    return key if len(key) <= _SHOWN_KEY else key[: _SHOWN_KEY - 1] + "…"
