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
from elt_assets.sync.detect.change_detection import Detection, DiffCounts, has_missing
from elt_assets.sync.detect.delete_guard import Harm
from elt_assets.sync.outcome import Mode, Stage, Status
from elt_assets.sync.state import change_log, versions
from elt_assets.sync.state.change_log import changed_fields
from elt_assets.sync.state.latest_images import LatestImages
from elt_assets.sync.streams import GROUPS, USERS, StreamKey
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
    # One user stays: where all keys are new, the sync is withheld as a change of identity.
    staying = person(99, name="Ada", updated=None)
    first, second = [*first, staying], [*second, staying]
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
) -> Iterator[tuple[Detection, DiffCounts]]:
    """What the sync staged, compared with the latest table; nothing is decided yet."""
    platform = company.platform
    company.sync(sync_id=sync_id, until=Stage.STAGING)
    base = versions.current(platform.database, StreamKey(USERS, ACME)).version
    with platform.warehouses.open(ACME) as warehouse:
        detection = Detection(warehouse, platform.database, StreamKey(USERS, ACME), sync_id, base)
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
        assert (found.inserts, found.updates, found.deletes, found.shielded_deletes) == (1, 1, 3, 1)
        assert (found.staged, found.unique, found.tombstones, found.pending_deletes) == (
            13,
            12,
            2,
            0,
        )
        assert (found.missing, found.kept_rows, found.withheld, found.latest_before) == (
            3,
            0,
            0,
            13,
        )
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


def plant(detection: Detection, key: str, **values: Any) -> None:
    """Let a row of the latest table have been missed before."""
    row = {"stream": "users", "version": 1, "until": None, "since": None} | values
    detection._warehouse.insert(
        "missing_records",
        "SELECT $stream AS stream, id, $version::BIGINT AS version, $until::BIGINT AS until,"
        " $since::TIMESTAMP AS since FROM latest_images WHERE image ->> '/external_id' = $key",
        row | {"key": key},
    )


def test_only_an_earlier_absence_that_still_holds_is_a_second_witness(company: Company) -> None:
    world = company.connect(world=World(people(40), snapshot=False))
    company.sync(sync_id="s1")
    gone(world, *range(9))
    world.records += [person(9, status="DELETED")]
    world.records.remove(person(9))
    with compared(company, "s2") as (detection, _):
        base = detection.version - 1
        plant(detection, "u-0001", version=base)
        plant(detection, "u-0002", version=base, until=base + 1)
        plant(detection, "u-0003", version=base, until=base)
        plant(detection, "u-0004", version=base + 1)
        plant(detection, "u-0005", version=base, since="2026-01-01T00:00:00")
        plant(detection, "u-0006", version=base, since="2026-01-01T00:00:01")
        plant(detection, "u-0007", version=base, stream="groups")
        plant(detection, "u-0008", version=0)
        detection.hold_back_newly_missing(0, missed_before="2026-01-01T00:00:00")
        assert kinds(detection) == {
            "u-0000": "PENDING",
            "u-0001": "DELETE",
            "u-0002": "DELETE",
            "u-0003": "PENDING",
            "u-0004": "PENDING",
            "u-0005": "DELETE",
            "u-0006": "PENDING",
            "u-0007": "PENDING",
            "u-0008": "PENDING",
            "u-0009": "DELETE",
        }
        assert detection.found().pending_deletes == 6
        assert detection.found().missing == 9


