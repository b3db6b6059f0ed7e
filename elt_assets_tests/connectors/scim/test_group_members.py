"""SCIM groups and their members: against our own server, and against one we did not write."""

from __future__ import annotations

import json
from typing import Any

import pytest
import urllib3

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Page, Presence, Source
from elt_assets.errors import PageUnreadable
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import GROUP_MEMBERSHIPS, GROUPS, STREAMS, USERS
from elt_assets_tests.connectors.scim.test_scim_source import (
    ERROR,
    LIST,
    REF,
    TOKEN,
    data,
    foreign,
    person,
)
from elt_assets_tests.connectors.serving import Answer, Asked, Provider, Reply, as_json

__all__ = ["foreign"]

Groups = dict[str, list[str]]
SOME: Groups = {"g0": ["u1", "u2"], "g1": [], "g2": ["u1"], "g3": ["u3", "g0"], "g4": []}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIM_TOKEN", TOKEN)


def serving(groups: Groups, *, cursors: bool = False) -> Answer:
    """/Groups as RFC 7644 says; a group without members leaves the attribute out."""
    if cursors:
        config: Any = {"pagination": {"cursor": True}}
    else:
        config = {}

    def resource(name: str, asked: Asked) -> dict[str, Any]:
        whole = {"id": name, "displayName": f"Group {name}", "meta": {"resourceType": "Group"}}
        if groups[name]:
            whole["members"] = [
                {"value": member, "type": "Group" if member.startswith("g") else "User"}
                for member in groups[name]
            ]
        if wanted := asked.query.get("attributes"):
            return {key: whole[key] for key in wanted.split(",") if key in whole}
        excluded = asked.query.get("excludedAttributes", "").split(",")
        return {key: value for key, value in whole.items() if key not in excluded}

    def answer(asked: Asked) -> Reply:
        if asked.path == "/ServiceProviderConfig":
            return as_json(config)
        assert asked.path == "/Groups"
        names, count = list(groups), int(asked.query["count"])
        by_cursor = "cursor" in asked.query
        start = (
            int(asked.query["cursor"] or "0") if by_cursor else int(asked.query["startIndex"]) - 1
        )
        body: dict[str, Any] = {"schemas": [LIST], "totalResults": len(names)}
        if found := [resource(name, asked) for name in names[start : start + count]]:
            body["Resources"] = found
        if by_cursor and start + count < len(names):
            body["nextCursor"] = str(start + count)
        return as_json(body)

    return answer


def opened(url: str, stream: str = "group_memberships", **more: Any) -> Source:
    limits = FetchLimits(
        attempts=2, first_wait=0.001, timeout=10, page_bytes=1 << 20, max_pages=100
    )
    given = data(url, streams=list(STREAMS), count=2, **more)
    return catalog.open_source("scim", given, stream, secrets=Secrets(), limits=limits)


def pages(source: Source, cursor: Any = None) -> list[Page]:
    found = list(source.pages(cursor))
    source.close()
    return found


def pairs(found: list[Page]) -> list[tuple[str, str]]:
    everything = []
    for page in found:
        parents = [parent for parent, count in page.parents for _ in range(count)]
        members = [member["value"] for member in json.loads(page.body)]
        assert len(parents) == len(members) == page.count
        everything += zip(parents, members, strict=True)
    return everything


def truth(groups: Groups) -> list[tuple[str, str]]:
    return [(group, member) for group, members in groups.items() for member in members]


@pytest.mark.parametrize("cursors", [False, True])
def test_members_are_told_by_the_group_they_stand_in(provider: Provider, cursors: bool) -> None:
    provider.answer = serving(SOME, cursors=cursors)
    found = pages(opened(provider.url))
    assert pairs(found) == truth(SOME)
    assert (found[-1].next, found[-1].cut_short) == (None, None)
    for number, page in enumerate(found[:-1], start=1):
        provider.asked.clear()
        rest = pages(opened(provider.url), json.loads(json.dumps(page.next)))
        assert pairs(found[:number]) + pairs(rest) == truth(SOME)
        assert len([a for a in provider.asked if a.path == "/Groups"]) == len(found) - number


def test_groups_are_read_without_their_members_and_members_without_the_rest(
    provider: Provider,
) -> None:
    provider.answer = serving(SOME)
    groups = [
        group
        for page in pages(opened(provider.url, "groups"))
        for group in json.loads(page.body)["Resources"]
    ]
    assert [group["id"] for group in groups] == list(SOME)
    assert not any("members" in group for group in groups)
    provider.asked.clear()
    pages(opened(provider.url))
    assert {a.query["attributes"] for a in provider.asked if a.path == "/Groups"} == {"id,members"}


