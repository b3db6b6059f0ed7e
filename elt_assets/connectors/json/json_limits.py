"""Limits on what a JSON page may cost: the number of records and values, and their size.

A page of 64 MiB may be 32 million numbers or 21 million empty objects. As Python objects these
take 20 to 40 times their size, and text that must be searched bracket by bracket takes minutes.
So everything that decides how much is built is counted in the bytes first.
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
"""Brackets and texts in a page that is searched for what can still be read of it."""
MOST_DAMAGED_MARKS = 1_000_000
"""The same in a page that is no JSON: finding its damaged records takes longer."""
_SHORTEST = 2
"""Bytes that a record takes at least: a digit and a comma."""
_DENSE = 16
"""Bytes for each comma below which a page is counted exactly before it is decoded: an undecoded
record takes about 64 bytes."""


class TooComplex(msgspec.DecodeError):
    """More values than are decoded."""


class TooLarge(PageUnreadable):
    """A page that breaks a limit; nothing of it is used."""


@dataclass(frozen=True, slots=True)
class PageLimits:
    """Limits of one page."""

    records: int = 500_000
    record_bytes: int = 16 * 2**20

    def check_count(self, body: bytes, keys: tuple[str, ...], what: str) -> None:
        """Raises `TooLarge` if the list at `keys` is known to have too many records.

        Where a page is too short for as many, or has few commas for its size, its records are
        counted when they are decoded.
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
                f"{what} has {commas:,} commas, and where its list of records ends cannot be said, "
                f"more than the {self.records:,} records allowed; ask for fewer records a page, or "
                "raise ELT_ASSETS_PAGE_RECORDS"
            ) from None

    def check_marks(
        self, body: bytes, keys: tuple[str, ...], what: str, most: int = MOST_MARKS
    ) -> None:
        """Raises `TooLarge` if the text has more than `most` marks, or the list at `keys` too
        many records.

        Raises `NotBalanced` where it has no such list.
        """
        marks = body.count(b"[") + body.count(b"{") + body.count(b'"') // 2
        if marks > most:
            raise TooLarge(
                f"{what} has {marks:,} lists, objects and texts, more than the {most:,} that "
                "are ever looked through; ask for fewer records a page"
            )
        if json_scan.has_more_than(body, json_scan.list_start(body, keys), self.records):
            raise self._too_many(what)

    def check_records(self, body: bytes, records: Sequence[msgspec.Raw], what: str) -> None:
        """Raises `TooLarge` if `body` has too many records or one of them is too long."""
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
"""A number beyond what a float holds is infinite: one field of one record, and not the page."""


def decode(text: bytes | msgspec.Raw, type: Any = Any) -> Any:
    """A JSON text of few values as Python objects. Raises as msgspec does, and `TooComplex`."""
    text = bytes(text)
    if (
        len(text) > MOST_VALUES
        and text.count(b",") + text.count(b"[") + text.count(b"{") > MOST_VALUES
    ):
        raise TooComplex("more values than are decoded")
    return _ANYTHING.decode(text) if type is Any else msgspec.json.decode(text, type=type)
