"""Members of SCIM groups: records inside the records of another listing.

The module takes the members out of each page of groups, and decides what an unreadable group means
for completeness. A page of groups is one page of members, so that every position is the listing's
own.
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
    """The listing's own cursor, how many groups came before it, and why not all of them count."""

    at: Any
    listed: int = 0
    short: str | None = None


class ScimMembers(ListsOnly):
    """Who is in which group, out of a listing of groups with their members."""

    def __init__(self, groups: Source, one: Callable[[str], Any], client: Client) -> None:
        """`groups` are listed with their members; `one` asks by `client` for one of them."""
        self._groups = groups
        self._one = one
        self._client = client

    @property
    def records(self) -> tuple[str, ...]:
        """A page is made to be the list."""
        return ()

    @property
    def fields(self) -> FieldMap:
        """SCIM says where a member's id stands."""
        return _FIELDS

    @property
    def resumable(self) -> bool:
        """As the listing of groups is."""
        return self._groups.resumable

    @property
    def snapshot(self) -> bool:
        """As the listing of groups is."""
        return self._groups.snapshot

    @property
    def waits_for_provider(self) -> bool:
        """For the answer to each page."""
        return True

    @property
    def requests(self) -> int:
        """Requests sent for the groups."""
        return self._groups.requests

    @property
    def probes(self) -> bool:
        """A group can be asked for with its members."""
        return True

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        """Ask for the affected groups with their members, once each."""
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
        """From now on list groups with pages of another length."""
        if isinstance(self._groups, ListsOtherwise):
            self._groups.otherwise()

    def close(self) -> None:
        """Give back connections."""
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
        raise PermanentError("the saved position is not one of SCIM groups; start anew") from None


def _members(body: bytes) -> tuple[bytes, tuple[tuple[str, int], ...], int]:
    """All members on a page as one list, whose they are, and how many groups are unreadable."""
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
                # Bytes stay bytes: only the brackets go.
                lists.append(bytes(group.members).strip()[1:-1])
                parents.append((key, count))
    except msgspec.ValidationError:
        raise PageUnreadable("a page has a group whose members are not a list") from None
    return b"[" + b",".join(lists) + b"]", tuple(parents), unreadable


def _key(value: Any) -> str | None:
    """An id as the mapping reads it, whole numbers in digits."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) or None
