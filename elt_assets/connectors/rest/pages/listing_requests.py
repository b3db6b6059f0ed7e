"""The requests of one listing: address, parameters and body, at each position.

Positions are found in `pagination`; where a request may be sent is decided in `http.origin`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote, unquote_plus

from elt_assets.connectors.http.http_client import PageRequest
from elt_assets.connectors.http.origin import Origins
from elt_assets.connectors.mapping.templates import filled
from elt_assets.connectors.rest.listing_course import Position
from elt_assets.connectors.rest.pagination import Paginator, another_size
from elt_assets.connectors.rest.request_body import Body, Values

_SIZES = frozenset(
    {"limit", "per_page", "perpage", "page_size", "pagesize", "maxresults", "$top", "count", "size"}
)


@dataclass(frozen=True)
class ListingRequests:
    """The requests for the pages of one listing."""

    url: str
    params: Mapping[str, str]
    body: Body | None
    paginator: Paginator
    origins: Origins
    continued: str | None = None
    """The address of the pages after the first, if it differs; only the token is sent there."""

    def filled(self, names: Mapping[str, str], *, in_path: Mapping[str, str] | None = None) -> Self:
        """The same requests with names in braces replaced.

        `in_path` has the values for the address, where they differ.
        """
        places = names if in_path is None else in_path
        return replace(
            self,
            url=filled(self.url, places),
            continued=None if self.continued is None else filled(self.continued, places),
            params={name: filled(value, names) for name, value in self.params.items()},
            body=None if self.body is None else self.body.filled(names),
        )

    def under(self, parent: str) -> Self:
        return self.filled({"parent": parent}, in_path={"parent": quote(parent, safe="")})

    def having(self, values: Values) -> Self:
        """The same requests with further parameters, in the body where there is one."""
        if self.body is not None:
            return replace(self, body=self.body.having(values))
        return replace(self, params={**self.params, **_texts(values)})

    def otherwise(self) -> Self:
        """The same requests with another page size, where they have a page size."""
        params = dict(self.params)
        sizes = [name for name in params if name.lower() in _SIZES]
        if len(sizes) == 1 and params[sizes[0]].isdecimal():
            params[sizes[0]] = str(another_size(int(params[sizes[0]])))
        return replace(self, paginator=self.paginator.otherwise(), params=params)

    @property
    def page_size(self) -> int | None:
        """The requested page size, if one parameter has a usual name for it."""
        params = {**self.params, **self.paginator.step(None).query}
        found = [text for name, text in params.items() if name.lower() in _SIZES]
        return int(found[0]) if len(found) == 1 and found[0].isdecimal() else None

    def at(self, what: str, position: Position | None) -> PageRequest:
        """The request for a position, called `what` in errors.

        Raises `PageUnreadable` for an address that must not be followed.
        """
        step = self.paginator.step(position)
        if position is not None and self.continued is not None:
            posted = None if self.body is None else self.body.emptied().posted(step.params)
            return PageRequest(what, self.continued, {} if posted else step.query, posted=posted)
        posted = None if self.body is None else self.body.posted(step.params)
        if step.url is None:
            params = self.params if posted else {**self.params, **step.query}
            return PageRequest(what, self.url, params, posted=posted)
        trusted = self.origins.may_carry_credentials(step.url, f"the address of {what}")
        return PageRequest(what, step.url, with_credentials=trusted, posted=posted)

    def matching(self, what: str, params: Mapping[str, str]) -> PageRequest:
        """The request for the first page with other parameters."""
        return PageRequest(what, self.url, {**params, **self.paginator.step(None).query})

    def mark(self, position: Position | None) -> Hashable:
        """An identity of the request at a position."""
        step = self.paginator.step(position)
        return step.url, tuple(step.params.items())

    def storable(self, position: Position, secret: frozenset[str]) -> Position:
        """A position without credentials, so that it may be stored.

        Providers copy the parameters of a request into the link to the next page, also a key.
        `secret` are the names of the parameters that carry credentials.
        """
        link = self.paginator.step(position).url
        return position if link is None else without_parameters(link, secret)


def request_identity(request: PageRequest) -> str:
    """A hash that identifies a request. The address is not kept: it may contain a person's name."""
    posted = () if request.posted is None else (request.posted.text,)
    asked = json.dumps([request.url, sorted(request.params.items()), *posted])
    return hashlib.sha256(asked.encode()).hexdigest()


def without_parameters(link: str, names: frozenset[str]) -> str:
    """`link` without its fragment and without the query parameters `names`."""
    address, _, query = link.partition("#")[0].partition("?")
    kept = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]) not in names]
    return f"{address}?{'&'.join(kept)}" if any(kept) else address


def _texts(values: Values) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}
