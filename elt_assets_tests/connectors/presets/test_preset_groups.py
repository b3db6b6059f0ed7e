"""Groups and their members of the presets that have them, as their public documentation says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest

from elt_assets.connectors import catalog
from elt_assets.connectors.presets.preset import presets
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import GROUP_MEMBERSHIPS, GROUPS, STREAMS
from elt_assets_tests.connectors.provider_behaviour import BEHAVIOURS, SECRET, linked
from elt_assets_tests.connectors.serving import Answer, Asked, Provider, Reply, as_json

REF = IntegrationRef("acme", "preset")
ALL = list(STREAMS)
Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Groups:
    """How one provider tells groups; `step` is what stands in a list's path for a group."""

    path: str
    members: str
    group: Callable[[int], dict[str, Any]]
    step: Callable[[int], str]
    member: Callable[[int], dict[str, Any]]
    page: Callable[[Asked, Records, str], Reply]
    page_size: int
    group_id: Callable[[int], str]
    member_id: Callable[[int], str]
    kind: str | None = None
    role: str | None = None
    description: str | None = "All of them"


def _graph(asked: Asked, records: Records, url: str) -> Reply:
    size = min(int(asked.query["$top"]), 999)
    first = int(asked.query.get("$skiptoken", "0"))
    body: dict[str, Any] = {"@odata.context": "…", "value": records[first : first + size]}
    if first + size < len(records):
        rest = f"$select={asked.query['$select']}&$top={size}&$skiptoken={first + size}"
        body["@odata.nextLink"] = f"{url}{asked.path}?{rest}"
    return as_json(body)


def _google(asked: Asked, records: Records, url: str) -> Reply:
    """An empty list is left out."""
    name = "members" if asked.path.endswith("/members") else "groups"
    assert (asked.query.get("customer") == "my_customer") is (name == "groups")
    size = min(int(asked.query["maxResults"]), 200)
    first = int(asked.query.get("pageToken", "0"))
    body: dict[str, Any] = {"kind": f"admin#directory#{name}", "etag": '"x"'}
    if found := records[first : first + size]:
        body[name] = found
    if first + size < len(records):
        body["nextPageToken"] = str(first + size)
    return as_json(body)


GROUPS_OF: dict[str, Groups] = {
    "okta": Groups(
        path="/api/v1/groups",
        members="/api/v1/groups/{}/users",
        group=lambda n: {
            "id": f"00g{n}",
            "lastUpdated": "2026-01-02T03:04:05.000Z",
            "lastMembershipUpdated": "2026-01-02T03:04:05.000Z",
            "objectClass": ["okta:user_group"],
            "type": "OKTA_GROUP",
            "profile": {"name": f"Group {n}", "description": "All of them"},
        },
        step=lambda n: f"00g{n}",
        member=lambda n: {"id": f"00u{n}", "status": "ACTIVE", "profile": {"login": f"l{n}"}},
        page=linked("after", "limit", 200),
        page_size=200,
        group_id=lambda n: f"00g{n}",
        member_id=lambda n: f"00u{n}",
    ),
    "entra_id": Groups(
        path="/v1.0/groups",
        members="/v1.0/groups/{}/members",
        group=lambda n: {
            "id": f"{n:036d}",
            "displayName": f"Group {n}",
            "description": "All of them",
            "mail": None,
            "securityEnabled": True,
            "groupTypes": [],
        },
        step=lambda n: f"{n:036d}",
        member=lambda n: {"@odata.type": "#microsoft.graph.user", "id": f"u{n}"},
        page=_graph,
        page_size=999,
        group_id=lambda n: f"{n:036d}",
        member_id=lambda n: f"u{n}",
        kind="#microsoft.graph.user",
    ),
    "google_workspace": Groups(
        path="/admin/directory/v1/groups",
        members="/admin/directory/v1/groups/{}/members",
        group=lambda n: {
            "kind": "admin#directory#group",
            "id": f"0{n}abc",
            "email": f"g{n}@example.com",
            "name": f"Group {n}",
            "description": "All of them",
            "directMembersCount": "2",
        },
        step=lambda n: f"0{n}abc",
        member=lambda n: {
            "kind": "admin#directory#member",
            "id": str(10**20 + n),
            "email": f"u{n}@example.com",
            "role": "MANAGER",
            "type": "USER",
            "status": "ACTIVE",
        },
        page=_google,
        page_size=200,
        group_id=lambda n: f"0{n}abc",
        member_id=lambda n: str(10**20 + n),
        kind="USER",
        role="MANAGER",
    ),
    "github": Groups(
        path="/orgs/acme/teams",
        members="/orgs/acme/teams/{}/members",
        group=lambda n: {
            "id": n,
            "slug": f"group-{n}",
            "name": f"Group {n}",
            "description": None,
            "privacy": "closed",
            "parent": None,
        },
        step=lambda n: f"group-{n}",
        member=lambda n: {"login": f"ada{n}", "id": n, "type": "User", "site_admin": False},
        page=linked("page", "per_page", 100, base=1),
        page_size=100,
        group_id=str,
        member_id=str,
        kind="User",
        description=None,
    ),
}
EVERY = pytest.mark.parametrize("name", GROUPS_OF)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESET_SECRET", SECRET)


