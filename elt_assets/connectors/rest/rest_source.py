"""Any REST API, as its provider_data describes it: pages in order, from any cursor.

Belongs here: putting pagination, auth and the envelope together, page numbers, the page
limit, and noticing that a provider goes in circles. Does not: sending (http), or knowing
any provider by name (presets).
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote_plus

import msgspec

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.connectors.http.auth import Anonymous, ApiKey, Authenticator, Basic, Bearer
from elt_assets.connectors.http.http_client import Client, Request, Response
from elt_assets.connectors.http.jwt_assertion import AssertionGrant
from elt_assets.connectors.http.oauth import ClientGrant, OAuth2
from elt_assets.connectors.http.origin import Origin, Origins
from elt_assets.connectors.http.throttle import Throttle, budget
from elt_assets.connectors.json.json_limits import PageLimits, decode
from elt_assets.connectors.json.page_envelope import Envelope, EnvelopeReader
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.expressions import parse, parse_condition, parse_keys
from elt_assets.connectors.mapping.field_map import parsed
from elt_assets.connectors.mapping.templates import filled
from elt_assets.connectors.probing.answers import Shape
from elt_assets.connectors.probing.records import SingleRecords
from elt_assets.connectors.rest.page_prefetch import Lookahead
from elt_assets.connectors.rest.pagination import Answer, NextFrom, Position, paginator
from elt_assets.connectors.rest.provider_data import (
    ApiKeyAuth,
    BasicAuth,
    BearerAuth,
    ClientCredentialsAuth,
    JwtBearerAuth,
    RefreshTokenAuth,
    RestData,
    Scalar,
    SingleRecord,
)
from elt_assets.connectors.source import Cursor, FieldMap, Incremental, KnownPage, Page, Presence
from elt_assets.errors import PageUnreadable, PermanentError, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef

_LONGEST_ETAG = 512
"""Characters. A longer one is not kept: it stands in a table for every page."""


class RestSource:
    """One stream of one REST integration. A cursor is `{"page": number, "at": position}`."""

    def __init__(
        self,
        config: RestData,
        stream: str,
        *,
        ref: IntegrationRef | None = None,
        secrets: Secrets,
        limits: FetchLimits,
        beside: RestSource | None = None,
    ) -> None:
        """`beside` lends its connections and its budget; close it after this one."""
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
            name: filled(_written(value), names) for name, value in described.params.items()
        }
        self._since = described.incremental
        self._records = parse_keys(described.records)
        self._fields = parsed(described.fields, described.unordered)
        if self._since is not None:
            self._fields.setdefault("source_updated_at", parse(self._since.field))
        self._pagination_type = described.pagination.type
        self._paginator = paginator(described.pagination)
        self._wanted = _page_size(self._params | dict(self._paginator.step(None).params))
        self._envelope = EnvelopeReader(
            self._records,
            limits=PageLimits(limits.page_records, limits.record_bytes),
            cursor=self._paginator.cursor,
            total=parse_keys(described.total_path) if described.total_path is not None else None,
            # Cursors that repeat a page do harm to nobody; counted pages then have no end.
            marked=self._paginator.pages_can_shift,
            may_be_absent=described.pagination.type == "scim",
            empty_if=None if described.empty_if is None else parse_condition(described.empty_if),
        )
        self._auth: Authenticator = (
            authenticator(config, limits) if beside is None else beside._auth
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
        self._unchanged: dict[str, tuple[int, Position | None]] = {}
        self._client: Client = (
            beside._client
            if beside is not None
            else Client(
                limits=limits,
                secrets=secrets,
                auth=self._auth,
                headers=config.headers,
                throttle=_throttle(config, limits),
                connections=config.rate_limit.concurrency,
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
        one._under = f" under {_shortened(key)!r}"
        return one

    def between(self, begin: str, end: str) -> RestSource:
        """The same listing for one period (ISO 8601, UTC; the end is not part of it)."""
        period = {"from": begin, "to": end}
        one = copy.copy(self)
        one._url = filled(self._url, period)
        one._params = {name: filled(value, period) for name, value in self._params.items()}
        return one

    def recall(self, pages: Iterable[KnownPage]) -> None:
        """From now on ask for these only if they changed."""
        self._known = {page.asked: page for page in pages}

    def again(self, page: Page) -> Page:
        """A page that was said to be unchanged, in full."""
        if page.known is None:
            return page
        number, position = self._unchanged[page.known.asked]
        self._known.pop(page.known.asked, None)
        answer = self._fetch(number, position, None)
        whole = self._page(answer, number, self._following(number, position, answer))
        if whole.next != page.next:
            raise ProviderUnavailable(f"{answer.what} was changed after it was said not to be")
        return replace(whole, cut_short=page.cut_short)

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
        return self._fetch(1, None, stop)

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
        """Counted pages are not: a record that leaves moves others to a page already read."""
        return not self._paginator.pages_can_shift

    @property
    def probes(self) -> bool:
        """Whether the configuration says how a single record is asked for."""
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

        The first page is asked for alone, because it says how long pages are and because
        who looks at one page causes one request; from then on pages are fetched ahead.
        `first` gives that answer where it was asked for before.
        """
        if since is not None and self._since is not None:
            self._params |= self._since.params(since)
        number, position = self._resumed(cursor)
        circles = _Circles(position, self._limits.max_pages)
        # In the reader's thread: nothing is left to stop if it fails.
        answer = self._fetch(number, position, None) if first is None else first()
        ahead: Lookahead[Answer] | None = None
        furthest = (number, position)
        try:
            while True:
                following = self._following(number, position, answer)
                if answer.known is not None:
                    self._unchanged[answer.known.asked] = (number, position)
                page = self._page(answer, number, following)
                if following is None:
                    yield page
                    return
                cut_short = circles.found(number, following, answer.envelope.mark)
                if cut_short is None and ahead is not None:
                    furthest = self._ask(ahead, furthest, (number + 1, following), answer)
                yield replace(page, cut_short=cut_short)
                if cut_short is not None:
                    return
                number, position = number + 1, following
                if ahead is None:
                    ahead = self._ahead = Lookahead(self._in_flight)
                    furthest = self._ask(ahead, furthest, (number, position), answer)
                answer = ahead.take()
        finally:
            if ahead is not None:
                ahead.close()

    def document(self, what: str, path: str) -> Any:
        """One JSON document other than the pages of records. Raises as `pages` does."""

        def read(response: Response) -> Any:
            try:
                return decode(response.body)
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
            ),
            several,
            lambda further: self._matching({**params, **further}),
        )

    def _matching(self, params: Mapping[str, str]) -> list[Any] | None:
        """The records of the first page with these parameters; None if more may follow."""
        step = self._paginator.step(None)
        what = "a listing by filter"

        def read(response: Response) -> Answer:
            envelope = self._envelope.read(response.body, what)
            return Answer(what, response.url, response.headers, envelope)

        request = Request(what, self._url, {**params, **step.params})
        answer = self._client.fetch(request, read)
        envelope = answer.envelope
        if envelope.total is None:
            complete = self._paginator.following(None, answer) is None
        else:
            complete = envelope.total == envelope.count
        if not complete:
            return None
        records = msgspec.json.decode(envelope.body)
        for key in self._records:
            records = records.get(key) or []
        return list(records)

    def _ask(
        self,
        ahead: Lookahead[Answer],
        furthest: tuple[int, Position],
        wanted: tuple[int, Position],
        answer: Answer,
    ) -> tuple[int, Position]:
        """Ask for the page `wanted` and those expected after it; where the last one starts."""
        ahead.drop_unless(self._mark(wanted[1]))
        ahead.weigh(len(answer.envelope.body))
        if ahead.is_empty:
            self._start(ahead, *wanted)
            furthest = wanted
        while ahead.wants_more and furthest[0] < self._limits.max_pages:
            position = self._paginator.ahead(furthest[1], answer)
            if position is None:
                break
            furthest = (furthest[0] + 1, position)
            self._start(ahead, *furthest)
        return furthest

    def _start(self, ahead: Lookahead[Answer], number: int, position: Position) -> None:
        ahead.ask(self._mark(position), lambda: self._fetch(number, position, ahead.stopped))

    def _mark(self, position: Position) -> Hashable:
        """What is asked for at a position, whatever else the position remembers."""
        step = self._paginator.step(position)
        return step.url, tuple(step.params.items())

    def _fetch(
        self, number: int, position: Position | None, stop: threading.Event | None
    ) -> Answer:
        what = f"page {number:,}{self._under}"
        request = self._request(what, position)
        asked = _identity(request)
        known = self._known.get(asked)
        # Where headers lead on, the last page may have a successor and be the same.
        if known is not None and (
            known.next is not None or self._paginator.next_from is not NextFrom.HEADERS
        ):
            request = replace(request, etag=known.etag)

        def read(response: Response) -> Answer:
            if response.unchanged and known is not None:
                envelope = Envelope(b"", known.count, None, known.total)
                return Answer(what, response.url, response.headers, envelope, asked, known)
            envelope = self._envelope.read(response.body, what)
            return Answer(what, response.url, response.headers, envelope, asked)

        return self._client.fetch(request, read, stop)

    def _page(self, answer: Answer, number: int, following: Position | None) -> Page:
        envelope = answer.envelope
        return Page(
            envelope.body,
            envelope.count,
            next=None if following is None else {"page": number + 1, "at": following},
            total=envelope.total,
            wanted=self._wanted,
            asked=answer.asked,
            etag=self._mark_of(answer),
            known=answer.known,
        )

    def _mark_of(self, answer: Answer) -> str | None:
        """The answer's entity tag, if it may be kept. One that says "unchanged" may lack it."""
        if answer.known is not None:
            return answer.known.etag
        etag = answer.headers.get("etag")
        if etag is None or len(etag) > _LONGEST_ETAG or self._secrets.stands_in(etag):
            return None
        return etag

    def _following(self, number: int, position: Position | None, answer: Answer) -> Position | None:
        try:
            following = self._led_to(position, answer)
            if following is None:
                return None
            following = self._storable(following)
            if self._secrets.stands_in(json.dumps(following, ensure_ascii=False)):
                raise PageUnreadable(
                    f"{answer.what} repeats the integration's own credentials in what leads to the "
                    "next page, which would be stored; ask the provider to leave them out"
                )
            # Checked before the page is delivered: a page whose next link must not be
            # followed is not one that can be continued from.
            self._request(f"page {number + 1:,}{self._under}", following)
        except PageUnreadable as error:
            raise PageUnreadable(self._secrets.redact(str(error))) from None
        return following

    def _led_to(self, position: Position | None, answer: Answer) -> Position | None:
        if answer.known is None or self._paginator.next_from is NextFrom.COUNT:
            return self._paginator.following(position, answer)
        return None if answer.known.next is None else answer.known.next["at"]

    def _request(self, what: str, position: Position | None) -> Request:
        step = self._paginator.step(position)
        if step.url is None:
            return Request(what, self._url, {**self._params, **step.params})
        trusted = self._origins.may_carry_credentials(step.url, f"the address of {what}")
        return Request(what, step.url, with_credentials=trusted)

    def _storable(self, position: Position) -> Position:
        """A position as a table may hold it: providers echo the key that a query carried."""
        link = self._paginator.step(position).url
        return position if link is None else without_parameters(link, self._auth.query_parameters)

    def _resumed(self, cursor: Cursor | None) -> tuple[int, Position | None]:
        match cursor:
            case None:
                return 1, None
            case {"page": int(number), "at": position} if number > 1:
                if self._paginator.fits(position):
                    return number, position
        raise PermanentError(
            "the saved position is not one of pagination type "
            f"{self._pagination_type!r}; start a new sync"
        )


