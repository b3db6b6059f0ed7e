"""Limits on the cost of a JSON page: the number of records and values, and their size.

A page of 64 MiB may be 32 million numbers or 21 million empty objects. As Python objects these
take 20 to 40 times their size, and text that must be searched bracket by bracket takes minutes.
Therefore records and values are counted in the bytes of a page before objects are built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from elt_assets.connectors.json import json_scan
from elt_assets.errors import PageUnreadable, ProviderUnavailable

MOST_VALUES = 100_000
"""Values in a part of a page that is decoded as a whole: an error, a total, a cursor."""
MOST_MARKS = 4_000_000
"""Brackets and texts in a page whose list of records is searched for in the text."""
MOST_DAMAGED_MARKS = 1_000_000
"""The same limit for a page that is not valid JSON: to find its damaged records takes longer."""
_SHORTEST = 2
"""Fewest bytes of a record: a digit and a comma."""
_DENSE = 16
"""Bytes per comma. The records of a page with fewer are counted exactly before it is decoded,
because an undecoded record takes about 64 bytes."""


class TooComplex(msgspec.DecodeError):
    """A text with more than `MOST_VALUES` values."""


class TooLarge(PageUnreadable):
    """A page that exceeds a limit; none of its records are used."""


@dataclass(frozen=True, slots=True)
class PageLimits:
    """Limits of one page."""

    records: int = 500_000
    record_bytes: int = 16 * 2**20

    def check_count(self, body: bytes, keys: tuple[str, ...], what: str) -> None:
        """Raise `TooLarge` if the list at `keys` has too many records, without decoding it.

        A page that is short, or has few commas for its size, passes: `check_records` counts its
        records once they are decoded. Raises `ProviderUnavailable` for a truncated page.
        """
        if len(body) <= _SHORTEST * self.records:
            return
        commas = body.count(b",")
        if commas < self.records or commas <= len(body) // _DENSE:
            return
        try:
            self.check_marks(body, keys, what)
        except json_scan.NotBalanced:
            if json_scan.ends_early(body):
                raise ProviderUnavailable(f"{what} stops in the middle of its JSON") from None
            raise TooLarge(
                f"{what} has {commas:,} commas, more than the {self.records:,} records allowed, "
                "and the end of its list of records cannot be found; ask for fewer records a page, "
                "or raise ELT_ASSETS_PAGE_RECORDS"
            ) from None

    def check_marks(
        self, body: bytes, keys: tuple[str, ...], what: str, most: int = MOST_MARKS
    ) -> None:
        """Raise `TooLarge` for more than `most` brackets and texts, or for too many records.

        The records are those of the list at `keys`. Raises `NotBalanced` where the page has no
        such list.
        """
        marks = body.count(b"[") + body.count(b"{") + body.count(b'"') // 2
        if marks > most:
            raise TooLarge(
                f"{what} has {marks:,} lists, objects and texts; at most {most:,} are searched. "
                "Ask for fewer records a page"
            )
        if json_scan.has_more_than(body, json_scan.list_start(body, keys), self.records):
            raise self._too_many(what)

    def check_records(self, body: bytes, records: Sequence[msgspec.Raw], what: str) -> None:
        """Raise `TooLarge` if `body` has too many records or one of them is too long."""
        if len(records) > self.records:
            raise self._too_many(what)
        if len(body) <= self.record_bytes:
            return
        longest = max(map(len, records), default=0)
        if longest > self.record_bytes:
            raise TooLarge(
                f"{what} has a record of {longest:,} bytes, more than the {self.record_bytes:,} "
                "allowed; leave large fields out, or raise ELT_ASSETS_RECORD_BYTES"
            )

    def _too_many(self, what: str) -> TooLarge:
        return TooLarge(
            f"{what} has more than the {self.records:,} records allowed; ask for fewer records a "
            "page, or raise ELT_ASSETS_PAGE_RECORDS"
        )


USUAL_LIMITS = PageLimits()

_ANYTHING = msgspec.json.Decoder(float_hook=float)
"""Decodes a number too large for a float as infinity, so that it does not fail the whole page."""


def decode(text: bytes | msgspec.Raw, type: Any = Any) -> Any:
    """Decode a JSON text of at most `MOST_VALUES` values. Raises as msgspec, and `TooComplex`."""
    text = bytes(text)
    if (
        len(text) > MOST_VALUES
        and text.count(b",") + text.count(b"[") + text.count(b"{") > MOST_VALUES
    ):
        raise TooComplex("more values than are decoded")
    return _ANYTHING.decode(text) if type is Any else msgspec.json.decode(text, type=type)
