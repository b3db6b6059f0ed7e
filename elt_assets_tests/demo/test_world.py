from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.demo.edits import Change, Edits
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.page_query import PageCache, PageQuery
from elt_assets.demo.people import population, truth
from elt_assets.demo.world import Directory, Snapshot
from elt_assets.errors import InvalidInput, NotFound
from elt_assets.identifiers import IntegrationRef

ACME = IntegrationRef("acme", "crm")


def directory(users: int = 20) -> Directory:
    return Directory(DemoLayout(integrations=0, others={"acme:crm": users, "other:crm": users}))


def raw(*records: object) -> list[msgspec.Raw]:
    return [msgspec.Raw(msgspec.json.encode(record)) for record in records]


def served(snapshot: Snapshot) -> list[Any]:
    """Every record on the wire, read as one page."""
    listing = PageQuery(seed=1, page_size=1000)
    items: list[Any] = msgspec.json.decode(listing.page(snapshot, {}))["data"]["items"]
    return items


def ids(snapshot: Snapshot) -> list[Any]:
    return [record["id"] for record in served(snapshot)]


def walk(listing: PageQuery, snapshots: list[Snapshot], query: dict[str, str]) -> list[Any]:
    """All records by cursor, each page from the next snapshot and the last one from then on."""
    records: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        snapshot = snapshots.pop(0) if len(snapshots) > 1 else snapshots[0]
        data = msgspec.json.decode(listing.page(snapshot, query | cursor))["data"]
        records += data["items"]
        if data["next"] is None:
            return records
        cursor = {"cursor": data["next"]}


@given(users=st.integers(0, 60), limit=st.integers(1, 70), rounds=st.integers(0, 3))
def test_paging_covers_exactly_the_truth_for_any_limit(users: int, limit: int, rounds: int) -> None:
    worlds = directory(users)
    for _ in range(rounds):
        worlds.advance()
    snapshot = worlds.snapshot(ACME)
    records = walk(PageQuery(seed=1, page_size=10), [snapshot], {"limit": str(limit)})
    assert len(records) == len(snapshot)
    assert truth(records) == snapshot.truth()
    direct = population(1, "acme", "crm", users, rounds + 1)
    assert snapshot.truth() == truth(direct.records())


@given(
    users=st.integers(1, 60),
    limit=st.integers(1, 10),
    status=st.sampled_from(["ACTIVE", "SUSPENDED"]),
)
def test_a_filtered_listing_holds_exactly_those_of_that_status(
    users: int, limit: int, status: str
) -> None:
    snapshot = directory(users).snapshot(ACME)
    listing = PageQuery(seed=1, page_size=10)
    query = {"limit": str(limit), "status": status}
    expected = [record for record in served(snapshot) if record["status"] == status]
    assert walk(listing, [snapshot], query) == expected
    assert msgspec.json.decode(listing.page(snapshot, query))["data"]["total"] == len(expected)


@given(users=st.integers(1, 60), limit=st.integers(1, 7))
def test_people_who_stay_are_read_exactly_once_while_others_change(users: int, limit: int) -> None:
    worlds = directory(users)
    moving = [worlds.snapshot(ACME)]
    for _ in range(8):
        worlds.advance()
        moving.append(worlds.snapshot(ACME))
    throughout = set.intersection(*({*ids(snapshot)} for snapshot in moving))
    listing = PageQuery(seed=1, page_size=10)
    seen = [record["id"] for record in walk(listing, moving, {"limit": str(limit)})]
    assert len(set(seen)) == len(seen)
    assert throughout <= set(seen)


def test_a_snapshot_stays_as_it_was_when_the_world_moves_on() -> None:
    worlds = directory()
    before = worlds.snapshot(ACME)
    seen = served(before)
    worlds.advance()
    worlds.edit(ACME, Edits(remove=[1], add=1))
    assert served(before) == seen
    assert served(worlds.snapshot(ACME)) != seen


def test_a_page_is_never_taken_from_an_earlier_world() -> None:
    worlds = directory()
    listing = PageQuery(seed=1, page_size=10)
    first = listing.page(worlds.snapshot(ACME), {})
    assert listing.page(worlds.snapshot(ACME), {}) == first
    assert listing.page(worlds.snapshot(IntegrationRef("other", "crm")), {}) != first
    worlds.edit(ACME, Edits(remove=[1]))
    assert listing.page(worlds.snapshot(ACME), {}) != first


def test_a_page_is_never_taken_from_another_query() -> None:
    snapshot = directory().snapshot(ACME)
    listing = PageQuery(seed=1, page_size=5)
    cursor = next_cursor(listing, snapshot)
    queries = [{}, {"limit": "6"}, {"status": "ACTIVE"}, {"status": "SUSPENDED"}]
    pages = [listing.page(snapshot, query) for query in (*queries, {"cursor": cursor})]
    assert len(set(pages)) == len(pages)


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "ten", "1.5", "", "٣", "9" * 5000])
def test_a_limit_that_is_no_number_from_1_to_1000_is_refused(limit: str) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        PageQuery(seed=1, page_size=10).page(directory().snapshot(ACME), {"limit": limit})