def _identity(request: Request) -> str:
    """What is asked for, without keeping the address: a query may hold somebody's name."""
    asked = json.dumps([request.url, sorted(request.params.items())])
    return hashlib.sha256(asked.encode()).hexdigest()


class _Circles:
    """Notices that a provider leads back to where it was, or that there is no end in sight."""

    def __init__(self, position: Position | None, max_pages: int) -> None:
        # Hashes, not cursors: a cursor may be long, and the page limit bounds their number.
        self._seen = {_fingerprint(position)}
        self._max_pages = max_pages
        self._before: bytes | None = None

    def found(self, number: int, following: Position, mark: bytes | None) -> str | None:
        """Why to stop after page `number`, or None."""
        before, self._before = self._before, mark
        place = _fingerprint(following)
        known = place in self._seen
        self._seen.add(place)
        if known:
            return f"page {number} leads back to a page already fetched"
        if mark is not None and mark == before:
            return f"page {number} repeats page {number - 1}; is its number asked for rightly?"
        if number >= self._max_pages:
            return f"page limit of {self._max_pages:,} reached"
        return None


def without_parameters(link: str, names: frozenset[str]) -> str:
    """`link` without its fragment and the query parameters of those names, else unchanged."""
    address, _, query = link.partition("#")[0].partition("?")
    kept = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]) not in names]
    return f"{address}?{'&'.join(kept)}" if any(kept) else address


