"""Members of SCIM groups: records inside the records of another listing.

The module takes the members out of each page of groups, and decides what an unreadable group means
for completeness. Each page of groups becomes one page of members, so that positions are those of
the listing of groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from elt_assets.connectors.http.http_client import Client
from elt_assets.connectors.json.json_limits import USUAL_LIMITS
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.probing.member_probes import ListedMembers, probe_memberships
from elt_assets.connectors.source import (
    Cursor,
    FieldMap,
    ListsOnly,
    ListsOtherwise,
    Page,
    Presence,
    Source,
)
from elt_assets.errors import PageUnreadable, PermanentError

_FIELDS: FieldMap = {
    "group_external_id": parse("$parent"),
    "member_external_id": parse("value"),
    "kind": parse("type"),
}


class _Group(msgspec.Struct, frozen=True):
    id: Any = None
    members: msgspec.Raw = msgspec.Raw(b"null")
    damage: str | None = msgspec.field(default=None, name="$unreadable")


class _Groups(msgspec.Struct, frozen=True):
    groups: list[_Group] | None = msgspec.field(default=None, name="Resources")


class _Place(msgspec.Struct, frozen=True):
    """A cursor: the position in the listing of groups and the number of groups before it.

    `short` is the reason why the members are incomplete, if a group could not be read.
    """

    at: Any
    listed: int = 0
    short: str | None = None


class ScimMembers(ListsOnly):
    """The memberships of all groups, from a listing of groups with their members."""

    records: tuple[str, ...] = ()
    fields = _FIELDS
    probes = True
    waits_for_provider = True

    def __init__(self, groups: Source, one: Callable[[str], Any], client: Client) -> None:
        """`groups` lists groups with their members; `one` requests a group through `client`."""
        self._groups = groups
        self.resumable = groups.resumable
        self._one = one
        self._client = client

    @property
    def snapshot(self) -> bool:
        return self._groups.snapshot

    @property
    def requests(self) -> int:
        return self._groups.requests

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        """Request each affected group with its members, once."""
        return probe_memberships(missing, listed, self._members, self._client)

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        """Yield pages after `cursor` (from the first when None) up to the last one."""
        place = _resumed(cursor)
        for page in self._groups.pages(place.at):
            body, parents, unreadable = _members(page.body)
            short, listed = place.short, place.listed + page.count
            if unreadable and short is None:
                short = f"{unreadable} groups could not be read, so their members are not known"
            place = _Place(page.next, listed, short)
            if page.next is None and page.total is not None and page.total != listed:
                short = short or f"the provider counts {page.total} groups and listed {listed}"
            yield Page(
                body,
                sum(count for _, count in parents),
                next=None if page.next is None else msgspec.to_builtins(place),
                cut_short=page.cut_short or (short if page.next is None else None),
                doubts=page.doubts,
                parents=parents,
            )

    def otherwise(self) -> None:
        """From now on list groups with another page size."""
        if isinstance(self._groups, ListsOtherwise):
            self._groups.otherwise()

    def close(self) -> None:
        self._groups.close()

    def _members(self, group: str) -> ListedMembers | None:
        """One group's members; None if the answer is not that group."""
        if group in (".", ".."):
            return None
        found = self._one(group)
        if not isinstance(found, dict) or _key(found.get("id")) != group:
            return None
        members = found.get("members") or []
        if not isinstance(members, list):
            return None
        keys = {_key(one.get("value")) if isinstance(one, dict) else None for one in members}
        known = frozenset(key for key in keys if key is not None)
        return ListedMembers(known, whole=None not in keys)


def _resumed(cursor: Cursor | None) -> _Place:
    if cursor is None:
        return _Place(None)
    try:
        return msgspec.convert(cursor, _Place)
    except msgspec.ValidationError:
        raise PermanentError(
            "the saved position is not one of SCIM groups; start a new sync"
        ) from None


def _members(body: bytes) -> tuple[bytes, tuple[tuple[str, int], ...], int]:
    """All members on a page as one list, their groups, and the number of unreadable groups."""
    lists, parents, unreadable = [], [], 0
    try:
        page = msgspec.json.decode(body, type=_Groups)
        for group in page.groups or ():
            key = _key(group.id)
            if group.damage is not None or key is None:
                unreadable += 1
                continue
            if bytes(group.members) == b"null":
                continue
            USUAL_LIMITS.check_count(bytes(group.members), (), "a group")
            count = len(msgspec.json.decode(group.members, type=list[msgspec.Raw]))
            if count:
                # The members' JSON is copied as bytes, without the brackets of its list.
                lists.append(bytes(group.members).strip()[1:-1])
                parents.append((key, count))
    except msgspec.ValidationError:
        raise PageUnreadable("a page has a group whose members are not a list") from None
    return b"[" + b",".join(lists) + b"]", tuple(parents), unreadable


def _key(value: Any) -> str | None:
    """An id as the mapping of records reads it; a whole number as its digits, None if unusable."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) or None
