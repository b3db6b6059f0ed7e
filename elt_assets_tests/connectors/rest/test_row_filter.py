"""Records that a stream does not mean are left out, and count as not listed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from elt_assets.connectors import catalog
from elt_assets.connectors.source import Presence
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.conftest import OpenSource
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

REF = IntegrationRef("acme", "main")


def staff(count: int = 50) -> list[dict[str, Any]]:
    """Every fifth is a device."""
    return [
        {
            "id": f"u{number}",
            "name": f"P{number}",
            "kind": "device" if number % 5 == 0 else "person",
        }
        for number in range(count)
    ]


def serve(provider: Provider, people: list[dict[str, Any]], total: int | None = None) -> None:
    """Pages of 20 with a total, and single records."""

    def answer(asked: Asked) -> Reply:
        if asked.path != "/v1/users":
            found = [one for one in people if asked.path == f"/v1/users/{one['id']}"]
            return as_json(found[0]) if found else as_json({"error": "not_found"}, 404)
        start = int(asked.query["offset"])
        return as_json(
            {
                "data": {"items": people[start : start + 20]},
                "total": len(people) if total is None else total,
            }
        )

    provider.answer = answer


@pytest.fixture
def filtered(data: dict[str, Any]) -> dict[str, Any]:
    data["streams"]["users"] |= {
        "pagination": {"type": "offset", "size": 20},
        "total": "total",
        "where": 'kind == "person"',
        "single": {"path": "/users/{external_id}"},
    }
    return data


def test_records_that_are_not_meant_are_left_out_on_every_page(
    provider: Provider, filtered: dict[str, Any], users: OpenSource
) -> None:
    serve(provider, staff())
    pages = list(users().pages(None))
    ids = [one["id"] for page in pages for one in msgspec.json.decode(page.body)["data"]["items"]]
    assert ids == [one["id"] for one in staff() if one["kind"] == "person"]
    assert [page.count for page in pages] == [16, 16, 8]
    assert all(page.doubts == () and page.total is None for page in pages)
    for at, page in enumerate(pages[:-1]):
        rest = list(users().pages(page.next))
        assert [one.body for one in rest] == [one.body for one in pages[at + 1 :]]


def test_a_listing_that_is_shorter_than_its_total_is_incomplete(
    provider: Provider, filtered: dict[str, Any], users: OpenSource
) -> None:
    serve(provider, staff(), total=51)
    (*_, last) = users().pages(None)
    assert "the provider counts 51 records and listed 50" in last.doubts


def test_a_record_that_is_no_longer_meant_is_deleted(
    provider: Provider, filtered: dict[str, Any], platform: SyncService
) -> None:
    people = staff()
    serve(provider, people)
    platform.registry.add(REF, "rest", filtered)
    (outcome,) = platform.sync(USERS, [REF], sync_id="1")
    assert (outcome.error, outcome.counts.inserts) == (None, 40)
    people[7]["kind"] = "device"
    del people[8]
    (outcome,) = platform.sync(USERS, [REF], sync_id="2")
    assert (outcome.error, outcome.counts.deletes) == (None, 2)
    assert outcome.certificate.complete


def test_a_record_asked_for_alone_has_to_be_meant(
    provider: Provider, filtered: dict[str, Any], users: OpenSource
) -> None:
    serve(provider, staff())
    found = users().probe(["u0", "u1", "u99"], ["u2"])
    assert found == {"u0": Presence.GONE, "u1": Presence.PRESENT, "u99": Presence.GONE}


def test_a_record_that_cannot_be_read_is_kept(
    provider: Provider, filtered: dict[str, Any], platform: SyncService
) -> None:
    body = (
        b'{"data": {"items": [{"id": "a", "kind": "person"}, {"id": "b", "n": NaN}]}, "total": 2}'
    )
    provider.answer = lambda asked: (
        Reply(body, headers={"Content-Type": "application/json"})
        if asked.query.get("offset") == "0"
        else as_json({"data": {"items": []}, "total": 2})
    )
    platform.registry.add(REF, "rest", filtered)
    (outcome,) = platform.sync(USERS, [REF], sync_id="1")
    assert (outcome.error, outcome.counts.inserts, outcome.counts.rejected) == (None, 1, 1)


def test_a_filter_that_is_no_condition_is_refused(filtered: dict[str, Any]) -> None:
    filtered["streams"]["users"]["where"] = "kind"
    with pytest.raises(InvalidInput, match="where: 'kind' compares nothing"):
        catalog.validate("rest", filtered)


@pytest.mark.parametrize("number", ["1e400", "-1e400"])
def test_a_number_that_no_float_holds_fails_no_page(
    provider: Provider, filtered: dict[str, Any], platform: SyncService, number: str
) -> None:
    records = [
        *(f'{{"id": "u{n}", "name": "P", "kind": "person", "n": {number}}}' for n in range(3)),
        '{"id": "u8", "kind": "device"}',
        f'{{"id": {number}, "name": "Q", "kind": "person"}}',
    ]
    body = f'{{"data": {{"items": [{", ".join(records)}]}}, "total": 5}}'.encode()
    provider.answer = lambda asked: Reply(
        body if asked.query["offset"] == "0" else b'{"data": {"items": []}, "total": 5}'
    )
    platform.registry.add(REF, "rest", filtered)
    (outcome,) = platform.sync(USERS, [REF], sync_id="one")
    assert outcome.error is None
    assert (outcome.counts.inserts, outcome.counts.rejected) == (3, 1)
    assert [letter["raw"]["name"] for letter in platform.rejected(USERS, REF)] == ["Q"]