def authenticator(config: RestData, limits: FetchLimits) -> Authenticator:
    """The authenticator that provider_data describes."""
    match config.auth:
        case None:
            return Anonymous()
        case BearerAuth(token=token):
            return Bearer(token)
        case ApiKeyAuth(key=key, header=header, param=param, prefix=prefix):
            return ApiKey(key, header or str(param), header is None, prefix)
        case BasicAuth(username=username, password=password):
            return Basic(username, password)
        case ClientCredentialsAuth() | RefreshTokenAuth() as auth:
            scope = {} if auth.scope is None else {"scope": auth.scope}
            grant = ClientGrant(
                auth.token_url,
                auth.client_id,
                auth.client_secret,
                {**auth.params, **scope},
                auth.refresh_token if isinstance(auth, RefreshTokenAuth) else None,
                auth.client_auth == "body",
            )
            return OAuth2(grant, limits)
        case JwtBearerAuth() as auth:
            return OAuth2(
                AssertionGrant(
                    auth.token_url,
                    auth.key,
                    auth.issuer,
                    auth.subject,
                    auth.audience or auth.token_url,
                    auth.scope,
                    auth.algorithm,
                    auth.key_id,
                    auth.params,
                ),
                limits,
            )


def _throttle(config: RestData, limits: FetchLimits) -> Throttle:
    """Shared with every integration that uses the same app at the same rate."""
    rate = config.rate_limit.requests_per_second
    return Throttle(rate, budget(limits.budgets, *_app(config, rate)))


def _app(config: RestData, rate: float | None) -> tuple[object, ...]:
    """What a provider counts requests by, as the configuration names it; nothing if nobody asks."""
    match config.auth:
        case None:
            return ()
        case ClientCredentialsAuth(client_id=name) | RefreshTokenAuth(client_id=name):
            who: str | SecretRef | None = name
        case JwtBearerAuth(issuer=issuer, key=key):
            who = issuer or key
        case BearerAuth(token=ref) | ApiKeyAuth(key=ref) | BasicAuth(password=ref):
            who = ref
    named = who.model_dump() if isinstance(who, SecretRef) else who
    return str(Origin.of(config.api_endpoint)), config.auth.type, named, rate


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


def _written(value: Scalar) -> str:
    # JSON's spelling of true and false, which is what APIs expect.
    return value if isinstance(value, str) else json.dumps(value)


def _fingerprint(position: Position | None) -> bytes:
    text = json.dumps(position).encode()
    return hashlib.blake2b(text, digest_size=8).digest()
