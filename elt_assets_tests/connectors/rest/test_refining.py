"""Records completed by a further request each, and chosen by membership."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from elt_assets.connectors import catalog
from elt_assets.connectors.source import Presence
from elt_assets.errors import InvalidInput, PageUnreadable
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.conftest import OpenSource
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

REF = IntegrationRef("acme", "main")


class People:
    """Forty people in pages of ten; each has details of its own."""

    def __init__(self, provider: Provider) -> None:
        self.changed = dict.fromkeys((f"u{number:02d}" for number in range(40)), 1)
        self.left: set[str] = set()
        self.answered = threading.Barrier(1)
        self.details: list[str] = []
        provider.answer = self.answer

    def answer(self, asked: Asked) -> Reply:
        _, kind, *key = asked.path.removeprefix("/v1").split("/")
        if kind == "groups":
            members = [{"user": one} for one in self.changed if int(one[1:]) % 2]
            return as_json(members if key[0] == "odd" else [{"user": "u00"}])
        if not key:
            start = int(asked.query["offset"])
            keys = list(self.changed)[start : start + int(asked.query["limit"])]
            return as_json([{"id": one, "changed": self.changed[one]} for one in keys])
        if key[0] in self.left:
            return as_json({"error": "not_found"}, 404)
        self.details.append(key[0])
        self.answered.wait(timeout=20)
        return as_json({"mail": f"{key[0]}.{self.changed[key[0]]}@example.com"})


@pytest.fixture
def detailed(data: dict[str, Any]) -> dict[str, Any]:
    """provider_data with details."""
    data["rate_limit"] = {"concurrency": 5}
    data["streams"]["users"] = {
        "path": "/users",
        "pagination": {"type": "offset", "size": 10},
        "details": {"path": "/users/{external_id}", "unchanged": "changed"},
        "fields": {"external_id": "id", "email": "detail.mail"},
    }
    return data


def emails(platform: SyncService) -> dict[str, str]:
    return {one["external_id"]: one["email"] for one in platform.records(USERS, REF)}


def sync(platform: SyncService, sync_id: str) -> Any:
    (outcome,) = platform.sync(USERS, [REF], sync_id=sync_id, pages_per_batch=1)
    return outcome


def test_details_of_pages_without_a_change_are_not_requested_again(
    provider: Provider, detailed: dict[str, Any], platform: SyncService
) -> None:
    people = People(provider)
    platform.registry.add(REF, "rest", detailed)
    assert sync(platform, "first").counts.inserts == 40
    people.details.clear()
    assert sync(platform, "second").status == "unchanged"
    assert people.details == []
    people.changed["u13"] = 2
    outcome = sync(platform, "third")
    assert (outcome.status, outcome.counts.updates) == ("applied", 1)
    assert sorted(people.details) == [f"u{number}" for number in range(10, 20)]
    assert emails(platform) == {
        key: f"{key}.{changed}@example.com" for key, changed in people.changed.items()
    }


def test_details_are_requested_at_once(
    provider: Provider, detailed: dict[str, Any], users: OpenSource
) -> None:
    people = People(provider)
    # It lets five through together, and no fewer.
    people.answered = threading.Barrier(5)
    assert sum(page.count for page in users().pages(None)) == 40


def test_a_record_whose_details_are_not_there_keeps_its_user(
    provider: Provider, detailed: dict[str, Any], platform: SyncService
) -> None:
    people = People(provider)
    platform.registry.add(REF, "rest", detailed)
    sync(platform, "first")
    people.left.add("u13")
    people.changed["u13"] = 2
    outcome = sync(platform, "second")
    assert (outcome.error, outcome.counts.rejected, outcome.counts.deletes) == (None, 1, 0)
    assert emails(platform)["u13"] == "u13.1@example.com"
    people.left.clear()
    # Nothing that the listing shows has changed, and the details are there again.
    assert sync(platform, "third").counts.updates == 1
    assert emails(platform)["u13"] == "u13.2@example.com"


def test_details_that_are_no_object_or_too_large_are_named(
    provider: Provider, detailed: dict[str, Any], users: OpenSource
) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.path == "/v1/users":
            return as_json([{"id": f"u{number}"} for number in range(10)])
        return as_json({"inner": "x" * 500})

    provider.answer = answer
    detailed["streams"]["users"]["details"]["record"] = "inner"
    with pytest.raises(PageUnreadable, match=r"are no object; correct details\.record"):
        list(users().pages(None))
    del detailed["streams"]["users"]["details"]["record"]
    with pytest.raises(PageUnreadable, match="the details of one page have more than 2,000 bytes"):
        list(users(page_bytes=2000).pages(None))


def test_only_members_of_certain_groups_are_listed(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    People(provider)
    data["streams"] = {
        "users": {
            "path": "/users",
            "pagination": {"type": "offset", "size": 10},
            "only_members_of": {"groups": ["odd", "first"]},
            "single": {"path": "/users/{external_id}"},
            "fields": {"external_id": "id"},
        },
        "groups": {
            "path": "/groups",
            "pagination": {"type": "none"},
            "fields": {"external_id": "id"},
        },
        "group_memberships": {
            "path": "/groups/{parent}",
            "parent": {},
            "pagination": {"type": "none"},
            "fields": {"group_external_id": "$parent", "member_external_id": "user"},
        },
    }
    source = users()
    listed = [one["id"] for page in source.pages(None) for one in json.loads(page.body)]
    assert listed == ["u00", *(f"u{number:02d}" for number in range(1, 40, 2))]
    # One that is there may have left the groups: that it is there does not say that it is listed.
    assert source.probe(["u02"], ["u01"]) == {"u02": Presence.UNKNOWN}
    data["streams"]["users"]["incremental"] = {"param": "since", "field": "changed"}
    with pytest.raises(InvalidInput, match="only_members_of cannot be used with incremental"):
        catalog.validate("rest", data)


def test_several_endpoints_are_one_stream(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    def answer(asked: Asked) -> Reply:
        kind, page = asked.path.removeprefix("/v1/"), int(asked.query["page"])
        return as_json([{"id": f"{kind}-{page}-{n}"} for n in range(3)] if page < 3 else [])

    provider.answer = answer
    data["streams"]["users"] = {
        "path": "/{parent}",
        "parent": {"among": ["employees", "contractors"]},
        "pagination": {"type": "page"},
        "fields": {"external_id": "id", "kind": "$parent"},
    }
    whole = list(users().pages(None))
    listed = [one["id"] for page in whole for one in json.loads(page.body)]
    assert listed == [
        f"{kind}-{page}-{n}"
        for kind in ("employees", "contractors")
        for page in (1, 2)
        for n in range(3)
    ]
    assert {page.parents[0][0] for page in whole if page.parents} == {"employees", "contractors"}
    for behind, page in enumerate(whole[:-1], 1):
        rest = list(users().pages(json.loads(json.dumps(page.next))))
        assert [one.body for one in rest] == [one.body for one in whole[behind:]]
    data["streams"]["users"]["parent"] = {"among": ["a", ".."]}
    with pytest.raises(InvalidInput, match="among has a name twice, or one that cannot stand"):
        catalog.validate("rest", data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"where": 'detail.kind == "person"'}, "where: detail cannot be used"),
        ({"details": {"path": "/users"}}, "details: path has no {external_id}"),
        ({"parent": {"among": ["a"]}, "path": "/{parent}"}, "cannot be used with parent"),
        ({"job": {"poll": "/{job}", "done": "a == 1", "url": "b"}}, "details cannot be used with"),
    ],
)
def test_what_cannot_be_is_refused(
    detailed: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    detailed["streams"]["users"] |= change
    with pytest.raises(InvalidInput) as refused:
        catalog.validate("rest", detailed)
    assert words in str(refused.value)
