"""The requests of one listing: address, parameters and body, at each position.

How a position is found is in `pagination`, where a request may go in `http.origin`.
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
    """What is sent for each page of one listing."""

    url: str
    params: Mapping[str, str]
    body: Body | None
    paginator: Paginator
    origins: Origins

    def filled(self, names: Mapping[str, str], *, in_path: Mapping[str, str] | None = None) -> Self:
        """The same with the names in braces filled in; in the address as `in_path` has them."""
        return replace(
            self,
            url=filled(self.url, names if in_path is None else in_path),
            params={name: filled(value, names) for name, value in self.params.items()},
            body=None if self.body is None else self.body.filled(names),
        )

    def under(self, parent: str) -> Self:
        """The same for the list of one parent."""
        return self.filled({"parent": parent}, in_path={"parent": quote(parent, safe="")})

    def having(self, values: Values) -> Self:
        """The same with further parameters, in the body where there is one."""
        if self.body is not None:
            return replace(self, body=self.body.having(values))
        return replace(self, params={**self.params, **_texts(values)})

    def otherwise(self) -> Self:
        """The same with pages of another length, where a length is asked for."""
        params = dict(self.params)
        sizes = [name for name in params if name.lower() in _SIZES]
        if len(sizes) == 1 and params[sizes[0]].isdecimal():
            params[sizes[0]] = str(another_size(int(params[sizes[0]])))
        return replace(self, paginator=self.paginator.otherwise(), params=params)

    @property
    def page_size(self) -> int | None:
        """How many records a page is asked to hold, by the usual names of that parameter."""
        params = {**self.params, **self.paginator.step(None).query}
        found = [text for name, text in params.items() if name.lower() in _SIZES]
        return int(found[0]) if len(found) == 1 and found[0].isdecimal() else None

    def at(self, what: str, position: Position | None) -> PageRequest:
        """The request for a position, called `what` in errors.

        Raises `PageUnreadable` for an address that must not be followed.
        """
        step = self.paginator.step(position)
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
        """What is asked for at a position, whatever else the position remembers."""
        step = self.paginator.step(position)
        return step.url, tuple(step.params.items())

    def storable(self, position: Position, secret: frozenset[str]) -> Position:
        """A position as a table may hold it: providers echo the key that a query carried.

        `secret` are the names of the parameters that carry credentials.
        """
        link = self.paginator.step(position).url
        return position if link is None else without_parameters(link, secret)


def request_identity(request: PageRequest) -> str:
    """What is requested, without the address: a query may contain a person's name."""
    posted = () if request.posted is None else (request.posted.text,)
    asked = json.dumps([request.url, sorted(request.params.items()), *posted])
    return hashlib.sha256(asked.encode()).hexdigest()


def without_parameters(link: str, names: frozenset[str]) -> str:
    """`link` without its fragment and the query parameters of those names, else unchanged."""
    address, _, query = link.partition("#")[0].partition("?")
    kept = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]) not in names]
    return f"{address}?{'&'.join(kept)}" if any(kept) else address


def _texts(values: Values) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}