def test_numbered_pages_shift_when_a_person_leaves() -> None:
    worlds = directory()
    listing = PageQuery(seed=1, page_size=10)

    def ids(**query: str) -> list[str]:
        body = msgspec.json.decode(listing.page(worlds.snapshot(ACME), query))["data"]
        assert body["next"] is None
        return [record["id"] for record in body["items"]]

    everybody = ids(limit="1000", offset="0")
    assert ids(page="2") == ids(offset="10") == everybody[10:20]
    assert ids(offset="3", limit="2") == everybody[3:5]
    assert ids(page="100000") == []
    worlds.edit(ACME, Edits(remove=[everybody[0]]))
    assert ids(page="2") == everybody[11:21]


@pytest.mark.parametrize("query", [{"page": "0"}, {"page": "x"}, {"offset": "-1"}])
def test_an_invalid_page_or_offset_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        PageQuery(seed=1, page_size=10).page(directory().snapshot(ACME), query)


def next_cursor(listing: PageQuery, snapshot: Snapshot, **query: str) -> str:
    return str(msgspec.json.decode(listing.page(snapshot, query))["data"]["next"])


@pytest.mark.parametrize("cursor", ["", "abc", "AAAA", "ü", "=" * 9, "A" * 22, "A" * 5000])
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        PageQuery(seed=1, page_size=10).page(directory().snapshot(ACME), {"cursor": cursor})


def test_a_cursor_is_refused_by_every_listing_but_its_own() -> None:
    worlds = directory()
    listing = PageQuery(seed=1, page_size=2)
    cursor = next_cursor(listing, worlds.snapshot(ACME), status="ACTIVE")
    listing.page(worlds.snapshot(ACME), {"cursor": cursor, "status": "ACTIVE"})
    with pytest.raises(InvalidInput, match="cursor"):
        listing.page(worlds.snapshot(ACME), {"cursor": cursor})
    other = worlds.snapshot(IntegrationRef("other", "crm"))
    with pytest.raises(InvalidInput, match="cursor"):
        listing.page(other, {"cursor": cursor, "status": "ACTIVE"})


def test_a_cursor_stays_valid_after_a_restart_and_when_its_last_person_leaves() -> None:
    worlds = directory()
    snapshot = worlds.snapshot(ACME)
    cursor = next_cursor(PageQuery(seed=1, page_size=5), snapshot)
    worlds.edit(ACME, Edits(remove=["u-000005"]))
    restarted = PageQuery(seed=1, page_size=5)
    page = msgspec.json.decode(restarted.page(worlds.snapshot(ACME), {"cursor": cursor}))
    assert page["data"]["items"][0]["id"] == "u-000006"


def test_the_page_cache_is_limited_and_drops_the_least_recently_used() -> None:
    cache = PageCache(10)
    cache.put("a", b"aaaa")
    cache.put("b", b"bbbb")
    assert cache.get("a") == b"aaaa"
    cache.put("c", b"cccc")
    assert [cache.get(place) for place in "abc"] == [b"aaaa", None, b"cccc"]
    cache.put("d", b"d" * 11)
    assert [cache.get(place) for place in "abcd"] == [None] * 4
    cache.put("e", b"eeee")
    assert cache.get("e") == b"eeee"


def test_a_person_is_removed_by_number_or_by_id() -> None:
    worlds = directory(4)
    worlds.edit(ACME, Edits(remove=[1, "u-000003"]))
    assert ids(worlds.snapshot(ACME)) == ["u-000002", "u-000004"]


def test_a_change_merges_into_the_person_and_is_newer() -> None:
    worlds = directory(2)
    before = served(worlds.snapshot(ACME))[0]
    worlds.edit(ACME, Edits(change=[Change(1, {"profile": {"title": None}, "extra": [1]})]))
    after = served(worlds.snapshot(ACME))[0]
    assert after.pop("lastUpdated") > before.pop("lastUpdated")
    assert after == before | {"profile": before["profile"] | {"title": None}, "extra": [1]}


def test_each_edit_is_newer_than_the_last_and_older_than_the_next_round() -> None:
    worlds = directory(1)
    moments = [served(worlds.snapshot(ACME))[0]["lastUpdated"]]
    for title in "abc":
        worlds.edit(ACME, Edits(change=[Change(1, {"profile": {"title": title}})]))
        moments.append(served(worlds.snapshot(ACME))[0]["lastUpdated"])
    worlds.advance()
    assert population(1, "acme", "crm", 1, 2).changes == {1: (2,)}
    moments.append(served(worlds.snapshot(ACME))[0]["lastUpdated"])
    assert sorted(set(moments)) == moments


