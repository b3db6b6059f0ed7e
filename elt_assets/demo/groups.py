"""Groups of the embedded provider: one for each department, computed from the people."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from elt_assets.demo.page_query import page_limit
from elt_assets.demo.world import Snapshot
from elt_assets.errors import NotFound


class Department(msgspec.Struct, frozen=True):
    """A group and the ids of its members, in order."""

    id: str
    name: str
    members: tuple[str, ...]


@lru_cache(maxsize=16)
def departments(snapshot: Snapshot) -> tuple[Department, ...]:
    """The groups of a snapshot, ordered by id."""
    members: dict[str, list[str]] = {}
    for person in snapshot.truth():
        name = person["attributes"]["department"]
        if isinstance(name, str) and name:
            members.setdefault(name, []).append(person["external_id"])
    found = (Department(_id(name), name, tuple(sorted(ids))) for name, ids in members.items())
    return tuple(sorted(found, key=lambda department: department.id))


def groups_page(snapshot: Snapshot, query: Mapping[str, str], page_size: int) -> object:
    """A page of groups. Raises `InvalidInput` for a bad limit."""
    return _page([_record(one) for one in departments(snapshot)], query, page_size)


def one_group(snapshot: Snapshot, group: str) -> object:
    """A group by its id. Raises `NotFound`."""
    return _record(_found(snapshot, group))


def members_page(
    snapshot: Snapshot, group: str, query: Mapping[str, str], page_size: int
) -> object:
    """A page of one group's members. Raises `NotFound`, or `InvalidInput` for a bad limit."""
    records = [{"id": member, "type": "user"} for member in _found(snapshot, group).members]
    return _page(records, query, page_size)


def groups_truth(snapshot: Snapshot) -> dict[str, list[dict[str, Any]]]:
    """The records of both streams that the platform should hold after reading this snapshot."""
    found = departments(snapshot)
    return {
        "groups": [
            {"external_id": one.id, "name": one.name, "description": f"Everybody in {one.name}"}
            for one in found
        ],
        "group_memberships": [
            {"group_external_id": one.id, "member_external_id": member, "kind": "user"}
            for one in found
            for member in one.members
        ],
    }


def _page(records: Sequence[dict[str, str]], query: Mapping[str, str], page_size: int) -> object:
    """Return the page after `cursor`, the last id of the page before: changes move no record."""
    limit = page_limit(query.get("limit"), page_size)
    start = bisect_right(records, query.get("cursor", ""), key=lambda record: record["id"])
    items = records[start : start + limit]
    more = start + limit < len(records)
    following = items[-1]["id"] if more else None
    return {"data": {"items": items, "next": following, "total": len(records)}}


def _id(name: str) -> str:
    return f"g-{blake2b(name.encode(), digest_size=4).hexdigest()}"


def _record(one: Department) -> dict[str, str]:
    return {"id": one.id, "name": one.name, "description": f"Everybody in {one.name}"}


def _found(snapshot: Snapshot, group: str) -> Department:
    for one in departments(snapshot):
        if one.id == group:
            return one
    raise NotFound(f"group {group} does not exist")