def serving(name: str, membership: dict[int, list[int]], provider: Provider) -> Answer:
    behaviour, groups = BEHAVIOURS[name], GROUPS_OF[name]
    lists = {groups.members.format(groups.step(n)): n for n in membership}

    def answer(asked: Asked) -> Reply:
        if behaviour.token is not None and asked.path == behaviour.token_path:
            return behaviour.token(asked)
        if not behaviour.admits(asked):
            return behaviour.unauthorized
        path = unquote(asked.path)
        if path == groups.path:
            return groups.page(asked, [groups.group(n) for n in membership], provider.url)
        if path not in lists:
            return as_json({}, 404)
        members = [groups.member(n) for n in membership[lists[path]]]
        return groups.page(asked, members, provider.url)

    return answer


def data(name: str, url: str) -> dict[str, Any]:
    return BEHAVIOURS[name].data(url) | {"streams": ALL}


@EVERY
def test_a_preset_reads_groups_and_who_is_in_them(
    provider: Provider, platform: SyncService, name: str
) -> None:
    groups = GROUPS_OF[name]
    large = range(1, int(groups.page_size * 2.5) + 1)
    membership: dict[int, list[int]] = {1: [], 2: list(large), 3: [1, 7], 4: []}
    provider.answer = serving(name, membership, provider)
    platform.registry.add(REF, name, data(name, provider.url))
    for stream in (GROUPS, GROUP_MEMBERSHIPS):
        (outcome,) = platform.sync(stream, [REF], sync_id="one")
        assert (outcome.error, outcome.status) == (None, Status.APPLIED)
        assert outcome.certificate.complete
    assert [
        (row["external_id"], row["name"], row["description"])
        for row in platform.records(GROUPS, REF)
    ] == sorted((groups.group_id(n), f"Group {n}", groups.description) for n in membership)
    assert {
        (row["group_external_id"], row["member_external_id"], row["kind"], row["role"])
        for row in platform.records(GROUP_MEMBERSHIPS, REF)
    } == {
        (groups.group_id(group), groups.member_id(member), groups.kind, groups.role)
        for group, members in membership.items()
        for member in members
    }


@EVERY
def test_an_organization_without_groups_has_none(
    provider: Provider, platform: SyncService, name: str
) -> None:
    provider.answer = serving(name, {}, provider)
    platform.registry.add(REF, name, data(name, provider.url))
    for stream in (GROUPS, GROUP_MEMBERSHIPS):
        (outcome,) = platform.sync(stream, [REF], sync_id="one")
        assert (outcome.error, outcome.status) == (None, Status.UNCHANGED)


def test_a_list_that_is_left_out_must_be_one_that_says_what_it_is(
    provider: Provider, platform: SyncService
) -> None:
    serve = serving("google_workspace", {1: [1, 2]}, provider)

    def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/members"):
            return as_json({"kind": "admin#directory#something"})
        return serve(asked)

    provider.answer = answer
    platform.registry.add(REF, "google_workspace", data("google_workspace", provider.url))
    (outcome,) = platform.sync(GROUP_MEMBERSHIPS, [REF], sync_id="one")
    assert outcome.status is Status.FAILED
    assert "page 1 under '01abc' has no list at 'members'" in (outcome.error or "")


def test_a_preset_reads_users_alone_unless_it_is_told_more() -> None:
    assert catalog.streams(catalog.validate("okta", presets()["okta"].example)) == ("users",)
    with pytest.raises(InvalidInput, match="streams"):
        catalog.validate("okta", presets()["okta"].example | {"streams": ["roles"]})
    with pytest.raises(InvalidInput, match="streams: is not a known field"):
        catalog.validate("slack", presets()["slack"].example | {"streams": ["groups"]})
