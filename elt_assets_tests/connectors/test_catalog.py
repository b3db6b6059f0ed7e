"""provider_data at the door: what is accepted, and the words for what is not."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.errors import InvalidInput

ACME: dict[str, Any] = {
    "permission_source_name": "Acme directory",
    "api_endpoint": "https://directory.acme.example/v1",
    "auth": {"type": "bearer", "token": {"env": "ACME_TOKEN"}},
    "streams": {
        "users": {
            "path": "/users",
            "params": {"status": "all", "limit": 100, "deep": True},
            "records": "data.items",
            "pagination": {"type": "cursor", "cursor": "data.next", "param": "cursor"},
            "total": "data.total",
            "fields": {
                "external_id": "id",
                "name": "profile.displayName",
                "active": 'status == "ACTIVE"',
            },
        }
    },
    "rate_limit": {"requests_per_second": 10, "concurrency": 4},
}


def changed(path: str, value: object) -> dict[str, Any]:
    """ACME with one thing set (or, with `...`, removed)."""
    data = copy.deepcopy(ACME)
    *way, last = path.split("/")
    inner = data
    for step in way:
        inner = inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return data


def complaint(data: object) -> str:
    with pytest.raises(InvalidInput) as caught:
        catalog.validate("rest", data)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_documented_example_is_valid_and_stays_as_written() -> None:
    assert catalog.validate("rest", ACME) == ACME
    assert json.loads(json.dumps(ACME)) == ACME


def test_validating_twice_changes_nothing() -> None:
    data = changed("rate_limit", {"requests_per_second": "5"})
    once = catalog.validate("rest", data)
    assert once["rate_limit"] == {"requests_per_second": 5.0}
    assert catalog.validate("rest", once) == once


def test_an_unknown_provider_is_named_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"'rst' is unknown; did you mean rest\? \(there is: "):
        catalog.validate("rst", ACME)
    with pytest.raises(InvalidInput, match="'nothing-like-it' is unknown"):
        catalog.schema("nothing-like-it")


USERS = "streams/users"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("api_endpoint", ..., "api_endpoint: is missing"),
        ("api_endpoint", "directory.acme.example", "api_endpoint: the URL does not start with"),
        ("api_endpoint", "ftp://x.example", "api_endpoint: the URL does not start with"),
        ("api_endpoint", "https://u:p@x.example", "has credentials in it; put them into auth"),
        ("api_endpoint", "https://x.example?a=1", "put parameters into params"),
        ("api_endpoint", "http://x.example", "use https or set allow_plain_http: true"),
        ("api_endpont", "x", "api_endpont: is not a known field"),
        ("auth/token", "s3cret", "auth.token: give a secret as {env: NAME} or {file: PATH}"),
        ("auth/token", {"env": "A", "file": "b"}, "auth.token: give a secret as"),
        ("auth/token", ..., "auth.token: is missing"),
        ("auth/type", "magic", "auth: Input tag 'magic'"),
        ("auth/type", ..., "auth: Unable to extract tag"),
        ("auth", {"type": "api_key", "key": {"env": "K"}}, "auth: give the key's place"),
        ("streams", {}, "streams: "),
        (f"{USERS}/path", "https://evil.test/", "path: write a path under api_endpoint"),
        (f"{USERS}/path", "//evil.test/", "path: write a path under api_endpoint"),
        (f"{USERS}/path", "/users?a=1", "parameters go to params"),
        (f"{USERS}/records", "data..items", "streams.users.records: expression 'data..items'"),
        (f"{USERS}/records", "data[0]", "list position"),
        (f"{USERS}/records", "", "pagination.cursor cannot be read when the page itself"),
        (f"{USERS}/records", "data", "pagination.cursor is at or inside another path"),
        (f"{USERS}/total", "data.items", "total is at or inside another path"),
        (f"{USERS}/pagination/cursor", ..., "users.pagination: give the token's place as cursor"),
        (f"{USERS}/pagination/cursor", " ", "write where it stands"),
        (f"{USERS}/pagination", ..., "streams.users.pagination: is missing"),
        (f"{USERS}/pagination/type", "guess", "streams.users.pagination: Input tag 'guess'"),
        (f"{USERS}/fields", {"name": "name"}, "fields: has no external_id"),
        (f"{USERS}/fields/external_id", 'id == "1"', "fields: external_id compares"),
        (f"{USERS}/fields/external_id", "id..", "streams.users.fields.external_id: expression"),
        (f"{USERS}/fields/Bad Name", "x", "fields has 'Bad Name'"),
        ("streams/Users", ACME["streams"]["users"], "'Users', which is not a stream's name"),
        ("headers", {"Authorization": "x"}, "credentials go to auth"),
        ("headers", {"X-A": "a\r\nb: c"}, "headers has 'X-A'"),
        ("headers", {"Host": "x"}, "headers has Host"),
        ("allowed_hosts", ["https://x.example/"], "write host or host:port"),
        ("rate_limit/concurrency", 0, "rate_limit.concurrency: "),
        ("rate_limit/requests_per_second", 0, "rate_limit.requests_per_second: "),
    ],
)
def test_each_mistake_is_named_by_its_field(path: str, value: object, message: str) -> None:
    assert message in complaint(changed(path, value))


def test_several_mistakes_are_named_at_once() -> None:
    data = changed(f"{USERS}/pagination/param", ...)
    data["auth"]["token"] = {}
    message = complaint(data)
    assert "auth.token: " in message
    assert "streams.users.pagination.param: is missing" in message


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_provider_data_must_be_an_object(data: object) -> None:
    assert "not an object" in complaint(data)


def test_a_secret_typed_in_place_is_never_repeated() -> None:
    for path, value in (
        ("auth/token", "s3cret-value"),
        ("auth/token", {"value": "s3cret-value"}),
        ("auth", {"type": "basic", "username": "u", "password": "s3cret-value"}),
        ("auth", "s3cret-value"),
    ):
        assert "s3cret-value" not in complaint(changed(path, value))


def test_plain_http_is_for_this_machine_or_on_request() -> None:
    catalog.validate("rest", changed("api_endpoint", "http://127.0.0.1:9/v1"))
    catalog.validate("rest", changed("api_endpoint", "http://x.example") | {"allow_plain_http": 1})


def test_streams_and_schema_are_there_to_be_shown() -> None:
    assert "rest" in catalog.providers()
    assert catalog.streams(ACME) == ("users",)
    for unreadable in ([], None, {}, {"streams": "users"}, {"streams": None}, {"streams": 7}):
        assert catalog.streams(unreadable) == ("users",)
    schema = catalog.schema("rest")
    assert "api_endpoint" in schema["required"]
    assert json.dumps(schema)


def test_a_stream_that_is_not_configured_is_named() -> None:
    limits = FetchLimits(attempts=1, first_wait=0, timeout=1, page_bytes=1024, max_pages=1)
    with pytest.raises(InvalidInput, match="no stream 'groups'; it has users"):
        catalog.open_source("rest", ACME, "groups", secrets=Secrets(), limits=limits)
