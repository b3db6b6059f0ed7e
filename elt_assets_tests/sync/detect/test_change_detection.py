"""What a comparison finds and logs: one answer, however the records arrived."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elt_assets.storage.warehouse import warehouse_files
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses
from elt_assets.sync.detect.change_detection import Detection, Found
from elt_assets.sync.outcome import Mode, Stage, Status
from elt_assets.sync.state import change_log, ledger
from elt_assets.sync.state.change_log import changed_fields
from elt_assets.sync.state.latest_images import LatestImages
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, expected, people, person
from elt_assets_tests.testbed.lakes import fresh_stores

VERSIONS = st.builds(
    person,
    st.integers(0, 3),
    name=st.sampled_from(["Ada", "Grace", None]),
    updated=st.sampled_from([None, 1, 2, "1970-01-01T00:00:02Z", "1970-01-01T02:00:01+02:00"]),
)
MOMENTS = {None: 0, 1: 1, 2: 2, "1970-01-01T00:00:02Z": 2, "1970-01-01T02:00:01+02:00": 1}


def newest(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each user the version last updated, of those the one that came last."""
    found: dict[str, dict[str, Any]] = {}
    for record in sorted(records, key=lambda record: MOMENTS[record["updated"]]):
        found[record["id"]] = record
    return list(found.values())