def test_only_the_rows_asked_about_are_held_back(company: Company) -> None:
    world = company.connect(world=World([*people(8), person(20, name="Old")], snapshot=False))
    company.sync(sync_id="s1")
    gone(world, 0, 1, 2, 3, 4)
    world.records[-1] = person(20, name="New")
    with compared(company, "s2") as (detection, _):
        ids = {key: record_id for record_id, key in detection.candidates()}
        detection._warehouse.execute(
            "UPDATE found_changes SET withheld = true WHERE id = $id::UUID", {"id": ids["u-0004"]}
        )
        assert [key for _, key in detection.candidates()] == sorted(
            (key for key in ids if key != "u-0004"), key=lambda key: ids[key]
        )
        detection.shield([ids["u-0000"]])
        detection.hold_back([ids["u-0001"]])
        detection.hold_back_newly_missing(
            None, ids=[ids["u-0002"], ids["u-0004"]], missed_before="2026-01-01"
        )
        assert kinds(detection) == {
            "u-0000": "SHIELDED",
            "u-0001": "PENDING",
            "u-0002": "PENDING",
            "u-0003": "DELETE",
            "u-0004": "DELETE",
            "u-0020": "UPDATE",
        }
        found = detection.found()
        assert (found.deletes, found.withheld_deletes, found.missing) == (1, 1, 5)
        detection.hold_back_newly_missing(None, missed_before="2026-01-01")
        assert kinds(detection)["u-0003"] == "PENDING"
        assert kinds(detection)["u-0004"] == "DELETE"
        assert kinds(detection)["u-0020"] == "UPDATE"


HARMED = [
    person(0, status="LOCKED"),
    person(1, name=None),
    person(2, email=None, team=None),
    person(3, team=None),
    person(4, name="Renamed", email=None),
    person(5, status="LOCKED", email=None),
    person(6, name="Renamed"),
    person(7, name="Renamed"),
    person(8),
    person(9, status="LOCKED"),
]


@pytest.mark.parametrize(
    ("attributes", "everything", "losing", "losses"),
    [
        ((), False, 4, {"name": 1, "email": 3}),
        (("team",), False, 5, {"name": 1, "email": 3, "team": 2}),
        (("other",), False, 4, {"name": 1, "email": 3}),
        ((), True, 5, {"name": 1, "email": 3, "team": 2}),
    ],
)
def test_updates_that_deactivate_or_empty_are_counted(
    company: Company,
    attributes: tuple[str, ...],
    everything: bool,
    losing: int,
    losses: dict[str, int],
) -> None:
    world = company.connect(world=World([*people(7), person(7, email=None), person(8, team=None)]))
    company.sync(sync_id="s1")
    world.records = [*HARMED[:4], person(4, email=None), *HARMED[5:]]
    world.records[7] = person(7, email=None, name="Renamed")
    with compared(company, "s2") as (detection, _):
        found = detection.assess(attributes=attributes, everything=everything)
        assert (found.deactivations, found.losing, found.losses) == (2, losing, losses)


