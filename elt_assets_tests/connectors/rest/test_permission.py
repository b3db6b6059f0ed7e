"""Credentials that see some of the records fail before a page is read."""

from __future__ import annotations

from typing import Any

import pytest

from elt_assets.connectors import catalog
from elt_assets.connectors.rest.counting_links import counts_in_disguise
from elt_assets.errors import InvalidInput, ProviderRefused
from elt_assets_tests.connectors.conftest import OpenSource
from elt_assets_tests.connectors.serving import Answer, Asked, Provider, Reply, as_json, listing

LISTING = listing([[{"id": 1, "name": "Ada"}]])


def serving(check: Reply) -> Answer:
    def answer(asked: Asked) -> Reply:
        return check if asked.path == "/v1/me" else LISTING(asked)

    return answer


def requires(data: dict[str, Any], **how: Any) -> None:
    where = {} if "header" in how else {"path": "/me"}
    data["streams"]["users"]["requires"] = {"otherwise": "ask Ada", **where, **how}


@pytest.mark.parametrize(
    ("how", "good", "bad"),
    [
        (
            {"holds": 'state == "active"'},
            as_json({"state": "active"}),
            as_json({"state": "pending"}),
        ),
        (
            {"holds": "value[enabled == null].id == null"},
            as_json({"value": [{"id": 1, "enabled": False}]}),
            as_json({"value": [{"id": 1}]}),
        ),
    ],
)
def test_a_permission_is_there_or_the_sync_fails(
    provider: Provider,
    data: dict[str, Any],
    users: OpenSource,
    how: dict[str, Any],
    good: Reply,
    bad: Reply,
) -> None:
    requires(data, **how)
    provider.answer = serving(good)
    assert [page.count for page in users().pages(None)] == [1]
    provider.answer = serving(bad)
    with pytest.raises(ProviderRefused, match="the check of permissions failed: ask Ada"):
        list(users().pages(None))


def test_an_answer_that_does_not_speak_of_permissions_makes_the_listing_doubtful(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    requires(data, holds='state == "active"')
    provider.answer = serving(as_json([{"id": 1}]))
    (page,) = users().pages(None)
    assert (page.count, page.etag) == (1, None)
    assert page.doubts == (
        "the check of permissions is not answered with an object; more records may be hidden",
    )


def test_a_refusal_of_the_check_says_what_to_do(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    requires(data, holds='state == "active"')
    provider.answer = serving(as_json({"message": "Not Found"}, 404))
    with pytest.raises(ProviderRefused, match=r"404.*ask Ada"):
        list(users().pages(None))


def test_wrong_credentials_are_not_called_a_missing_permission(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    requires(data, holds='state == "active"')
    provider.answer = serving(as_json({"message": "Bad credentials"}, 401))
    with pytest.raises(ProviderRefused, match="answered 401") as refused:
        list(users().pages(None))
    assert "ask Ada" not in str(refused.value)


def test_an_error_in_an_answer_of_200_is_repeated(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    requires(data, holds="ok == true")
    provider.answer = serving(as_json({"ok": False, "error": "invalid_auth"}))
    with pytest.raises(ProviderRefused, match="answered with an error; invalid_auth"):
        list(users().pages(None))


@pytest.mark.parametrize(
    ("granted", "refused"),
    [("email, read, write", False), ("read,email", False), ("read, write", True), (None, False)],
)
def test_a_page_that_lists_its_scopes_must_have_been_sent_with_all_of_them(
    provider: Provider,
    data: dict[str, Any],
    users: OpenSource,
    granted: str | None,
    refused: bool,
) -> None:
    requires(data, header="X-OAuth-Scopes", scopes=["read", "email"])
    page = LISTING(Asked("/v1/users", {}, {}, 1))
    if granted is not None:
        page.headers["X-OAuth-Scopes"] = granted
    provider.answer = lambda _: page
    if not refused:
        assert [one.count for one in users().pages(None)] == [1]
        return
    with pytest.raises(ProviderRefused, match="page 1 lacks a required scope: ask Ada"):
        list(users().pages(None))
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, "give path and holds, or header and scopes"),
        ({"header": "X", "holds": "a == 1"}, "give path and holds, or header and scopes"),
        ({"holds": "state"}, "compares nothing"),
    ],
)
def test_a_check_that_checks_nothing_is_refused(
    data: dict[str, Any], how: dict[str, Any], said: str
) -> None:
    requires(data, **how)
    with pytest.raises(InvalidInput, match=said):
        catalog.validate("rest", data)


@pytest.mark.parametrize(
    ("at", "counts"),
    [
        ("https://acme.example/users?per_page=100&page=2", "page=2"),
        ("/users?_page=3", "_page=3"),
        ("https://acme.example/users?startIndex=101&count=100", "startIndex=101"),
        ("10", "the token 10"),
        ("https://acme.example/users?after=00u17&limit=200", None),
        ("b2Zmc2V0", None),
        (200, None),
    ],
)
def test_links_that_count_are_told_from_those_that_name_a_record(
    at: object, counts: str | None
) -> None:
    assert counts_in_disguise({"at": at}) == counts
