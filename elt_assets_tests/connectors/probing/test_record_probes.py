"""Missing records asked for over real HTTP: which requests are sent, and what is believed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest

from elt_assets.connectors.probing import record_probes
from elt_assets.connectors.source import Presence
from elt_assets.errors import ProviderUnavailable
from elt_assets_tests.connectors.conftest import OpenSource
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

ODD = [
    "a/b",
    "50%",
    "o'brien",
    "ada lovelace",
    "zoë",
    "čapek/50% o'neill",
    'say "hi"',
    "a\\b",
    "a+b",
]
PLAIN = [f"u{number}" for number in range(40)]
PRESENT, GONE, UNKNOWN = Presence.PRESENT, Presence.GONE, Presence.UNKNOWN
PROXY = Reply(b"<html>404 Not Found</html>", 404, {"Content-Type": "text/html"})


def serving(people: list[str]) -> Callable[[Asked], Reply]:
    """One record at a path of its own, or those that a filter names."""

    def answer(asked: Asked) -> Reply:
        if asked.path.startswith("/v1/users/"):
            key = unquote(asked.path.removeprefix("/v1/users/"))
            return as_json({"id": key}) if key in people else as_json({"error": "no user"}, 404)
        if asked.path != "/v1/users":
            return as_json({"error": "no route"}, 404)
        keys = re.findall(r'id eq "((?:[^"\\]|\\.)*)"', asked.query.get("filter", ""))
        named = {key.replace('\\"', '"').replace("\\\\", "\\") for key in keys}
        found = [{"id": key} for key in people if key in named or "filter" not in asked.query]
        return as_json({"data": {"items": found, "next": None}})

    return answer


def single(data: dict[str, Any], **more: Any) -> None:
    data["streams"]["users"]["single"] = {"path": "/users/{external_id}", **more}


@pytest.fixture
def several(data: dict[str, Any]) -> None:
    single(data, several={"param": "filter", "most": 10})


def test_ids_with_special_characters_are_asked_for_and_believed_one_by_one(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    provider.answer = serving(["every /%'\"\\+. é of them", *ODD[:4]])
    single(data)
    found = users().probe(ODD, ["u1", "every /%'\"\\+. é of them"])
    assert found == dict.fromkeys(ODD[:4], PRESENT) | dict.fromkeys(ODD[4:], GONE)
    assert len(provider.asked) == len(ODD) + 1


@pytest.mark.usefixtures("several")
def test_ids_with_special_characters_are_asked_for_and_believed_by_filter(
    provider: Provider, users: OpenSource
) -> None:
    listed = ["every /%'\"\\+. é of them", "each /%'\"\\+. é of them"]
    provider.answer = serving([*listed, *ODD[:4]])
    found = users().probe(ODD, listed)
    assert found == dict.fromkeys(ODD[:4], PRESENT) | dict.fromkeys(ODD[4:], GONE)
    assert {asked.path for asked in provider.asked} == {"/v1/users"}
    assert len(provider.asked) < len(ODD)


def test_a_404_for_everybody_says_nothing_and_is_asked_for_once(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    provider.answer = lambda asked: as_json({"error": "no route"}, 404)
    single(data)
    assert users().probe(["u1", "u2"], ["u3"]) == dict.fromkeys(["u1", "u2"], UNKNOWN)
    assert len(provider.asked) == 1


def test_a_server_that_refuses_slashes_says_nothing_of_ids_that_have_them(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    serve = serving(["u1", "a/b"])
    provider.answer = lambda asked: as_json({}, 404) if "%2F" in asked.path else serve(asked)
    single(data)
    source = users()
    assert source.probe(["a/b", "u2"], ["u1"]) == {"a/b": UNKNOWN, "u2": GONE}
    assert source.probe(["a/b", "u2"], ["c/d"]) == {"a/b": UNKNOWN, "u2": UNKNOWN}


def test_the_page_of_a_proxy_says_nothing(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    serve = serving(PLAIN)
    provider.answer = lambda asked: PROXY if asked.path.endswith("gone") else serve(asked)
    single(data)
    assert users().probe(["gone", "left"], PLAIN) == {"gone": UNKNOWN, "left": GONE}


@pytest.mark.parametrize(
    "refusal",
    [as_json({}, 401), as_json({}, 403), as_json({}, 400), Reply(b"", 302), Reply(b"{", 200)],
)
def test_a_refusal_says_nothing_of_one_record_and_ends_nothing(
    provider: Provider, data: dict[str, Any], users: OpenSource, refusal: Reply
) -> None:
    serve = serving(PLAIN)
    provider.answer = lambda asked: refusal if asked.path.endswith("/odd") else serve(asked)
    single(data)
    assert users().probe(["odd", "left"], PLAIN) == {"odd": UNKNOWN, "left": GONE}


def test_a_provider_that_becomes_unavailable_leaves_the_rest_unknown(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    serve = serving(PLAIN)
    provider.answer = lambda asked: as_json({}, 503) if "x2" in asked.path else serve(asked)
    single(data)
    found = users(attempts=1).probe(["x1", "x2", "x3"], PLAIN)
    assert found == {"x1": GONE, "x2": UNKNOWN, "x3": UNKNOWN}


def test_a_closed_source_asks_for_nothing_and_says_so(
    data: dict[str, Any], users: OpenSource
) -> None:
    single(data)
    source = users()
    source.close()
    with pytest.raises(ProviderUnavailable, match="the source is closed"):
        source.probe(["x1"], PLAIN)


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("missing", [1, 5, 6, 8, 9, 30])
def test_at_most_one_request_a_missing_record_and_one_more(
    provider: Provider, users: OpenSource, missing: int
) -> None:
    provider.answer = serving(PLAIN)
    keys = [f"x{number}" for number in range(missing)]
    source = users()
    assert source.probe(keys, PLAIN) == dict.fromkeys(keys, GONE)
    few = missing <= record_probes.FEW
    assert len(provider.asked) == (missing + 1 if few else -(-missing // 8))
    assert source.requests == len(provider.asked)


LIES: dict[str, Callable[[list[str]], list[str]]] = {
    "reads the first clause": lambda keys: keys[:1],
    "reads the last clause": lambda keys: keys[-1:],
    "reads four clauses": lambda keys: keys[:4],
    "lists another record too": lambda keys: [*keys, "u9"],
    "lists nothing": lambda keys: [],
    "lists a record twice": lambda keys: [*keys, keys[0]],
}


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_filter_that_is_not_read_whole_is_not_believed_and_records_are_asked_for_one_by_one(
    provider: Provider, users: OpenSource, lie: Callable[[list[str]], list[str]]
) -> None:
    people = ["u1", "u2", "x3"]
    serve = serving(people)

    def answer(asked: Asked) -> Reply:
        if "filter" not in asked.query:
            return serve(asked)
        named = lie(re.findall(r'id eq "([^"]*)"', asked.query["filter"]))
        return as_json({"data": {"items": [{"id": key} for key in named], "next": None}})

    provider.answer = answer
    missing = [f"x{number}" for number in range(7)]
    found = users().probe(missing, ["u1", "u2"])
    assert found == {
        **dict.fromkeys(missing, GONE),
        "x3": PRESENT,
        "x6": UNKNOWN,  # the request that it would have taken went to the filter
    }
    assert len(provider.asked) == len(missing) + 1


@pytest.mark.usefixtures("several")
def test_a_filtered_listing_that_goes_on_is_not_believed(
    provider: Provider, users: OpenSource
) -> None:
    people = ["u1", "u2", "x3"]
    serve = serving(people)

    def answer(asked: Asked) -> Reply:
        if "filter" not in asked.query:
            return serve(asked)
        return as_json({"data": {"items": [{"id": "u1"}, {"id": "u2"}], "next": "more"}})

    provider.answer = answer
    found = users().probe([f"x{number}" for number in range(7)], ["u1", "u2"])
    assert found["x3"] is PRESENT


@pytest.mark.usefixtures("several")
def test_a_filter_never_replaces_one_of_the_listing(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    data["streams"]["users"]["params"] = {"filter": 'status eq "ACTIVE"'}
    provider.answer = serving(PLAIN)
    missing = [f"x{number}" for number in range(8)]
    assert users().probe(missing, PLAIN) == dict.fromkeys(missing, GONE)
    assert all("filter" not in asked.query for asked in provider.asked)


def test_the_number_of_requests_is_bounded(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    provider.answer = serving(PLAIN)
    single(data)
    keys = [f"x{number}" for number in range(record_probes.MOST_REQUESTS + 20)]
    found = users().probe(keys, PLAIN)
    assert len(provider.asked) == record_probes.MOST_REQUESTS
    assert sum(answer is GONE for answer in found.values()) == record_probes.MOST_REQUESTS - 1
    assert set(found.values()) == {GONE, UNKNOWN}


def test_ids_that_no_address_can_hold_are_not_asked_for(
    provider: Provider, data: dict[str, Any], users: OpenSource
) -> None:
    provider.answer = serving(PLAIN)
    single(data)
    odd = ["", ".", "..", "x" * 5000, "a\0b"]
    assert users().probe(odd, [*odd, *PLAIN]) == dict.fromkeys(odd, UNKNOWN)
    assert provider.asked == []