@settings(max_examples=20)
@given(
    st.lists(VERSIONS, min_size=1, max_size=12),
    st.lists(VERSIONS, min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_the_answer_does_not_depend_on_where_pages_and_batches_are_cut(
    first: list[dict[str, Any]], second: list[dict[str, Any]], page_size: int, batch: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        limits = {f"max_{harm}_share": 1 for harm in ("delete", "deactivate", "loss")}
        company = Company(Path(folder) / "home", **limits, **fresh_stores())
        world = company.connect(world=World(first, page_size=page_size))
        for sync_id, records in (("s1", first), ("s2", second)):
            world.records = records
            outcome = company.sync(sync_id=sync_id, pages_per_batch=batch)
            assert outcome.status in (Status.APPLIED, Status.UNCHANGED), outcome
            assert outcome.counts.unique == len(newest(records))
            assert outcome.counts.duplicates == len(records) - len(newest(records))
            assert company.users() == expected(newest(records))
        keys = {key for _, key in company.changes(sync_id="s2")}
        before, after = expected(newest(first)), expected(newest(second))
        assert keys == {
            key for key in before.keys() | after.keys() if before.get(key) != after.get(key)
        }
        company.platform.close()


def test_the_log_numbers_a_syncs_changes_from_one(company: Company) -> None:
    company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    changes = company.platform.changes(USERS, ACME)
    assert [change["sequence"] for change in changes] == list(range(1, 31))
    assert len({change["id"] for change in changes}) == 30


def test_a_change_tells_everything_before_and_after_in_its_own_kind(company: Company) -> None:
    world = company.connect(world=World([person(1, team={"name": "red", "since": None})]))
    company.sync(sync_id="s1")
    world.records = [person(1, email="", status="LOCKED", team=[1, 2.5])]
    company.sync(sync_id="s2")
    world.records = [person(2)]
    company.sync(sync_id="s3")
    one = {
        "external_id": "u-0001",
        "name": "Person 1",
        "email": "p1@example.com",
        "active": True,
        "attributes": {"team": {"name": "red", "since": None}},
    }
    two = one | {"email": None, "active": False, "attributes": {"team": [1, 2.5]}}
    of_one = [
        change
        for change in company.platform.changes(USERS, ACME)
        if change["external_id"] == "u-0001"
    ]
    told = [[change["change_type"], change["before"], change["after"]] for change in of_one]
    # As text, because to Python 1 is True.
    assert json.dumps(told) == json.dumps(
        [["INSERT", None, one], ["UPDATE", one, two], ["DELETE", two, None]]
    )


def test_the_sample_is_short_and_names_fields_without_their_values(company: Company) -> None:
    world = company.connect(world=World(people(40)))
    company.sync(sync_id="s1")
    world.records = [person(n, name="Secret Name", team="secret team") for n in range(40)]
    sample = company.sync(sync_id="s2").sample
    assert len(sample) == 10
    assert "ecret" not in json.dumps(sample)
    assert all(change["fields"] == ["name", "attributes.team"] for change in sample)


def test_a_user_who_comes_back_is_a_new_insert(company: Company) -> None:
    world = company.connect(world=World(people(5)))
    company.sync(sync_id="s1")
    world.records = people(4)
    company.sync(sync_id="s2")
    world.records = people(5)
    outcome = company.sync(sync_id="s3")
    assert (outcome.counts.inserts, outcome.counts.updates) == (1, 0)
    back = [key for _, key in company.changes(sync_id="s3")]
    assert back == ["u-0004"]


def test_a_changed_login_is_an_update_and_not_a_leaver_and_a_joiner(company: Company) -> None:
    world = company.connect(world=World(people(5)))
    company.sync(sync_id="s1")
    (before,) = [r for r in company.platform.records(USERS, ACME) if r["external_id"] == "u-0002"]
    world.records[2] = person(2, email="new-login@example.com", name="New Name")
    company.sync(sync_id="s2")
    assert company.changes(sync_id="s2") == [("UPDATE", "u-0002")]
    (after,) = [r for r in company.platform.records(USERS, ACME) if r["external_id"] == "u-0002"]
    assert after["id"] == before["id"]


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        ({"name": "a", "attributes": {}}, {"name": "a", "attributes": {}}, []),
        ({"name": "a", "attributes": {}}, {"name": "b", "attributes": {}}, ["name"]),
        ({"name": None, "attributes": {}}, {"name": "", "attributes": {}}, ["name"]),
        ({"name": "a", "attributes": {}}, {"name": None, "attributes": {}}, ["name"]),
        ({"attributes": {"x": 1}}, {"attributes": {"x": 2}}, ["attributes.x"]),
        ({"attributes": {"x": 1}}, {"attributes": {"y": 1}}, ["attributes.x", "attributes.y"]),
        ({"attributes": None}, {"attributes": {"b": 1, "a": 1}}, ["attributes.a", "attributes.b"]),
        ({"name": "a", "attributes": {}}, {"attributes": {}}, []),
        ({"attributes": {}}, {"email": "e", "attributes": {}}, ["email"]),
    ],
)
def test_the_fields_that_differ_are_named(
    before: dict[str, Any], after: dict[str, Any], fields: list[str]
) -> None:
    assert changed_fields(json.dumps(before), json.dumps(after)) == fields


def test_changes_too_many_to_sort_at_once_are_logged_and_applied_range_by_range(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_log, "_SORTED_AT_ONCE", 7)
    parts: list[str] = []
    id_ranges = change_log._id_ranges

    def noted(count: int) -> list[str]:
        found = id_ranges(count)
        parts.extend(found)
        return found

    monkeypatch.setattr(change_log, "_id_ranges", noted)
    world = company.connect(world=World(people(60)))
    company.sync(sync_id="s1")
    assert company.users() == expected(world.records)
    del world.records[:5]
    world.records += people(100)[60:]
    world.records[0]["name"] = "Somebody Else"
    outcome = company.sync(sync_id="s2")
    assert (outcome.counts.inserts, outcome.counts.updates, outcome.counts.deletes) == (40, 1, 5)
    assert company.users() == expected(world.records)
    assert len(parts) == 2 * (9 + 7), "logged and applied"
    for sync_id, count in (("s1", 60), ("s2", 46)):
        log = company.platform.changes(USERS, ACME, sync_id)
        assert [change["sequence"] for change in log] == list(range(1, count + 1))
        assert [change["id"] for change in log] == sorted(change["id"] for change in log)


@pytest.mark.parametrize("count", [0, 1, 250_000, 250_001, 5_000_000])
def test_every_id_is_in_one_range(count: int) -> None:
    ends = [
        tuple(UUID(text).int for text in re.findall(r"'([0-9a-f-]+)'", one))
        for one in change_log._id_ranges(count)
    ]
    assert ends[0][0] == 0
    assert ends[-1][1] == 2**128 - 1
    assert all(one[1] + 1 == following[0] for one, following in pairwise(ends))
    assert len(ends) == max(1, -(-count // 250_000))


@pytest.mark.files
def test_a_large_file_is_opened_anew_before_all_of_it_is_compared(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What DuckDB remembers of a file that it wrote would be missing to the comparison."""
    done: list[str] = []
    reopen, load = FileWarehouses._reopen, LatestImages.load_hashes

    def reopened(*arguments: Any) -> None:
        reopen(*arguments)
        done.append("opened")

    def loaded(*arguments: Any) -> None:
        done.append("compared")
        load(*arguments)

    monkeypatch.setattr(warehouse_files, "_LARGE", 10_000)
    monkeypatch.setattr(FileWarehouses, "_reopen", reopened)
    monkeypatch.setattr(LatestImages, "load_hashes", loaded)
    company.connect(world=World(people(100)))
    assert company.sync(sync_id="s1").status is Status.APPLIED
    assert done == ["opened", "compared"]


def gone(world: World, *numbers: int) -> None:
    """Let the provider list these people no more."""
    keys = {f"u-{number:04}" for number in numbers}
    world.records = [record for record in world.records if record["id"] not in keys]


@contextmanager
def compared(
    company: Company, sync_id: str, mode: Mode = Mode.FULL
) -> Iterator[tuple[Detection, Found]]:
    """What the sync staged, compared with the latest table; nothing is decided yet."""
    platform = company.platform
    company.sync(sync_id=sync_id, until=Stage.STAGING)
    base = ledger.version(platform.database, USERS, ACME).version
    with platform.warehouses.open(ACME) as warehouse:
        detection = Detection(warehouse, platform.database, USERS, ACME, sync_id, base)
        yield detection, detection.compare(mode)


def kinds(detection: Detection) -> dict[str, str]:
    """What became of each row, by the number that ends its key; inserts by their place."""
    rows = detection._warehouse.execute(
        """
        SELECT coalesce(image ->> '/external_id', 'new'), change_type
        FROM found_changes LEFT JOIN latest_images USING (id)
        """
    ).fetchall()
    return dict(rows)


def test_each_row_becomes_what_its_record_says(company: Company) -> None:
    """Absent, said to be deleted, rejected now, rejected then, changed, new and as it was."""
    world = company.connect(world=World([*people(12), person(12, name=["unusable"])]))
    company.sync(sync_id="s1")
    world.records = [person(12), *people(12)]
    company.sync(sync_id="s2")
    gone(world, 0, 12)
    world.records[0] = person(1, status="DELETED")
    world.records[1] = person(2, name=["unusable"])
    world.records[2] = person(3, name="Changed", updated="2020-01-02T00:00:00Z")
    world.records += [
        person(2, name=["unusable again"]),
        person(3, name="Old", updated="2020-01-01T00:00:00Z"),
        person(99, updated="2020-01-01T12:00:00Z"),
        person(98, status="DELETED"),
        {"name": "Of nobody"},
    ]
    with compared(company, "s3") as (detection, found):
        assert kinds(detection) == {
            "u-0000": "DELETE",
            "u-0001": "DELETE",
            "u-0002": "SHIELDED",
            "u-0003": "UPDATE",
            "u-0012": "DELETE",
            "new": "INSERT",
        }
        assert [key for _, key in detection.candidates()] == ["u-0000", "u-0012"]
        assert (found.inserts, found.updates, found.deletes, found.shielded) == (1, 1, 3, 1)
        assert (found.staged, found.unique, found.tombstones, found.pending) == (13, 12, 2, 0)
        assert (found.missing, found.kept, found.withheld, found.latest_before) == (3, 0, 0, 13)
        assert (found.duplicates, found.unchanged, found.changes) == (1, 8, 5)
        assert found.newest == "2020-01-02T00:00:00.000000Z"


def test_each_other_row_is_neither_listed_nor_missing_in_a_listing_of_changes(
    company: Company,
) -> None:
    world = company.connect(world=World(people(5)))
    company.sync(sync_id="s1")
    world.records = [person(0, status="DELETED"), person(1, name="Changed")]
    with compared(company, "s2", Mode.INCREMENTAL) as (detection, found):
        assert kinds(detection) == {"u-0000": "DELETE", "u-0001": "UPDATE"}
        assert detection.candidates() == []
        assert (found.missing, found.deletes, found.latest_before) == (0, 1, 5)
