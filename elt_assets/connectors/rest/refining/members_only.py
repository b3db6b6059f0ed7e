"""Leave out the records that are not members of certain groups.

The keys of the members are read before the first page of the listing, each time the listing begins
or continues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
from pydantic import Field

from elt_assets.connectors.json.json_limits import decode
from elt_assets.connectors.json.malformed_records import UNREADABLE
from elt_assets.connectors.json.record_list import with_records
from elt_assets.connectors.mapping.evaluate import text_at
from elt_assets.connectors.mapping.expressions import Expression
from elt_assets.connectors.provider_fields import Strict
from elt_assets.connectors.source import Page
from elt_assets.errors import PageUnreadable

_MOST = 2_000_000
"""Most keys of members that are kept in memory."""


class OnlyMembers(Strict):
    """The groups whose members the stream has; other records count as not listed."""

    groups: list[str] = Field(
        min_length=1,
        max_length=500,
        description="The groups, as values of {parent} in the path of the stream of members.",
    )
    stream: str = Field(
        "group_memberships", description="Name of the stream that lists a group's members."
    )


@dataclass
class MemberKeys:
    """The keys of the members, and `doubts` about whether they are all."""

    of: Iterable[str]
    read: Callable[[str], Iterator[Page]]
    records: tuple[str, ...]
    member: Expression
    key: Expression
    keys: set[str] = field(default_factory=set)
    doubts: tuple[str, ...] = ()

    def gather(self) -> None:
        """Read the members of every group. Raises as `Source.pages` does."""
        self.keys, reasons = set(), dict[str, None]()
        for group in self.of:
            for page in self.read(group):
                with_records(page.body, self.records, self._noted)
                found = [*page.doubts, *filter(None, [page.cut_short])]
                reasons |= dict.fromkeys(f"the members of {group!r}: {one}" for one in found)
            if len(self.keys) > _MOST:
                raise PageUnreadable(f"the groups have more than {_MOST:,} members")
        self.doubts = tuple(reasons)

    def kept(self, body: bytes, records: tuple[str, ...]) -> tuple[bytes, int]:
        """The page with only the records of members, and their number."""
        return with_records(body, records, lambda found: [one for one in found if self._has(one)])

    def _noted(self, found: list[msgspec.Raw]) -> list[msgspec.Raw]:
        for record in found:
            if key := text_at(self.member, decode(record)):
                self.keys.add(key)
        return found

    def _has(self, record: msgspec.Raw) -> bool:
        document = decode(record)
        if not isinstance(document, dict) or UNREADABLE in document:
            # Kept, so that the engine reports it and does not delete its user.
            return True
        return text_at(self.key, document) in self.keys