def test_a_stated_time_of_change_is_served_as_stated_until_the_next_change() -> None:
    worlds = directory(1)
    worlds.edit(ACME, Edits(change=[Change(1, {"lastUpdated": "1999-01-01T00:00:00Z"})]))
    assert served(worlds.snapshot(ACME))[0]["lastUpdated"] == "1999-01-01T00:00:00Z"
    worlds.edit(ACME, Edits(change=[Change(1, {"status": "SUSPENDED"})]))
    assert served(worlds.snapshot(ACME))[0]["lastUpdated"] > "2026"


def test_edits_survive_rounds() -> None:
    worlds = directory(20)
    worlds.edit(
        ACME,
        Edits(remove=[2], change=[Change(1, {"profile": {"displayName": "Ada"}})], add=1),
    )
    for _ in range(3):
        worlds.advance()
    people = population(1, "acme", "crm", 20, 4)
    assert {1, 2} <= set(people.numbers)
    assert ids(worlds.snapshot(ACME)) == [
        *(f"u-{number:06d}" for number in people.numbers if number != 2),
        "u-1000000001",
    ]
    assert served(worlds.snapshot(ACME))[0]["profile"]["displayName"] == "Ada"


def test_an_edit_finds_people_who_joined_in_a_round_not_yet_computed() -> None:
    worlds = directory(20)
    worlds.advance()
    worlds.edit(ACME, Edits(remove=["u-000021"]))
    assert "u-000021" not in ids(worlds.snapshot(ACME))
    assert len(worlds.snapshot(ACME)) == 19


def test_added_people_are_new_and_their_numbers_are_not_reused() -> None:
    worlds = directory(1)
    worlds.edit(ACME, Edits(add=2))
    worlds.edit(ACME, Edits(remove=["u-1000000001", 1_000_000_002]))
    worlds.edit(ACME, Edits(add=1))
    assert ids(worlds.snapshot(ACME)) == ["u-000001", "u-1000000003"]


def test_added_and_replaced_records_are_served_as_given_in_the_given_order() -> None:
    worlds = directory(3)
    records = [{"id": "z"}, {"id": 5, "id2": None}, "not an object", {"id": "a"}, {"id": "z"}]
    worlds.edit(ACME, Edits(replace=raw(*records), add=raw({"id": "last"})))
    worlds.advance()
    assert served(worlds.snapshot(ACME)) == [*records, {"id": "last"}]


def test_replaced_and_added_records_can_be_changed_and_removed_by_their_ids() -> None:
    worlds = directory(3)
    worlds.edit(ACME, Edits(replace=raw({"id": "u-000002"}, {"id": "b", "x": {"y": 1}})))
    worlds.edit(
        ACME,
        Edits(
            remove=["u-000002"],
            change=[Change("b", {"x": {"z": 2}, "lastUpdated": None})],
            add=raw({"id": "c"}),
        ),
    )
    worlds.edit(ACME, Edits(remove=["c"]))
    expected = [{"id": "b", "x": {"y": 1, "z": 2}, "lastUpdated": None}]
    assert served(worlds.snapshot(ACME)) == expected


def test_a_person_is_found_by_the_changed_id() -> None:
    worlds = directory(3)
    worlds.edit(ACME, Edits(change=[Change(2, {"id": "renamed"})]))
    with pytest.raises(NotFound, match="u-000002"):
        worlds.edit(ACME, Edits(remove=["u-000002"]))
    worlds.edit(ACME, Edits(remove=["renamed"]))
    assert ids(worlds.snapshot(ACME)) == ["u-000001", "u-000003"]


@pytest.mark.parametrize("who", [0, 4, -1, "u-000004", "u-3", "3", "", "u-"])
def test_an_edit_of_an_unknown_person_changes_nothing(who: int | str) -> None:
    worlds = directory(3)
    before = served(worlds.snapshot(ACME))
    with pytest.raises(NotFound, match="acme:crm has no person"):
        worlds.edit(ACME, Edits(remove=[1], change=[Change(who, {})], add=1))
    assert served(worlds.snapshot(ACME)) == before


def test_an_edit_touches_no_other_integration() -> None:
    worlds = directory(3)
    other = IntegrationRef("other", "crm")
    before = served(worlds.snapshot(other))
    worlds.edit(ACME, Edits(replace=[]))
    assert served(worlds.snapshot(other)) == before
    assert served(worlds.snapshot(ACME)) == []


def test_an_integration_that_is_not_served_is_named() -> None:
    with pytest.raises(NotFound, match="acme:nothing"):
        directory().snapshot(IntegrationRef("acme", "nothing"))


def test_threads_lose_no_round_and_no_edit() -> None:
    worlds = directory(0)

    def busy() -> None:
        for _ in range(25):
            worlds.advance()
            worlds.edit(ACME, Edits(add=1))
            worlds.snapshot(ACME)

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = worlds.snapshot(ACME)
    assert (worlds.round, snapshot.people.round) == (101, 101)
    assert len(set(ids(snapshot))) == 100