def test_harm_that_is_withheld_or_rejected_is_not_counted_again(company: Company) -> None:
    world = company.connect(world=World(people(10)))
    company.sync(sync_id="s1")
    world.records = [
        person(0, status="LOCKED"),
        person(1, email=None),
        person(2, name="Renamed"),
        person(3, status="LOCKED"),
        person(5, status="DELETED"),
        *people(10)[6:],
        person(50),
    ]
    with compared(company, "s2") as (detection, _):
        ids = ids_of(company)
        detection.assess(attributes=(), everything=False)
        back = detection.keep_rejected(
            [
                (ids["u-0002"], "UPDATE"),
                (ids["u-0003"], "UPDATE"),
                (ids["u-0004"], "DELETE"),
                (ids["u-0005"], "DELETE"),
                (ids["u-0006"], "DELETE"),
                (ids["u-0007"], "UPDATE"),
                (ids["u-0000"], "DELETE"),
            ]
        )
        assert sorted(back) == sorted([ids["u-0006"], ids["u-0000"]])
        assert kinds(detection) == {
            "u-0000": "UPDATE",
            "u-0001": "UPDATE",
            "u-0002": "UPDATE",
            "u-0003": "KEPT UPDATE",
            "u-0004": "KEPT DELETE",
            "u-0005": "KEPT DELETE",
            "new": "INSERT",
        }
        found, harm = detection.found(), detection.harmful_updates()
        assert (found.kept_rows, found.updates, found.deletes, found.missing) == (3, 3, 0, 1)
        assert (harm.deactivations, harm.losing, harm.losses) == (1, 1, {"email": 1})
        detection.withhold({Harm.LOSS})
        found, harm = detection.found(), detection.harmful_updates()
        assert (found.updates, found.withheld_updates) == (2, 1)
        assert (harm.deactivations, harm.losing, harm.losses) == (1, 0, {})


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (Harm.DELETE, {"u-0001", "u-0002"}),
        (Harm.DEACTIVATION, {"u-0003"}),
        (Harm.LOSS, {"u-0004"}),
        (Harm.IDENTITY, {"u-0001", "new"}),
    ],
)
def test_each_kind_of_harm_withholds_its_own_rows(
    company: Company, harm: Harm, expected: set[str]
) -> None:
    world = company.connect(world=World(people(8)))
    company.sync(sync_id="s1")
    world.records = [
        person(0),
        person(2, status="DELETED"),
        person(3, status="LOCKED"),
        person(4, email=None),
        person(5, name="Renamed"),
        *people(8)[6:],
        person(50),
    ]
    with compared(company, "s2") as (detection, before):
        detection.assess(attributes=(), everything=False)
        detection.withhold({harm})
        rows = detection._warehouse.execute(
            "SELECT coalesce(image ->> '/external_id', 'new') FROM found_changes"
            " LEFT JOIN latest_images USING (id) WHERE withheld"
        ).fetchall()
        assert {row[0] for row in rows} == expected
        found = detection.found()
        assert found.withheld == len(expected)
        assert found.changes == before.changes - len(expected)
        assert found.unchanged == before.unchanged == 3
        assert found.missing == 1


def ids_of(company: Company) -> dict[str, str]:
    """The id of each row by its key."""
    return {row["external_id"]: row["id"] for row in company.platform.records(USERS, ACME)}


def test_keys_are_counted_once_whether_usable_or_not(company: Company) -> None:
    world = company.connect(world=World(people(10), page_size=5))
    company.sync(sync_id="s1")
    world.records = [
        *people(4),
        person(0),
        person(4, name=["unusable"]),
        person(1),
        person(5, name=["unusable"]),
        person(5),
        person(4, name=["unusable as well"]),
        *({"name": "Of nobody"}, {"name": "Of nobody"}),
        *people(12)[6:],
    ]
    with compared(company, "s2") as (detection, found):
        keys = detection.keys(found, rejected=5)
        # 0 to 3 and 5 to 11, number 4 by its rejected records, and two of nobody.
        assert (keys.distinct, keys.repeated) == (11 + 1 + 2, 1)
        assert detection.keys(found, rejected=0).distinct == 11


def test_a_configuration_is_the_same_only_if_both_are_known_and_equal(company: Company) -> None:
    company.connect(world=World(people(3)))
    company.sync(sync_id="s1")
    with compared(company, "s2") as (detection, _):
        assert detection.same_configuration("s1")
        assert not detection.same_configuration("unknown")
    company.configure(safeguards={"max_delete_count": 7})
    company.configure(api_endpoint="http://127.0.0.1:10/")
    with compared(company, "s3") as (detection, _):
        assert not detection.same_configuration("s1")


def test_keys_that_need_escaping_are_offered_as_controls_first(company: Company) -> None:
    records = [person(0), person(1) | {"id": "z/1"}, person(2) | {"id": "a b"}, person(3)]
    company.connect(world=World([*records, person(4, status="DELETED")], page_size=2))
    with compared(company, "s1") as (detection, _):
        assert detection.listed() == ["a b", "z/1", "u-0000", "u-0003"]


