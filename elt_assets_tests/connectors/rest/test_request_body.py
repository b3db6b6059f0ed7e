"""Bodies of requests: what is sent, what a GraphQL server says, and mistakes in provider_data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from elt_assets.connectors import catalog
from elt_assets.errors import InvalidInput, ProviderRefused, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import GROUP_MEMBERSHIPS, USERS
from elt_assets_tests.connectors.conftest import OpenSource
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

GRAPHQL: dict[str, Any] = {
    "body": {"type": "graphql", "query": "{ users { id name } }"},
    "records": "data.users",
    "pagination": {"type": "none"},
}


def test_parameters_stand_in_the_body_at_their_places(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    data["streams"]["users"] |= {
        "body": {
            "type": "json",
            "content": {"page": {"size": 2}, "filter": [{"kind": "person"}]},
        },
        "params": {"verbose": True},
        "pagination": {"type": "offset", "param": "page.offset", "size_param": "page.size"},
        "incremental": {"param": "filter.since", "field": "changed"},
        "records": "items",
    }
    provider.answer = lambda _: as_json({"items": []})
    list(users().pages(None, "2026-01-02T03:04:05.000000Z"))
    (asked,) = provider.asked
    assert asked.method == "POST"
    assert asked.query == {"verbose": "true"}
    assert json.loads(asked.body) == {
        "page": {"size": 100, "offset": 0},
        "filter": {"since": "2026-01-02T03:04:05.000000Z"},
    }


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"message": "Field 'x' is not there"}, r"answers with an error \(Field 'x' is not there"),
        ({"message": "no", "extensions": {"code": "FORBIDDEN"}}, r"\(FORBIDDEN: no\)"),
        ({"message": "ada@acme.example is nobody"}, "answers with an error; correct"),
    ],
)
def test_a_graphql_error_with_status_200_is_an_error(
    provider: Provider, data: dict[str, Any], users: OpenSource, error: Any, words: str
) -> None:
    data["streams"]["users"] |= GRAPHQL
    provider.answer = lambda _: as_json({"data": {"users": [{"id": "1"}]}, "errors": [error]})
    with pytest.raises(ProviderRefused, match=words) as refused:
        list(users().pages(None))
    assert "ada@" not in str(refused.value)


def test_a_graphql_server_that_is_asked_too_often_is_asked_again(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    data["streams"]["users"] |= GRAPHQL
    busy = {"errors": [{"message": "slow", "extensions": {"code": "RATE_LIMITED"}}]}
    provider.answer = lambda asked: as_json(
        busy if asked.number < 3 else {"data": {"users": [{"id": "1", "name": "Ada"}]}}
    )
    (page,) = users().pages(None)
    assert page.count == 1
    provider.answer = lambda _: as_json(busy)
    with pytest.raises(ProviderUnavailable, match="tried 3 times"):
        list(users().pages(None))


def test_a_header_may_name_the_organization(
    provider: Provider, data: dict[str, Any], platform: SyncService
) -> None:
    data["headers"] = {"X-Tenant": "{organization_id}/{integration_id} {other}"}
    provider.answer = lambda _: as_json({"data": {"items": [], "next": None}})
    ref = IntegrationRef("acme", "main")
    platform.registry.add(ref, "rest", data)
    platform.preview(USERS, ref)
    assert provider.asked[0].headers["x-tenant"] == "acme/main {other}"


def test_members_of_a_group_may_be_asked_for_by_post(
    provider: Provider, data: dict[str, Any], platform: SyncService
) -> None:
    data["streams"] = {
        "groups": {
            "path": "/groups",
            "pagination": {"type": "none"},
            "fields": {"external_id": "id", "name": "id"},
        },
        "group_memberships": {
            "path": "/members",
            "parent": {"stream": "groups"},
            "body": {"type": "json", "content": {"group": "{parent}"}},
            "pagination": {"type": "none"},
            "fields": {"group_external_id": "$parent", "member_external_id": "id"},
        },
    }
    provider.answer = lambda asked: as_json(
        [{"id": "a"}, {"id": "b"}]
        if asked.path == "/v1/groups"
        else [{"id": f"member of {json.loads(asked.body)['group']}"}]
    )
    ref = IntegrationRef("acme", "main")
    platform.registry.add(ref, "rest", data)
    (outcome,) = platform.sync(GROUP_MEMBERSHIPS, [ref], sync_id="s")
    assert outcome.error is None
    assert {
        (one["group_external_id"], one["member_external_id"])
        for one in platform.records(GROUP_MEMBERSHIPS, ref)
    } == {("a", "member of a"), ("b", "member of b")}


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        ({"body": {"type": "xml"}}, "streams.users.body.content: is missing"),
        (
            {"body": {"type": "xml", "content": "<a>{after}</a>"}},
            "body.content: {after} is not known here; there is {cursor}",
        ),
        ({"body": {"type": "json", "content": ["a"]}}, "streams.users.body.content"),
        ({"body": {"type": "json", "content": {"a": "{tenant}"}}}, "{tenant} is not known here"),
        ({"body": {"type": "graphql"}}, "streams.users.body.query: is missing"),
        ({"body": {"type": "form", "content": {"a": 1}}}, "streams.users.body.content.a"),
        ({"pagination": {"type": "keyset"}}, "streams.users.pagination.param: is missing"),
        (
            {"pagination": {"type": "keyset", "param": "after", "value": "x"}},
            "value has no {key}",
        ),
        (
            {
                "body": {"type": "json"},
                "single": {"path": "/users/{external_id}", "several": {"param": "filter"}},
            },
            "single.several: a filter of several records is for GET",
        ),
        (
            {
                "body": {"type": "graphql", "query": "query { users }"},
                "pagination": {"type": "cursor", "cursor": "c", "param": "c", "path": "/more"},
            },
            "pagination.path: only a body of JSON or a form can have the token alone",
        ),
    ],
)
def test_a_mistake_is_named(data: dict[str, Any], stream: dict[str, Any], words: str) -> None:
    data["streams"]["users"] |= stream
    with pytest.raises(InvalidInput) as refused:
        catalog.validate("rest", data)
    assert words in str(refused.value)


def test_a_last_record_without_a_key_is_an_error(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    data["streams"]["users"] |= {
        "records": "items",
        "pagination": {"type": "keyset", "param": "after", "key": "number"},
    }
    provider.answer = lambda _: as_json({"items": [{"id": "1"}]})
    with pytest.raises(Exception, match="last record of page 1 has no key to go on from"):
        list(users().pages(None))


def test_a_provider_that_ignores_the_key_makes_the_listing_incomplete(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    data["streams"]["users"] |= {
        "records": "items",
        "pagination": {"type": "keyset", "param": "after"},
    }
    provider.answer = lambda _: as_json({"items": [{"id": "1"}, {"id": "2"}]})
    pages = list(users().pages(None))
    assert "page 2 repeats page 1" in pages[1].doubts


def test_pages_after_the_first_at_another_path_are_asked_for_by_the_token_alone(
    data: dict[str, Any], provider: Provider, users: OpenSource
) -> None:
    data["streams"]["users"] |= {
        "params": {"limit": 2, "fields": "id"},
        "pagination": {"type": "cursor", "cursor": "data.next", "param": "t", "path": "/more"},
    }
    pages = {"/v1/users": ("a", "token 2"), "/v1/more": ("b", None)}

    def answer(asked: Asked) -> Reply:
        record, following = pages[asked.path]
        return as_json({"data": {"items": [{"id": record}], "next": following}})

    provider.answer = answer
    first, last = users().pages(None)
    assert [(asked.path, asked.query) for asked in provider.asked] == [
        ("/v1/users", {"limit": "2", "fields": "id"}),
        ("/v1/more", {"t": "token 2"}),
    ]
    (rest,) = users().pages(json.loads(json.dumps(first.next)))
    assert rest.body == last.body
