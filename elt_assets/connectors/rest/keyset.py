"""Paging by the last record's key: the next page begins after that key.

A listing ends at an empty page, since a short page does not prove the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec

from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.mapping.evaluate import text_at
from elt_assets.connectors.mapping.expressions import Expression
from elt_assets.connectors.rest.listing_course import Continuation, Position
from elt_assets.connectors.rest.pagination import NextFrom, PageAnswer, Step, another_size
from elt_assets.errors import PageUnreadable


@dataclass(frozen=True)
class KeysetPaginator:
    """Sends the key of the last record as a parameter."""

    records: tuple[str, ...]
    key: Expression
    param: str
    value: str
    size_param: str | None
    size: int
    cursor: tuple[str, ...] | None = None
    kind: Continuation = Continuation.TOKEN
    start: int = 0
    next_from = NextFrom.PAGE

    def step(self, position: Position | None) -> Step:
        """Request the records after the key."""
        params: dict[str, str | int] = {}
        if self.size_param is not None:
            params[self.size_param] = self.size
        if position is not None:
            params[self.param] = self.value.replace("{key}", str(position))
        return Step(params)

    def led_to(self, answer: PageAnswer) -> str | int | None:
        """The last record's key, or None where there are no records."""
        if answer.envelope.count == 0:
            return None
        key = text_at(self.key, _last(answer.envelope.body, self.records))
        if key is None:
            raise PageUnreadable(
                f"the last record of {answer.what} has no key to go on from; correct pagination.key"
            )
        return key

    def otherwise(self) -> KeysetPaginator:
        """The same pagination with another page size."""
        return self if self.size_param is None else replace(self, size=another_size(self.size))


def _last(body: bytes, keys: tuple[str, ...]) -> Any:
    place: bytes | msgspec.Raw = body
    try:
        for key in keys:
            place = msgspec.json.decode(place, type=dict[str, msgspec.Raw])[key]
        return decode(msgspec.json.decode(place, type=list[msgspec.Raw])[-1])
    except (msgspec.DecodeError, KeyError, IndexError, RecursionError):
        return None
