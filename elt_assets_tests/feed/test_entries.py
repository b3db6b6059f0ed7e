"""What is published, by which act, in which order, under which position."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.feed.entries import behind, read
from elt_assets.feed.numbering import (
    ForeignPosition,
    PositionPassed,
    number_entries,
)
from elt_assets.feed.scope import Scope
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
from elt_assets.sync.admin.installation_backup import backup
from elt_assets.sync.state import feed_log
from elt_assets.sync.streams import USERS
from elt_assets_tests.feed.listening import ALL, applied, heard, numbers, told
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person

OTHER = IntegrationRef("globex", "main")


SLOW = IntegrationRef("slow", "one")


def one_change() -> pa.RecordBatchReader:
    """A user who came, as an apply publishes it."""
    row = {"change_type": "INSERT", "id": "1", "external_id": "late", "name": "L", "email": None}
    row |= {"active": True, "attributes": "{}", "before": None}
    return pa.Table.from_pylist([row]).to_reader()


def latest(company: Company, *refs: IntegrationRef) -> dict[tuple[str, str, str], object]:
    """The rows that applications read."""
    return {
        (ref.organization_id, ref.integration_id, row["id"]): {
            name: row[name] for name in ("external_id", "name", "email", "active", "attributes")
        }
        for ref in refs or (ACME,)
        for row in company.platform.records(USERS, ref)
    }


def test_a_sync_publishes_exactly_what_it_changed(company: Company) -> None:
    world = company.connect(world=World(people(3)))
    company.sync()
    assert told(heard(company)) == [
        ("users.inserted", row["external_id"])
        for row in sorted(company.platform.records(USERS, ACME), key=lambda row: row["id"])
    ]
    world.records = [person(0, name="Renamed"), person(1), person(3)]
    company.sync(sync_id="s2")
    company.sync(sync_id="s3")
    later = heard(company)[3:]
    assert sorted(told(later)) == [
        ("users.deleted", "u-0002"),
        ("users.inserted", "u-0003"),
        ("users.updated", "u-0000"),
    ]
    (renamed,) = (entry for entry in later if entry["type"] == "users.updated")
    assert renamed["changed"] == ["name"]
    assert (renamed["before"]["name"], renamed["after"]["name"]) == ("Person 0", "Renamed")
    assert (renamed["sync_id"], renamed["version"], renamed["stream"]) == ("s2", 2, "users")
    assert applied(heard(company)) == latest(company)


def test_an_unchanged_sync_publishes_nothing(company: Company) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    company.sync(sync_id="s2")
    company.sync(sync_id="s3", mode=None)
    assert len(heard(company)) == 3


def test_a_small_sync_pays_three_statements_for_the_feed_and_an_unchanged_one_none(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    with company.platform.database.transaction() as transaction:
        kind = type(transaction)
    for name in ("execute", "rows"):
        plain = getattr(kind, name)

        def counted(self: object, sql: str, *more: object, plain: Any = plain) -> Any:
            if "feed_" in sql:
                statements.append(sql)
            return plain(self, sql, *more)

        monkeypatch.setattr(kind, name, counted)
    world = company.connect(world=World(people(3)))
    company.sync()
    assert len(statements) == 3
    company.sync(sync_id="s2")
    world.records = people(4)
    company.sync(sync_id="s3")
    assert len(statements) == 6


def test_a_sync_that_was_rolled_back_is_not_heard_of(company: Company) -> None:
    company.connect(world=World(people(3)))
    company.break_inserts()
    company.sync()
    assert heard(company) == []
    company.mend_inserts()
    company.sync()
    assert numbers(heard(company)) == [1, 2, 3]


def test_undo_publishes_the_way_back(company: Company) -> None:
    world = company.connect(world=World(people(3)))
    company.sync()
    world.records = [person(0, name="Renamed"), *people(4)[1:]]
    company.sync(sync_id="s2")
    company.platform.undo(USERS, ACME, "s2")
    assert sorted(told(heard(company, 5))) == [
        ("users.deleted", "u-0003"),
        ("users.updated", "u-0000"),
    ]
    assert applied(heard(company)) == latest(company)


def test_approval_publishes_what_was_withheld(company: Company) -> None:
    world = company.connect(world=World(people(40)))
    company.sync()
    world.records = people(2)
    company.sync(sync_id="s2")
    company.sync(sync_id="s3")
    assert len(heard(company)) == 40
    company.platform.approve(ACME, "somebody")
    assert {kind for kind, _ in told(heard(company, 40))} == {"users.deleted"}
    assert len(heard(company, 40)) == 38
    assert applied(heard(company)) == latest(company)


def test_rebuild_publishes_only_what_it_mended(company: Company) -> None:
    company.connect(world=World(people(4)))
    company.sync()
    company.platform.rebuild(USERS, ACME)
    assert len(heard(company)) == 4
    with company.platform.database.transaction() as transaction:
        transaction.execute("DELETE FROM users_latest WHERE external_id = 'u-0001'")
        transaction.execute(
            "UPDATE users_latest SET name = 'Damaged', content_hash = 'x'"
            " WHERE external_id = 'u-0002'"
        )
    company.platform.rebuild(USERS, ACME)
    mended = heard(company, 4)
    assert sorted(told(mended)) == [("users.inserted", "u-0001"), ("users.updated", "u-0002")]
    assert {entry["sync_id"] for entry in mended} == {"rebuild"}
    assert applied(heard(company)) == latest(company)


def test_a_rebuild_deletes_what_the_log_does_not_know(company: Company) -> None:
    world = company.connect(world=World(people(4)))
    company.sync()
    world.records = people(3)
    company.sync(sync_id="s2")
    company.sync(sync_id="s3")
    kept = company.platform.records(USERS, ACME)[0]
    with company.platform.database.transaction() as transaction:
        transaction.execute(
            "INSERT INTO users_latest (organization_id, connected_integration_id, id, external_id,"
            " attributes, content_hash, first_seen, last_updated)"
            " VALUES ('acme', 'main', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'stray', '{}', 'x',"
            " ?, ?)",
            (kept["first_seen"], kept["last_updated"]),
        )
    before = len(heard(company))
    company.platform.rebuild(USERS, ACME)
    (stray,) = heard(company, before)
    assert told([stray]) == [("users.deleted", "stray")]
    assert stray["before"]["external_id"] == "stray"


def test_removal_publishes_one_entry_and_erases_the_older_ones(company: Company) -> None:
    company.connect(world=World(people(3)))
    company.connect(OTHER, World(people(2)))
    company.sync()
    company.sync(OTHER)
    heard(company)
    company.platform.remove(ACME)
    entries = heard(company)
    assert told(entries) == [
        *[("users.inserted", f"u-{n:04}") for n in _order(company)],
        ("integration.removed", None),
    ]
    assert set(entries[-1]) == {
        "position",
        "sequence",
        "type",
        "organization_id",
        "connected_integration_id",
        "applied_at",
    }
    assert numbers(entries)[-1] == 6
    stored = company.platform.database.rows("SELECT organization_id FROM feed_bodies")
    assert {row["organization_id"] for row in stored} == {"globex"}


def _order(company: Company) -> list[int]:
    rows = sorted(company.platform.records(USERS, OTHER), key=lambda row: row["id"])
    return [int(row["external_id"][2:]) for row in rows]


def test_an_integration_that_is_added_again_goes_on_counting(company: Company) -> None:
    company.connect(world=World(people(2)))
    company.sync()
    company.platform.remove(ACME)
    company.connect(world=World(people(2)))
    company.sync(sync_id="s2")
    assert [entry["sequence"] for entry in heard(company)] == [3, 4, 5]


def test_numbers_have_no_gaps_within_an_integration_and_rise_over_all(company: Company) -> None:
    worlds = {ref: company.connect(ref, World(people(5))) for ref in (ACME, OTHER)}
    for round_ in range(3):
        for ref, world in worlds.items():
            world.records = [person(n, name=f"{n} in {round_}") for n in range(5 + round_)]
            company.sync(ref, sync_id=f"s{round_}")
        if round_ != 1:
            number_entries(company.platform.database)
    entries = heard(company)
    assert numbers(entries) == list(range(1, 37))
    for ref in worlds:
        own = [e for e in entries if e["organization_id"] == ref.organization_id]
        assert [entry["sequence"] for entry in own] == list(range(1, 19))
    assert applied(entries) == latest(company, ACME, OTHER)


def test_what_commits_late_appears_behind_what_was_served(company: Company) -> None:
    """An apply that began first and commits last: nobody waits for it, nobody misses it."""
    if company.platform.settings.operational_url is None:
        pytest.skip("SQLite has one writer: transactions do not overlap")
    company.connect(OTHER, World(people(2)))
    database = company.platform.database
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with database.transaction("slow:one") as transaction:
            feed_log.publish(transaction, feed_log.Published("users", SLOW, "s1", 1), one_change())
            begun.set()
            go_on.wait(60)

    late = threading.Thread(target=slow)
    late.start()
    assert begun.wait(60)
    company.sync(OTHER)
    served = heard(company)
    assert numbers(served) == [1, 2]
    go_on.set()
    late.join()
    late_entries = heard(company, 2)
    assert told(late_entries) == [("users.inserted", "late")]
    assert numbers(late_entries) == [3]


def test_readers_that_number_at_the_same_time_agree(company: Company) -> None:
    refs = [IntegrationRef("many", f"i{n}") for n in range(6)]
    for ref in refs:
        company.connect(ref, World(people(3)))
    seen: list[list[str]] = []
    stop = threading.Event()

    def listen() -> None:
        after, mine = 0, []
        while True:
            ended = stop.is_set()
            state = number_entries(company.platform.database)
            found = read(company.platform.database, state, after, 4, ALL)
            mine += [(entry["position"], entry["id"]) for entry in found.found]
            after = found.next
            if ended and not found.found and after == state.head:
                break
        seen.append(mine)

    listeners = [threading.Thread(target=listen) for _ in range(3)]
    for one in listeners:
        one.start()
    list(company.platform.sync(USERS, refs, sync_id="s1"))
    stop.set()
    for one in listeners:
        one.join()
    assert len(seen) == 3
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == 18
    assert len({key for _, key in seen[0]}) == 18


@pytest.mark.parametrize("limit", [1, 7, 1_000])
def test_any_limit_hands_out_every_entry_once(
    company: Company, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(feed_log, "SEGMENT_ENTRIES", 10)
    company.connect(world=World(people(25)))
    company.sync()
    database, entries, after = company.platform.database, [], 0
    state = number_entries(database)
    while after < state.head:
        found = read(database, state, after, limit, ALL)
        assert len(found.found) <= limit
        entries += found.found
        after = found.next
    assert numbers(entries) == list(range(1, 26))
    assert behind(database, 13, ALL)[0] == 12


def test_large_records_are_kept_in_small_segments(company: Company) -> None:
    company.connect(world=World([person(n, team="x" * 150_000) for n in range(60)], page_size=5))
    company.sync(pages_per_batch=1)
    segments = company.platform.database.rows("SELECT entries FROM feed_segments")
    assert len(segments) >= 3
    assert numbers(heard(company)) == list(range(1, 61))


def test_a_scope_shows_its_own_organizations_streams_and_fields(company: Company) -> None:
    company.connect(world=World(people(2)))
    world = company.connect(OTHER, World(people(2)))
    company.sync()
    company.sync(OTHER)
    world.records = [person(0, name="Renamed", email="new@example.com"), person(1)]
    company.sync(OTHER, sync_id="s2")
    own = heard(company, scope=Scope(organizations=("globex",)))
    assert {entry["organization_id"] for entry in own} == {"globex"}
    assert len(own) == 3
    assert heard(company, scope=Scope(streams=("groups",))) == []
    assert len(heard(company, scope=Scope(organizations=("acme", "globex")))) == 5
    names = heard(company, scope=Scope(fields=()))[-1]
    assert (names["changed"], names["before"], names["after"]) == (["name", "email"], None, None)
    one = heard(company, scope=Scope(fields=("email",)))[-1]
    assert (one["changed"], one["after"]) == (["email"], {"email": "new@example.com"})
    with pytest.raises(InvalidInput, match="no access to organization 'acme'"):
        Scope(organizations=("globex",)).narrowed("acme", None)
    with pytest.raises(InvalidInput, match="field 'nothing' is not one of"):
        Scope(fields=("nothing",))


def test_positions_of_elsewhere_and_of_the_past_are_refused(company: Company) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    database = company.platform.database
    state = number_entries(database)
    assert state.number(state.text(2)) == 2
    for wrong in ("", "7", "x-1", state.text(2) + "0" * 20):
        with pytest.raises(InvalidInput, match="is not a position"):
            state.number(wrong)
    with pytest.raises(ForeignPosition):
        state.number(state.text(4))
    feed_log.renew(database)
    with pytest.raises(ForeignPosition, match="another installation"):
        number_entries(database).number(state.text(2))
    with database.transaction() as transaction:
        transaction.execute("UPDATE feed_state SET trimmed = 2")
    state = number_entries(database)
    assert state.number(state.text(2)) == 2
    with pytest.raises(PositionPassed, match="take a snapshot"):
        state.number("0")


def test_a_restored_backup_refuses_positions_of_the_original(
    company: Company, tmp_path: Path
) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    position = heard(company)[1]["position"]
    folder = tmp_path / "backup"
    backup(company.platform, folder)
    copied = SqliteDatabase(load_settings(home=folder).database_path)
    try:
        state = number_entries(copied)
        assert state.head == 3
        with pytest.raises(ForeignPosition, match="restored from a backup"):
            state.number(position)
    finally:
        copied.close()
    assert number_entries(company.platform.database).number(position) == 2


def test_what_was_numbered_since_the_state_was_read_is_handed_out(company: Company) -> None:
    company.connect(world=World(people(2)))
    company.sync()
    database = company.platform.database
    state = number_entries(database)
    company.worlds["acme:main"].records = people(3)
    company.sync(sync_id="s2")
    number_entries(database)
    found = read(database, state, 0, 10, ALL)
    assert (numbers(found.found), found.next) == ([1, 2, 3], 3)


def test_a_database_that_is_busy_hides_no_entry_that_was_numbered(company: Company) -> None:
    if company.platform.settings.operational_url is not None:
        pytest.skip("on a server numbering waits for no apply")
    company.connect(world=World(people(2)))
    company.sync()
    assert len(heard(company)) == 2
    company.worlds["acme:main"].records = people(3)
    company.sync(sync_id="s2")
    hurried = SqliteDatabase(
        company.platform.settings.database_path, attempts=1, first_wait=0, busy_timeout=0.01
    )
    try:
        with company.platform.database.transaction():
            state = number_entries(hurried)
            assert state.head == 2
            assert len(read(hurried, state, 0, 10, ALL).found) == 2
        assert number_entries(hurried).head == 3
    finally:
        hurried.close()
