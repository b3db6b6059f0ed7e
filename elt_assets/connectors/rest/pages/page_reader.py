"""Read the answers to one listing: parse a response, and make the page for the engine.

The end of a listing is decided in `listing_course`.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.http.http_client import Response
from elt_assets.connectors.json.json_limits import PageLimits
from elt_assets.connectors.json.page_envelope import Envelope, EnvelopeReader, count_of
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.evaluate import text_at
from elt_assets.connectors.mapping.expression_parser import parse, parse_condition, parse_keys
from elt_assets.connectors.mapping.expressions import Condition, speaks_of_parent
from elt_assets.connectors.mapping.field_map import key_fields
from elt_assets.connectors.rest.configuration.stream_data import RestStream
from elt_assets.connectors.rest.listing_course import Missing, Turn
from elt_assets.connectors.rest.page_dialect import PageDialect
from elt_assets.connectors.rest.pages.row_filter import kept
from elt_assets.connectors.rest.pagination import PageAnswer
from elt_assets.connectors.rest.permission import confirm_by_header
from elt_assets.connectors.source import FieldMap, KnownPage, Page
from elt_assets.errors import PageUnreadable

_LONGEST_ETAG = 512
"""Characters. A longer ETag is not kept, because each page's ETag is stored in a table."""


class PageReader:
    """Reads the answers to the requests of one listing."""

    def __init__(
        self,
        described: RestStream,
        envelopes: EnvelopeReader,
        dialect: PageDialect,
        secrets: Secrets,
    ) -> None:
        self._envelopes = envelopes
        self._dialect = dialect
        self._secrets = secrets
        self.records = parse_keys(described.records)
        self._total = described.declared_total
        self._where = None if described.where is None else parse(described.where)
        self._required = described.requires

    def nothing(self, missing: Missing) -> Envelope:
        """The empty envelope for an answer without a page."""
        return self._envelopes.nothing(missing)

    def read(
        self,
        what: str,
        response: Response,
        asked: str | None = None,
        known: KnownPage | None = None,
    ) -> PageAnswer:
        """Read the response to the request `asked`; a 304 means that page `known` is unchanged."""
        if response.unchanged and known is not None:
            unsent = Envelope(b"", known.count, None, known.total)
            return PageAnswer(what, response.url, response.headers, unsent, asked, known)
        if response.status != HTTPStatus.NO_CONTENT:
            envelope = self._envelopes.read(self._dialect.body(response.body), what)
        else:
            envelope = self._envelopes.nothing(Missing.NO_CONTENT)
        confirm_by_header(what, response.headers, self._required)
        return PageAnswer(what, response.url, response.headers, envelope, asked)

    def declared(self, answer: PageAnswer) -> int | None:
        """The provider's count of all records; None if it is an estimate or absent."""
        if answer.known is not None:
            return answer.envelope.total
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

    def page(self, answer: PageAnswer, turn: Turn, wanted: int | None, *, is_posted: bool) -> Page:
        """The page that the engine gets. The request was for `wanted` records, maybe by POST."""
        envelope = answer.envelope
        if turn.repeated:
            envelope = self._envelopes.nothing(Missing.NULL)
        following = None if turn.next is None else msgspec.to_builtins(turn.next)
        if self._where is not None:
            # The provider's total also counts the records that are left out here, so the page has
            # none.
            body, count = kept(envelope.body, self.records, self._where, answer.what)
            doubts = (*turn.doubts, *_lacking(turn))
            return Page(body, count, next=following, cut_short=turn.cut_short, doubts=doubts)
        # A 304 carries no doubts, cut or missing list. A page with one of them gets no ETag, so
        # that it is always requested in full.
        says_more = turn.doubts or turn.cut_short or envelope.missing or is_posted
        return Page(
            envelope.body,
            envelope.count,
            next=following,
            total=turn.total,
            cut_short=turn.cut_short,
            doubts=turn.doubts,
            bare_end=envelope.missing is not None and turn.next is None,
            wanted=wanted,
            asked=answer.asked,
            etag=None if says_more else self._etag(answer),
            known=answer.known,
        )

    def _etag(self, answer: PageAnswer) -> str | None:
        """The answer's ETag, if it may be kept. A 304 may lack it, so the known one is used."""
        if answer.known is not None:
            return answer.known.etag
        etag = answer.headers.get("etag")
        if etag is None or len(etag) > _LONGEST_ETAG or self._secrets.stands_in(etag):
            return None
        return etag


def envelope_reader(
    described: RestStream,
    fields: FieldMap,
    stream: str,
    cursor: tuple[str, ...] | None,
    limits: FetchLimits,
) -> EnvelopeReader:
    """The reader of the envelopes of a stream's pages; the next token or address is at `cursor`."""
    total = described.declared_total
    return EnvelopeReader(
        parse_keys(described.records),
        limits=PageLimits(limits.page_records, limits.record_bytes),
        cursor=cursor,
        total=_keys(None if total is None else total.path),
        more=_keys(described.more),
        may_be_absent=described.pagination.type == "scim",
        empty_if=None if described.empty_if is None else parse_condition(described.empty_if),
        is_record=_looks_like_a_record(fields, stream),
    )


def _looks_like_a_record(fields: FieldMap, stream: str) -> Callable[[Any], bool]:
    """A test whether an object is a record: it has the key and at least one further field."""
    places = {
        name: place
        for name, place in fields.items()
        if not (isinstance(place, Condition) or speaks_of_parent(place))
    }
    keys = places.keys() & key_fields(stream)

    def looks(value: Any) -> bool:
        found = {name for name, place in places.items() if text_at(place, value)}
        return isinstance(value, dict) and found >= keys and len(found) > len(keys)

    return looks


def _lacking(turn: Turn) -> tuple[str, ...]:
    """A doubt if the total differs from the records listed, counted before any are left out."""
    if turn.next is not None or turn.total is None or turn.listed == turn.total:
        return ()
    return (f"the provider counts {turn.total:,} records and listed {turn.listed:,}",)


def _keys(path: str | None) -> tuple[str, ...] | None:
    return None if path is None else parse_keys(path)