@pytest.mark.parametrize(
    ("group", "total", "reason"),
    [
        ({"id": None, "members": []}, 3, "1 groups could not be read"),
        ({"id": True, "members": [{"value": "u"}]}, 3, "1 groups could not be read"),
        ({"id": "g", "members": None}, 4, "the provider counts 4 groups and listed 3"),
    ],
)
def test_groups_that_are_missing_or_unreadable_make_it_incomplete(
    provider: Provider, group: dict[str, Any], total: int, reason: str
) -> None:
    every = [{"id": "a", "members": [{"value": "u"}]}, group, {"id": "b"}]

    def answer(asked: Asked) -> Reply:
        if asked.path != "/Groups":
            return as_json({}, 404)
        start = int(asked.query["startIndex"]) - 1
        return as_json({"totalResults": total, "Resources": every[start : start + 2]})

    provider.answer = answer
    last = pages(opened(provider.url))[-1]
    assert last.next is None
    assert (last.cut_short or "").startswith(reason)


def test_members_that_are_no_list_are_an_error(provider: Provider) -> None:
    provider.answer = lambda asked: as_json(
        {"totalResults": 1, "Resources": [{"id": "g", "members": True}]}
    )
    with pytest.raises(PageUnreadable, match="members are not a list"):
        pages(opened(provider.url, pagination="index"))


def test_a_very_large_group_is_one_page(provider: Provider, platform: SyncService) -> None:
    groups: Groups = {"small": ["u1"], "large": [f"u{n}" for n in range(30_000)]}
    provider.answer = serving(groups)
    platform.registry.add(REF, "scim", data(provider.url, streams=["group_memberships"]))
    (outcome,) = platform.sync(GROUP_MEMBERSHIPS, [REF], sync_id="one")
    assert (outcome.error, outcome.counts.inserts) == (None, 30_001)
    groups["large"].pop(0)
    (outcome,) = platform.sync(GROUP_MEMBERSHIPS, [REF], sync_id="two")
    assert outcome.certificate.complete
    assert (outcome.counts.inserts, outcome.counts.updates) == (0, 0)
    assert outcome.counts.deletes + outcome.counts.pending_deletes == 1


def test_groups_of_a_server_that_we_did_not_write_are_synced(
    foreign: str, platform: SyncService
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/scim+json"}
    with urllib3.PoolManager() as pool:

        def created(path: str, resource: dict[str, Any]) -> str:
            answer = pool.request(
                "POST", f"{foreign}{path}", body=json.dumps(resource), headers=headers
            )
            assert answer.status == 201, answer.data
            return str(answer.json()["id"])

        users = []
        for number in range(5):
            user = person(number) | {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"]}
            del user["id"], user["meta"]
            users.append(created("/Users", user))
        expected = set()
        for number in range(5):
            members = users[:number]
            group = created(
                "/Groups",
                {
                    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
                    "displayName": f"Group {number}",
                    "members": [
                        {"value": user, "$ref": f"{foreign}/Users/{user}", "type": "User"}
                        for user in members
                    ],
                },
            )
            expected |= {(group, member) for member in members}
    platform.registry.add(REF, "scim", data(foreign, count=2, streams=list(STREAMS)))
    for stream in (USERS, GROUPS, GROUP_MEMBERSHIPS):
        (outcome,) = platform.sync(stream, [REF], sync_id="one")
        assert (outcome.error, outcome.status) == (None, Status.APPLIED)
        assert outcome.certificate.complete
    assert {row["name"] for row in platform.records(GROUPS, REF)} == {
        f"Group {number}" for number in range(5)
    }
    assert {
        (row["group_external_id"], row["member_external_id"])
        for row in platform.records(GROUP_MEMBERSHIPS, REF)
    } == expected


@pytest.mark.parametrize("number", [7, 7.0])
def test_a_group_whose_id_is_a_number_has_its_members(provider: Provider, number: float) -> None:
    groups = [{"id": number, "members": [{"value": 11}, {"value": 12}]}]
    provider.answer = lambda _: as_json({"totalResults": 1, "Resources": groups})
    page, *_ = pages(opened(provider.url))
    assert page.parents == (("7", 2),)


def test_missing_members_are_asked_for_in_the_server_s_own_dialect(provider: Provider) -> None:
    groups = {"7": [11, "12"], "8": [11]}

    def answer(asked: Asked) -> Reply:
        if "attributes" in asked.query:
            return as_json({"detail": "attributes: not supported"}, 400)
        if asked.path == "/Groups":
            start = int(asked.query["startIndex"]) - 1
            listed = [{"ID": int(key), "Members": groups[key]} for key in groups][start:]
            return as_json({"totalResults": len(groups), "Resources": listed})
        key = asked.path.removeprefix("/Groups/")
        if key in groups:
            return as_json({"ID": int(key), "Members": groups[key]})
        return as_json({"schemas": [ERROR], "status": "404"}, 404)

    provider.answer = answer
    source = opened(provider.url)
    assert sum(page.count for page in source.pages(None)) == 3
    listed, stayed, left = ('["8","11"]', '["7","12"]', '["7","13"]')
    assert source.probe([stayed, left], [listed]) == {
        stayed: Presence.PRESENT,
        left: Presence.GONE,
    }
    source.close()