def test_the_log_has_the_newest_version_of_each_record(company: Company) -> None:
    world = company.connect(world=World(people(6), page_size=3, snapshot=True))
    company.sync(sync_id="s1", pages_per_batch=1)
    world.records = [
        person(0, name="First", updated=3),
        person(0, name="Second", updated=2),
        person(1, name="One"),
        person(9, name="Nine"),
        person(0, name="Third", updated=1),
        person(9, name="Nine again"),
        *people(6)[2:5],
    ]
    company.sync(sync_id="s2", pages_per_batch=1)
    changes = {
        change["external_id"]: (change["change_type"], change["after"] and change["after"]["name"])
        for change in company.platform.changes(USERS, ACME, "s2")
    }
    assert changes == {
        "u-0000": ("UPDATE", "First"),
        "u-0001": ("UPDATE", "One"),
        "u-0009": ("INSERT", "Nine again"),
        "u-0005": ("DELETE", None),
    }


def waiting(company: Company) -> set[str]:
    """The keys that wait for a second listing that lacks them."""
    with company.platform.warehouses.open(ACME) as warehouse:
        rows = warehouse.execute(
            "SELECT id::VARCHAR FROM missing_records WHERE stream = 'users' AND until IS NULL"
        ).fetchall()
        assert has_missing(warehouse, USERS) is bool(rows)
        assert not has_missing(warehouse, GROUPS)
    keys = {record_id: key for key, record_id in ids_of(company).items()}
    return {keys[row[0]] for row in rows}


def test_who_is_seen_waits_no_more_and_others_go_on_waiting(company: Company) -> None:
    world = company.connect(world=World(people(30), snapshot=False))
    company.sync(sync_id="s1")
    assert waiting(company) == set()
    gone(world, 0, 1, 2, 3)
    company.sync(sync_id="s2")
    assert waiting(company) == {"u-0000", "u-0001", "u-0002", "u-0003"}
    # Incomplete, and lists one of them, rejects one, says of one that it is deleted.
    world.records += [person(0), person(1, name=["unusable"]), person(2, status="DELETED")]
    world.doubts = ("page 2 is empty and not the last one",)
    assert company.sync(sync_id="s3").status is Status.QUARANTINED
    assert waiting(company) == {"u-0002", "u-0003"}
    world.doubts = ()
    gone(world, 0, 1, 2)
    outcome = company.sync(sync_id="s4")
    assert (outcome.counts.deletes, outcome.counts.pending_deletes) == (2, 2)
    assert waiting(company) == {"u-0000", "u-0001"}
    world.records = [*people(2), *people(30)[4:]]
    company.sync(sync_id="s5")
    assert waiting(company) == set()


def test_the_moment_of_the_first_absence_is_kept(company: Company) -> None:
    world = company.connect(world=World(people(30), snapshot=False))
    company.sync(sync_id="s1")
    gone(world, 0)
    company.sync(sync_id="s2")
    moments = since(company)
    gone(world, 1)
    with compared(company, "s3") as (detection, _):
        detection.hold_back(record_id for record_id, _ in detection.candidates())
        detection.write(detection.found(), complete=True, now="2031-01-01T00:00:00Z")
        rows = detection._warehouse.execute(
            "SELECT since FROM missing_records WHERE until IS NULL ORDER BY since"
        ).fetchall()
    assert [str(row[0]) for row in rows] == [*map(str, moments), "2031-01-01 00:00:00"]


def since(company: Company) -> list[Any]:
    """When the rows that wait were first missed."""
    with company.platform.warehouses.open(ACME) as warehouse:
        return [
            row[0]
            for row in warehouse.execute(
                "SELECT since FROM missing_records WHERE until IS NULL"
            ).fetchall()
        ]


def test_withheld_deletes_leave_who_waits_as_it_was(company: Company) -> None:
    world = company.connect(world=World(people(30), snapshot=False))
    company.sync(sync_id="s1")
    gone(world, 0)
    company.sync(sync_id="s2")
    gone(world, *range(20))
    outcome = company.sync(sync_id="s3")
    assert outcome.counts.withheld_deletes == 20
    assert waiting(company) == {"u-0000"}
    assert company.changes(sync_id="s3") == []
    with company.platform.warehouses.open(ACME) as warehouse:
        withheld = warehouse.execute(
            "SELECT change_type, count(*) FROM users_withheld GROUP BY ALL"
        ).fetchall()
    assert withheld == [("DELETE", 20)]
