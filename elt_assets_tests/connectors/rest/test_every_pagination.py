"""Every type of pagination against every type of auth: all of it, from anywhere, at speed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Page, Presence, Source
from elt_assets.errors import InvalidInput, PermanentError, ProviderRefused
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.directories import (
    AUTHS,
    PAGINATIONS,
    SECRET,
    directory,
    directory_data,
    first_of,
    people,
)
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

COUNTED = ("page", "offset", "scim")
REF = IntegrationRef("acme", "main")


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SECRET", SECRET)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread for thread in threading.enumerate() if thread.name.startswith("pages")] == []


def opened(data: dict[str, Any], **limits: Any) -> Source:
    chosen = {
        "attempts": 2,
        "first_wait": 0.001,
        "timeout": 10.0,
        "page_bytes": 1 << 20,
        "max_pages": 1000,
        **limits,
    }
    return catalog.open_source(
        "rest", data, "users", secrets=Secrets(), limits=FetchLimits(**chosen), ref=REF
    )


def ids(pages: list[Page], source: Source) -> list[str]:
    found = []
    for page in pages:
        inner = json.loads(page.body)
        for key in source.records:
            inner = inner[key]
        assert len(inner) == page.count
        found += [record["id"] for record in inner]
    return found


def listed(asked: list[Asked]) -> list[Asked]:
    return [one for one in asked if one.path == "/v1/users"]


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("pagination", PAGINATIONS)
def test_everybody_is_listed_once_and_in_order(
    provider: Provider, pagination: str, auth: str
) -> None:
    users = people(950)
    provider.answer = directory(users, pagination, auth, provider.url)
    source = opened(directory_data(pagination, auth, provider.url))
    pages = list(source.pages(None))
    source.close()
    assert ids(pages, source) == [user["id"] for user in users]
    assert pages[-1].next is None
    assert pages[-1].cut_short is None
    assert SECRET not in json.dumps([page.next for page in pages])


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("pagination", [one for one in PAGINATIONS if one != "none"])
def test_every_page_can_be_continued_from_without_asking_for_those_before_it(
    provider: Provider, pagination: str, concurrency: int
) -> None:
    users = people(450)
    provider.answer = directory(users, pagination, "bearer", provider.url)
    data = directory_data(pagination, "bearer", provider.url)
    data["rate_limit"] = {"concurrency": concurrency}
    source = opened(data)
    pages = list(source.pages(None))
    source.close()
    for after, page in enumerate(pages[:-1], start=1):
        provider.asked.clear()
        source = opened(data)
        rest = list(source.pages(json.loads(json.dumps(page.next))))
        source.close()
        assert ids(rest, source) == [user["id"] for user in users[after * 100 :]]
        asked_before = {
            (json.dumps(one.query), one.body)
            for one in listed(provider.asked)
            if first_of(one) < min(after * 100, 450)
        }
        assert asked_before == set()


@pytest.mark.parametrize("pagination", COUNTED)
@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 400])
def test_counted_pages_end_where_they_should(
    provider: Provider, pagination: str, count: int
) -> None:
    users = people(count)
    provider.answer = directory(users, pagination, "bearer", provider.url)
    data = directory_data(pagination, "bearer", provider.url)
    data["rate_limit"] = {"concurrency": 3}
    source = opened(data)
    pages = list(source.pages(None))
    source.close()
    assert ids(pages, source) == [user["id"] for user in users]
    assert pages[-1].next is None


@pytest.mark.parametrize("pagination", COUNTED)
def test_a_provider_that_gives_shorter_pages_than_asked_for_is_still_read_whole(
    provider: Provider, pagination: str
) -> None:
    users = people(230)
    provider.answer = directory(users, pagination, "bearer", provider.url, size=30)
    data = directory_data(pagination, "bearer", provider.url)
    data["rate_limit"] = {"concurrency": 4}
    source = opened(data)
    assert ids(list(source.pages(None)), source) == [user["id"] for user in users]
    source.close()


def test_pages_whose_length_changes_midway_leave_no_gap(provider: Provider) -> None:
    users = people(300)

    def answer(asked: Asked) -> Reply:
        start = int(asked.query["offset"])
        size = 20 if start == 40 else 40
        return as_json({"items": users[start : start + size], "total": len(users)})

    provider.answer = answer
    data = directory_data("offset", "bearer", provider.url)
    data["rate_limit"] = {"concurrency": 4}
    source = opened(data)
    assert ids(list(source.pages(None)), source) == [user["id"] for user in users]
    source.close()


@pytest.mark.parametrize("pagination", COUNTED)
def test_a_provider_that_ignores_the_page_number_is_cut_short(
    provider: Provider, pagination: str
) -> None:
    users = people(1000)
    always_first = directory(users, pagination, "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        asked.query.update({"page": "1", "offset": "0", "startIndex": "1"})
        return always_first(asked)

    provider.answer = answer
    source = opened(directory_data(pagination, "bearer", provider.url))
    pages = list(source.pages(None))
    source.close()
    assert pages[-1].cut_short is not None
    assert "page 2 repeats page 1" in pages[-1].cut_short


@pytest.mark.parametrize("pagination", PAGINATIONS)
def test_a_listing_is_a_snapshot_only_where_the_configuration_promises_it(
    provider: Provider, pagination: str
) -> None:
    assert not opened(directory_data(pagination, "bearer", provider.url)).snapshot
    promised = directory_data(pagination, "bearer", provider.url, snapshot=True)
    if pagination in ("page", "offset", "scim", "form"):
        with pytest.raises(InvalidInput, match=r"snapshot: pagination type .* counts records"):
            catalog.validate("rest", promised)
    else:
        assert opened(promised).snapshot


@pytest.mark.parametrize(
    ("pagination", "position"),
    [
        ("page", 1),
        ("page", "2"),
        ("page", {"number": 2}),
        ("offset", 0),
        ("offset", True),
        ("offset", "https://elsewhere.example/"),
        ("link_header", {"number": 2, "seen": 1}),
    ],
)
def test_a_position_of_another_type_is_refused(
    provider: Provider, pagination: str, position: object
) -> None:
    source = opened(directory_data(pagination, "bearer", provider.url))
    with pytest.raises(PermanentError, match="start a new sync"):
        next(source.pages({"page": 2, "at": position}))
    assert provider.asked == []


# Ahead of the reader


def test_counted_pages_are_fetched_at_once_up_to_the_concurrency(provider: Provider) -> None:
    users = people(1000)
    serve = directory(users, "offset", "bearer", provider.url)
    together = threading.Barrier(4)

    def answer(asked: Asked) -> Reply:
        # Pages 2 to 9 come in fours, or not at all.
        if 100 <= int(asked.query["offset"]) < 900:
            together.wait(timeout=10)
        return serve(asked)

    provider.answer = answer
    data = directory_data("offset", "bearer", provider.url)
    data["rate_limit"] = {"concurrency": 4}
    source = opened(data)
    assert ids(list(source.pages(None)), source) == [user["id"] for user in users]
    source.close()
    assert len(provider.asked) == 11
    assert provider.asked[-1].query["offset"] == "1000", "a full page may not be the last"


def test_no_more_pages_are_held_than_the_concurrency_allows(provider: Provider) -> None:
    serve = directory(people(3000), "offset", "bearer", provider.url)
    read, ahead = [0], []

    def answer(asked: Asked) -> Reply:
        ahead.append(asked.number - read[0])
        return serve(asked)

    provider.answer = answer
    data = directory_data("offset", "bearer", provider.url)
    data["rate_limit"] = {"concurrency": 3}
    source = opened(data)
    for _ in source.pages(None):
        read[0] += 1
    source.close()
    # Three on their way, beside the page that is being handed over.
    assert 1 < max(ahead) <= 4


def test_the_page_after_the_one_being_written_is_on_its_way(provider: Provider) -> None:
    provider.answer = directory(people(500), "cursor", "bearer", provider.url)
    source = opened(directory_data("cursor", "bearer", provider.url))
    pages = source.pages(None)
    next(pages)
    assert len(provider.asked) == 1, "who looks at one page causes one request"
    next(pages)
    until(lambda: len(provider.asked) == 3)
    source.close()


def test_pages_before_a_failing_one_are_still_delivered(provider: Provider) -> None:
    serve = directory(people(1000), "offset", "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        return as_json({}, 400) if asked.query["offset"] == "500" else serve(asked)

    provider.answer = answer
    data = directory_data("offset", "bearer", provider.url)
    data["rate_limit"] = {"concurrency": 8}
    source = opened(data)
    pages = source.pages(None)
    assert [next(pages).count for _ in range(5)] == [100] * 5
    with pytest.raises(ProviderRefused, match="page 6: "):
        next(pages)
    source.close()


def test_a_failure_beyond_the_end_is_nobodys(provider: Provider) -> None:
    users = people(200)
    serve = directory(users, "page", "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        return as_json({}, 404) if int(asked.query["page"]) > 3 else serve(asked)

    provider.answer = answer
    data = directory_data("page", "bearer", provider.url)
    data["rate_limit"] = {"concurrency": 8}
    source = opened(data)
    assert ids(list(source.pages(None)), source) == [user["id"] for user in users]
    source.close()


def test_closing_does_not_wait_for_retries_that_nobody_wants(provider: Provider) -> None:
    serve = directory(people(1000), "offset", "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        if int(asked.query["offset"]) >= 300:
            return as_json({}, 503, retry_after="50")
        return serve(asked)

    provider.answer = answer
    data = directory_data("offset", "bearer", provider.url)
    data["rate_limit"] = {"concurrency": 4}
    source = opened(data)
    pages = source.pages(None)
    next(pages), next(pages)
    source.close()
    again = [int(asked.query["offset"]) for asked in provider.asked]
    assert len(again) == len(set(again)), "a second try would have come after 50 seconds"


def test_the_page_limit_is_not_passed_by_fetching_ahead(provider: Provider) -> None:
    provider.answer = directory(people(5000), "offset", "bearer", provider.url)
    data = directory_data("offset", "bearer", provider.url)
    data["rate_limit"] = {"concurrency": 8}
    source = opened(data, max_pages=3)
    pages = list(source.pages(None))
    source.close()
    assert [page.cut_short for page in pages] == [
        None,
        None,
        "page limit of 3 reached (ELT_ASSETS_MAX_PAGES)",
    ]
    assert len(provider.asked) == 3


# One record alone


def test_without_a_way_to_ask_nobody_is_asked(provider: Provider) -> None:
    source = opened(directory_data("offset", "bearer", provider.url))
    assert not source.probes
    assert source.probe(["x"], []) == {"x": Presence.UNKNOWN}
    assert source.requests == 0
    assert provider.asked == []


@pytest.mark.parametrize(
    ("single", "words"),
    [
        ({"path": "/users/{external_id}"}, []),
        ({"path": "/people/{external_id}"}, ["is not answered as present"]),
        ({"path": "/down/{external_id}"}, ["is not answered as present"]),
        (
            {"path": "/users/{external_id}", "active": 'status == "ACTIVE"'},
            ["is not answered as present"],
        ),
        (None, ["cannot be asked for one by one, so each is deleted only when a second"]),
    ],
)
def test_looking_at_a_page_tells_whether_missing_records_can_be_asked_for(
    provider: Provider, platform: SyncService, single: dict[str, Any] | None, words: list[str]
) -> None:
    users = people(7)
    serve = directory(users, "offset", "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        if asked.path.startswith("/v1/users/"):
            return as_json(next(user for user in users if asked.path.endswith(user["id"])))
        if asked.path.startswith("/v1/down/"):
            return as_json({}, 500)
        return serve(asked) if asked.path == "/v1/users" else as_json({}, 404)

    provider.answer = answer
    data = directory_data("offset", "bearer", provider.url)
    data["streams"]["users"]["single"] = single
    platform.registry.add(REF, "rest", data)
    found = platform.preview(USERS, REF).warnings
    assert len(found) == len(words)
    assert all(word in warning for word, warning in zip(words, found, strict=True))


# Whose data it is


def test_names_in_braces_are_filled_in(provider: Provider) -> None:
    provider.answer = lambda _: as_json([])
    data = directory_data("none", "bearer", provider.url)
    data["streams"]["users"].update(
        path="/tenants/{organization_id}/users",
        params={"tag": "{integration_id}", "query": '{"a":1}', "deep": True},
    )
    source = opened(data)
    list(source.pages(None))
    source.close()
    (asked,) = provider.asked
    assert asked.path == "/v1/tenants/acme/users"
    assert asked.query == {"tag": "main", "query": '{"a":1}', "deep": "true"}


# Only what changed


@pytest.mark.parametrize(
    ("more", "query"),
    [
        ({}, {"since": "2026-01-02T03:04:05.000000Z"}),
        ({"format": "epoch"}, {"since": "1767323045"}),
        ({"format": "epoch_ms"}, {"since": "1767323045000"}),
        (
            {"param": "filter", "value": 'lastUpdated gt "{since}"'},
            {"filter": 'lastUpdated gt "2026-01-02T03:04:05.000000Z"'},
        ),
    ],
)
def test_changes_are_asked_for_from_the_moment_given(
    provider: Provider, more: dict[str, Any], query: dict[str, str]
) -> None:
    provider.answer = lambda _: as_json([])
    data = directory_data("none", "bearer", provider.url)
    data["streams"]["users"]["incremental"] = {"param": "since", "field": "changed", **more}
    source = opened(data)
    assert source.incremental is not None
    assert source.incremental.full_every.days == 7
    assert "source_updated_at" in source.fields
    list(source.pages(None, "2026-01-02T03:04:05.000000Z"))
    source.close()
    assert provider.asked[0].query == query
    provider.asked.clear()
    source = opened(data)
    list(source.pages(None))
    source.close()
    assert provider.asked[0].query == {}


def until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
