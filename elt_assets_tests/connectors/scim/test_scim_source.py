"""SCIM: against a server of our own that can misbehave, and against one that we did not write."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import urllib3

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Page, Presence, Source
from elt_assets.errors import InvalidInput, PageUnreadable, ProviderRefused
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.serving import Answer, Asked, Provider, Reply, as_json

TOKEN = "t0ken-of-the-tests"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
REF = IntegrationRef("acme", "scim")


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIM_TOKEN", TOKEN)


def data(url: str, **more: Any) -> dict[str, Any]:
    return {
        "api_endpoint": url,
        "auth": {"type": "bearer", "token": {"env": "SCIM_TOKEN"}},
        **more,
    }


def opened(provider_data: dict[str, Any]) -> Source:
    limits = FetchLimits(
        attempts=2, first_wait=0.001, timeout=10, page_bytes=1 << 20, max_pages=100
    )
    return catalog.open_source("scim", provider_data, "users", secrets=Secrets(), limits=limits)


def person(number: int) -> dict[str, Any]:
    return {
        "id": f"id-{number}",
        "userName": f"user{number}",
        "name": {"givenName": "Ada", "familyName": f"L{number}"},
        "emails": [
            {"value": f"home{number}@example.com", "type": "home"},
            {"value": f"work{number}@example.com", "type": "work", "primary": True},
        ],
        "active": number % 2 == 0,
        "meta": {"resourceType": "User", "lastModified": "2026-01-02T03:04:05Z"},
    }


def scim_server(users: list[dict[str, Any]], config: dict[str, Any] | None) -> Answer:
    """Answers as RFC 7644 and, where `config` advertises it, RFC 9865 say."""

    def answer(asked: Asked) -> Reply:
        if asked.path == "/ServiceProviderConfig":
            return as_json(config) if config is not None else as_json({}, 404)
        if asked.path.startswith("/Users/"):
            wanted = asked.path.removeprefix("/Users/")
            found = [user for user in users if user["id"] == wanted]
            return as_json(found[0]) if found else as_json({"schemas": [ERROR]}, 404)
        count = int(asked.query["count"])
        if "cursor" in asked.query:
            start = int(asked.query["cursor"] or "0")
        else:
            start = int(asked.query["startIndex"]) - 1
        listed = users
        if named := re.findall(r'id eq "([^"]*)"', asked.query.get("filter", "")):
            listed = [user for user in users if user["id"] in named]
        found = listed[start : start + count]
        body: dict[str, Any] = {"schemas": [LIST], "totalResults": len(listed)}
        if found:
            body |= {"itemsPerPage": len(found), "Resources": found}
        if "cursor" not in asked.query:
            body["startIndex"] = start + 1
        elif start + count < len(listed):
            body["nextCursor"] = str(start + count)
        return as_json(body)

    return answer


def ids(pages: list[Page]) -> list[str]:
    return [user["id"] for page in pages for user in json.loads(page.body).get("Resources", [])]


CURSORS = {"pagination": {"cursor": True, "index": True, "maxPageSize": 20}}


@pytest.mark.parametrize(
    ("config", "pagination", "count", "asks_by"),
    [
        (None, "auto", 100, "startIndex"),
        ({"filter": {"supported": True, "maxResults": 30}}, "auto", 30, "startIndex"),
        ({"FILTER": {"Supported": True, "MAXRESULTS": 30}}, "auto", 30, "startIndex"),
        (CURSORS, "auto", 20, "cursor"),
        (CURSORS, "index", 100, "startIndex"),
        (CURSORS, "cursor", 100, "cursor"),
        ({"pagination": {"cursor": False, "index": True}}, "auto", 100, "startIndex"),
        (["odd"], "auto", 100, "startIndex"),
    ],
)
def test_the_provider_is_paged_as_it_advertises(
    provider: Provider, config: Any, pagination: str, count: int, asks_by: str
) -> None:
    users = [person(number) for number in range(250)]
    provider.answer = scim_server(users, config)
    source = opened(data(provider.url, pagination=pagination))
    pages = list(source.pages(None))
    source.close()
    assert ids(pages) == [user["id"] for user in users]
    assert pages[-1].next is None
    assert {page.total for page in pages} == {250}
    listed = [asked for asked in provider.asked if asked.path == "/Users"]
    assert all(asked.query["count"] == str(count) and asks_by in asked.query for asked in listed)
    assert all(asked.headers["authorization"] == f"Bearer {TOKEN}" for asked in provider.asked)
    assert not source.snapshot


def test_an_extraction_goes_on_by_the_pagination_it_began_with(provider: Provider) -> None:
    users = [person(number) for number in range(60)]
    provider.answer = scim_server(users, CURSORS)
    source = opened(data(provider.url))
    cursor = json.loads(json.dumps(next(source.pages(None)).next))
    source.close()
    provider.answer = scim_server(users, {"pagination": {"cursor": False, "maxPageSize": 20}})
    source = opened(data(provider.url))
    assert ids(list(source.pages(cursor))) == [user["id"] for user in users[20:]]
    source.close()


def test_a_provider_without_users_may_leave_the_list_out(provider: Provider) -> None:
    provider.answer = scim_server([], None)
    source = opened(data(provider.url))
    (page,) = source.pages(None)
    source.close()
    assert (page.count, page.next, page.total) == (0, None, 0)


def test_a_list_that_is_missing_although_there_are_users_is_incomplete(provider: Provider) -> None:
    provider.answer = lambda asked: as_json({"schemas": [LIST], "totalResults": 3})
    source = opened(data(provider.url, pagination="index"))
    (page,) = source.pages(None)
    source.close()
    assert str(page.cut_short).startswith("page 1 has null where its list should be")


def test_an_answer_that_is_no_list_response_is_no_page(provider: Provider) -> None:
    provider.answer = lambda asked: as_json({"message": "sign in"})
    source = opened(data(provider.url, pagination="index"))
    with pytest.raises(PageUnreadable, match="no list at 'Resources'"):
        list(source.pages(None))
    source.close()


def test_a_list_response_without_resources_behind_the_last_user_is_the_end(
    provider: Provider,
) -> None:
    users = [person(number) for number in range(5)]

    def answer(asked: Asked) -> Reply:
        start = int(asked.query["startIndex"])
        body: dict[str, Any] = {"schemas": [LIST], "totalResults": 5, "startIndex": start}
        return as_json(body if start > 5 else body | {"Resources": users})

    provider.answer = answer
    source = opened(data(provider.url, pagination="index", count=5))
    pages = list(source.pages(None))
    source.close()
    assert ids(pages) == [user["id"] for user in users]
    assert (pages[-1].next, pages[-1].cut_short, pages[-1].doubts) == (None, None, ())


def test_filter_and_attributes_are_sent(provider: Provider) -> None:
    provider.answer = scim_server([person(1)], None)
    source = opened(
        data(
            provider.url,
            pagination="index",
            filter='userType eq "Employee"',
            attributes=["userName", "emails"],
            incremental={"full_every": "1d"},
        )
    )
    list(source.pages(None))
    list(source.pages(None, "2026-01-02T03:04:05.000000Z"))
    source.close()
    first, _, second, _ = (asked.query for asked in provider.asked)
    assert first["filter"] == 'userType eq "Employee"'
    assert first["attributes"] == "userName,emails"
    assert second["filter"] == (
        '(userType eq "Employee") and meta.lastModified gt "2026-01-02T03:04:05.000000Z"'
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {
                "schemas": [ERROR],
                "scimType": "invalidFilter",
                "detail": "Bad filter.",
                "status": "400",
            },
            "invalidFilter: Bad filter)",
        ),
        ({"schemas": [ERROR], "status": "400", "detail": "No user ada@example.com"}, "status)"),
        ({"schemas": [ERROR], "status": "400", "scimType": "tooMany"}, "; tooMany)"),
    ],
)
def test_a_scim_error_says_what_the_provider_says(
    provider: Provider, body: dict[str, Any], words: str
) -> None:
    provider.answer = lambda _: as_json(body, 400)
    source = opened(data(provider.url, pagination="index"))
    with pytest.raises(ProviderRefused) as caught:
        list(source.pages(None))
    source.close()
    assert words in str(caught.value)
    assert "ada@" not in str(caught.value)


FILTERS = {"filter": {"supported": True, "maxResults": 10}}
MISSING = [f"id-{number}" for number in range(50, 60)]


REFUSALS = [
    (400, {"schemas": [ERROR], "detail": "Unsupported query parameter: {name}"}),
    (501, {"error": "'{name}' is not implemented"}),
    (422, {"detail": [{"loc": ["query", "{name}"], "msg": "extra inputs are not permitted"}]}),
]


@pytest.mark.parametrize("pagination", ["auto", "index"])
@pytest.mark.parametrize("name", ["count", "attributes"])
@pytest.mark.parametrize(("status", "body"), REFUSALS)
def test_a_parameter_that_the_server_refuses_by_name_is_not_sent_again(
    provider: Provider, name: str, status: int, body: dict[str, Any], pagination: str
) -> None:
    people = [person(number) for number in range(5)]
    said = json.loads(json.dumps(body).replace("{name}", name))

    def answer(asked: Asked) -> Reply:
        if name in asked.query:
            return as_json(said, status)
        start = int(asked.query.get("startIndex", "1")) - 1
        return as_json({"totalResults": 5, "Resources": people[start : start + 2]})

    provider.answer = answer
    attributes = {} if name == "count" else {"attributes": ["id", "userName"]}
    source = opened(data(provider.url, pagination=pagination, **attributes))
    assert ids(list(source.pages(None))) == [one["id"] for one in people]
    source.close()
    refused = [asked for asked in provider.asked if name in asked.query]
    assert len(refused) == 1


def test_a_refusal_that_names_no_parameter_is_an_error(provider: Provider) -> None:
    provider.answer = lambda _: as_json({"schemas": [ERROR], "detail": "Discount codes"}, 400)
    source = opened(data(provider.url))
    with pytest.raises(ProviderRefused, match="Discount codes"):
        list(source.pages(None))
    source.close()
    assert len(provider.asked) == 2


def test_a_user_is_asked_for_in_the_server_s_own_dialect(provider: Provider) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.path in ("/Users/7", "/Users/8"):
            return as_json({"ID": int(asked.path[-1])})
        return as_json({"schemas": [ERROR], "status": "404"}, 404)

    provider.answer = answer
    source = opened(data(provider.url))
    assert source.probe(["8", "9"], ["7"]) == {"8": Presence.PRESENT, "9": Presence.GONE}
    source.close()


@pytest.mark.parametrize("filter", [None, 'userType eq "Employee"'])
@pytest.mark.parametrize("config", [None, FILTERS], ids=["without filters", "with filters"])
def test_missing_users_are_asked_for_by_filter_where_the_provider_takes_filters(
    provider: Provider, config: dict[str, Any] | None, filter: str | None
) -> None:
    users = [person(number) for number in (1, 2, 51)]
    provider.answer = scim_server(users, config)
    source = opened(data(provider.url, filter=filter))
    list(source.pages(None))
    provider.asked.clear()
    answers = source.probe(MISSING, ["id-1", "id-2"])
    source.close()
    # By itself user 51 is there, but may not match the filter any more.
    single = Presence.PRESENT if filter is None else Presence.UNKNOWN
    here = single if config is None else Presence.PRESENT
    assert answers == dict.fromkeys(MISSING, Presence.GONE) | {"id-51": here}
    asked = [asked.query.get("filter", "") for asked in provider.asked]
    assert len(asked) == (len(MISSING) + 1 if config is None else 2)
    if config is not None:
        clauses = asked[0] if filter is None else asked[0].removeprefix(f"({filter}) and (")
        assert clauses.startswith('id eq "id-1" or id eq "id-50" or ')


def test_one_user_can_be_asked_for(provider: Provider) -> None:
    provider.answer = scim_server([person(1)], None)
    source = opened(data(provider.url))
    answers = source.probe(["id-1", "id-2"], ["id-1"])
    assert answers == {"id-1": Presence.PRESENT, "id-2": Presence.GONE}
    assert source.requests > 0
    source.close()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"fields": {"name": "a.."}}, "fields.name: expression"),
        ({"count": 0}, "count: "),
        ({"pagination": "guess"}, "pagination: "),
        ({"api_endpoint": "http://scim.example"}, "api_endpoint is plain http"),
        ({"fields": {"external_id": 'id == "1"'}}, "external_id"),
    ],
)
def test_mistakes_are_named(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        catalog.validate("scim", data("https://scim.example") | more)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def foreign() -> Iterator[str]:
    """A SCIM server that we did not write, on a free port."""
    scim2_server = pytest.importorskip("scim2_server", reason="scim2-server is not installed")
    from scim2_models import ScimProvider
    from scim2_server.memory import InMemoryStorage
    from scim2_server.testserver.application import BearerTokenApplication
    from scim2_server.utils import (
        load_default_resource_types,
        load_default_schemas,
        load_default_service_provider_config,
    )

    assert scim2_server
    scim = ScimProvider.from_discovery(
        load_default_schemas().values(),
        load_default_resource_types().values(),
        config=load_default_service_provider_config(),
    )
    application = BearerTokenApplication(InMemoryStorage(), scim, bearer_tokens=[TOKEN])
    with make_server("127.0.0.1", 0, application, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v2"
        server.shutdown()
        thread.join()


def test_a_server_that_we_did_not_write_is_synced_equal_to_what_it_holds(
    foreign: str, platform: SyncService
) -> None:
    with urllib3.PoolManager() as pool:
        for number in range(45):
            user = person(number) | {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"]}
            del user["id"], user["meta"]
            answer = pool.request(
                "POST",
                f"{foreign}/Users",
                body=json.dumps(user),
                headers={
                    "Authorization": f"Bearer {TOKEN}",
                    "Content-Type": "application/scim+json",
                },
            )
            assert answer.status == 201
        platform.registry.add(REF, "scim", data(foreign, count=20))
        (outcome,) = platform.sync(USERS, [REF], sync_id="one")
        assert (outcome.status, outcome.counts.inserts) == ("applied", 45)
        assert outcome.certificate.complete
        records = platform.records(USERS, REF)
        assert {(record["name"], record["email"], record["active"]) for record in records} == {
            (f"Ada L{number}", f"work{number}@example.com", number % 2 == 0) for number in range(45)
        }
        gone = records[0]["external_id"]
        pool.request(
            "DELETE", f"{foreign}/Users/{gone}", headers={"Authorization": f"Bearer {TOKEN}"}
        )
    (outcome,) = platform.sync(USERS, [REF], sync_id="two")
    assert (outcome.status, outcome.counts.deletes) == ("applied", 1), "asked for, it is gone"
