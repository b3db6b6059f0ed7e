"""Any REST API, as its provider_data describes it: pages in order, from any cursor.

Belongs here: putting pagination, auth and the envelope together, page numbers, the page
limit, and noticing that a provider goes in circles. Does not: sending (http), or knowing
any provider by name (presets).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from urllib.parse import unquote_plus

from elt_assets.connectors.auth import Anonymous, ApiKey, Authenticator, Basic, Bearer
from elt_assets.connectors.envelope import EnvelopeReader
from elt_assets.connectors.expressions import parse, parse_keys
from elt_assets.connectors.http import Client, Request, Response
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.origin import Origin, Origins
from elt_assets.connectors.pagination import Answer, Position, paginator
from elt_assets.connectors.provider_data import (
    ApiKeyAuth,
    BasicAuth,
    BearerAuth,
    RestData,
    Scalar,
)
from elt_assets.connectors.source import Cursor, FieldMap, Page, Presence
from elt_assets.connectors.throttle import Throttle
from elt_assets.errors import PermanentError
from elt_assets.identifiers import IntegrationRef
from elt_assets.secret_refs import Secrets


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
    ) -> None:
        described = config.streams[stream]
        self._limits = limits
        self._url = config.api_endpoint.rstrip("/") + "/" + described.path.lstrip("/")
        self._params = {name: _written(value) for name, value in described.params.items()}
        self._records = parse_keys(described.records)
        self._fields = {name: parse(text) for name, text in described.fields.items()}
        self._pagination_type = described.pagination.type
        self._paginator = paginator(described.pagination)
        self._envelope = EnvelopeReader(
            self._records,
            cursor=self._paginator.cursor,
            total=parse_keys(described.total) if described.total is not None else None,
        )
        self._auth = authenticator(config)
        self._origins = Origins(
            Origin.of(config.api_endpoint),
            frozenset(config.allowed_hosts),
            config.allow_plain_http,
        )
        self._client = Client(
            limits=limits,
            secrets=secrets,
            auth=self._auth,
            headers=config.headers,
            throttle=Throttle(config.rate_limit.requests_per_second),
            connections=config.rate_limit.concurrency,
        )

    @property
    def records(self) -> tuple[str, ...]:
        """Object keys that lead to the list of records in a page."""
        return self._records

    @property
    def fields(self) -> FieldMap:
        """How a record's fields are found in it."""
        return self._fields

    @property
    def pages_can_shift(self) -> bool:
        """Cursors and links continue after what was read, whoever joins or leaves meanwhile."""
        return False

    @property
    def answers_for_one(self) -> bool:
        """Nothing in the configuration says how a single record is asked for."""
        return False

    def presence(self, external_id: str) -> Presence:
        """Never asked."""
        return Presence.UNKNOWN

    def pages(self, cursor: Cursor | None) -> Iterator[Page]:
        """Yield pages after `cursor` (from the first when None) up to the last one."""
        number, position = self._resumed(cursor)
        # Hashes, not cursors: a cursor may be long, and the page limit bounds their number.
        seen = {_fingerprint(position)}
        while True:
            body, count, total, position = self._page(number, position)
            if position is None:
                yield Page(body, count, next=None, total=total)
                return
            cut_short = None
            if (mark := _fingerprint(position)) in seen:
                cut_short = f"page {number} leads back to a page already fetched"
            elif number >= self._limits.max_pages:
                cut_short = f"page limit of {self._limits.max_pages:,} reached"
            seen.add(mark)
            number += 1
            yield Page(
                body,
                count,
                next={"page": number, "at": position},
                total=total,
                cut_short=cut_short,
            )
            if cut_short is not None:
                return

    def close(self) -> None:
        """Give back connections."""
        self._client.close()

    def _page(
        self, number: int, position: Position | None
    ) -> tuple[bytes, int, int | None, Position | None]:
        what = f"page {number:,}"
        request = self._request(what, position)

        def read(response: Response) -> tuple[bytes, int, int | None, Position | None]:
            envelope = self._envelope.read(response.body, what)
            answer = Answer(what, response.url, response.headers, envelope)
            following = self._paginator.following(answer)
            if following is not None:
                following = self._storable(following)
                # Checked before the page is delivered: a page whose next link must not be
                # followed is not one that can be continued from.
                self._request(f"page {number + 1:,}", following)
            return envelope.body, envelope.count, envelope.total, following

        return self._client.fetch(request, read)

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
            case {"page": int(number), "at": str() | int() as position} if number > 1:
                return number, position
        raise PermanentError(
            "the saved position is not one of pagination type "
            f"{self._pagination_type!r}; start a new sync"
        )


def without_parameters(link: str, names: frozenset[str]) -> str:
    """`link` without its fragment and the query parameters of those names, else unchanged."""
    address, _, query = link.partition("#")[0].partition("?")
    kept = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]) not in names]
    return f"{address}?{'&'.join(kept)}" if any(kept) else address


def authenticator(config: RestData) -> Authenticator:
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


def _written(value: Scalar) -> str:
    # JSON's spelling of true and false, which is what APIs expect.
    return value if isinstance(value, str) else json.dumps(value)


def _fingerprint(position: Position | None) -> bytes:
    text = json.dumps(position).encode()
    return hashlib.blake2b(text, digest_size=8).digest()
