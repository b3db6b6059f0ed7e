"""One integration's sync through the engine: what ends up where, and what is never touched."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from elt_assets.errors import ProviderUnavailable
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse import warehouse_files
from elt_assets.sync.engine import Engine
from elt_assets.sync.outcome import Outcome, Stage, Status
from elt_assets.sync.streams import USERS
from elt_assets_tests.storage.processes import wait_until_it_waits
from elt_assets_tests.sync.worlds import ACME, Company, World, expected, people, person


def balanced(outcome: Outcome) -> bool:
    """The sums every settled sync must satisfy."""
    c = outcome.counts
    return (
        c.fetched == c.staged + c.rejected
        and c.staged - c.duplicates == c.unique
        and c.unique == c.inserts + c.updates + c.unchanged + c.tombstones
        and c.latest_before + c.inserts - c.deletes == c.latest
    )


def test_a_first_sync_inserts_every_record(company: Company) -> None:
    world = company.connect(world=World(people(1000), page_size=10))
    outcome = company.sync()
    assert outcome.status is Status.APPLIED
    assert outcome.certificate.complete
    assert (outcome.counts.staged, outcome.counts.inserts, outcome.counts.latest) == (1000,) * 3
    assert outcome.batches == 10
    assert company.users() == expected(world.records)
    assert balanced(outcome)


def test_changes_leavers_and_joiners_are_told_apart(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    world.records[3] = person(3, name="Renamed")
    world.records[4] = person(4, status="SUSPENDED")
    world.records[5] = person(5, team="red")
    del world.records[6]
    world.records.append(person(99))
    outcome = company.sync(sync_id="s2")
    assert company.changes(sync_id="s2") == [
        ("UPDATE", "u-0003"),
        ("UPDATE", "u-0004"),
        ("UPDATE", "u-0005"),
        ("DELETE", "u-0006"),
        ("INSERT", "u-0099"),
    ]
    assert company.users() == expected(world.records)
    assert balanced(outcome)
    fields = {change["external_id"]: change["fields"] for change in outcome.sample}
    assert fields["u-0003"] == ["name"]
    assert fields["u-0005"] == ["attributes.team"]


def test_an_update_keeps_first_seen_and_logs_what_was_before(company: Company) -> None:
    world = company.connect(world=World(people(2)))
    company.sync(sync_id="s1")
    (first, _) = company.platform.records(USERS, ACME)
    world.records[0] = person(0, email=None)
    company.sync(sync_id="s2")
    (changed, untouched) = company.platform.records(USERS, ACME)
    assert changed["first_seen"] == first["first_seen"]
    assert changed["last_updated"] > first["last_updated"]
    assert untouched["last_updated"] == first["last_updated"]
    (change,) = company.platform.changes(USERS, ACME, "s2")
    assert change["before"]["email"] == "p0@example.com"
    assert change["after"]["email"] is None


def test_an_empty_text_is_no_value(company: Company) -> None:
    world = company.connect(world=World([person(1, email=None)]))
    company.sync(sync_id="s1")
    world.records[0] = person(1, email="")
    assert company.sync(sync_id="s2").status is Status.UNCHANGED
    assert company.users()["u-0001"]["email"] is None


def test_an_unchanged_world_changes_nothing(company: Company) -> None:
    company.connect(world=World(people(25)))
    company.sync(sync_id="s1")
    before = company.platform.records(USERS, ACME)
    outcome = company.sync(sync_id="s2")
    assert outcome.status is Status.UNCHANGED
    assert outcome.counts.unchanged == 25
    assert company.platform.records(USERS, ACME) == before
    assert company.changes(sync_id="s2") == []
    assert balanced(outcome)


def test_repeating_a_sync_id_returns_the_result_and_touches_nothing(company: Company) -> None:
    world = company.connect(world=World(people(25)))
    first = company.sync(sync_id="s1")
    pages = len(world.served)
    log = company.platform.changes(USERS, ACME)
    world.records.clear()
    again = company.sync(sync_id="s1")
    assert again.recorded
    assert again.as_json() == first.as_json()
    assert len(world.served) == pages
    assert company.platform.changes(USERS, ACME) == log
    assert company.platform.counts(USERS, ACME)["staged"] == 25


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 100])
def test_the_newest_version_wins_wherever_pages_are_cut(company: Company, page_size: int) -> None:
    records = [
        person(1, name="old", updated="2026-01-01T00:00:00Z"),
        person(2, name="first", updated="2026-01-01T00:00:00Z"),
        person(1, name="new", updated="2026-03-01T00:00:00+01:00"),
        person(2, name="second", updated="2026-01-01T01:00:00+01:00"),
        person(1, name="older", updated="2026-02-01T00:00:00Z"),
    ]
    company.connect(world=World(records, page_size=page_size))
    outcome = company.sync(pages_per_batch=2)
    assert {key: user["name"] for key, user in company.users().items()} == {
        "u-0001": "new",
        "u-0002": "second",
    }
    assert outcome.counts.duplicates == 3
    assert balanced(outcome)


def test_an_interrupted_sync_continues_from_the_last_committed_page(company: Company) -> None:
    world = company.connect(world=World(people(100), page_size=10))
    world.fail_at[7] = ProviderUnavailable("gone for a moment")
    failed = company.sync(pages_per_batch=3)
    assert failed.status is Status.FAILED
    assert failed.retryable
    assert failed.counts.staged == 70
    assert company.users() == {}
    world.fail_at.clear()
    world.served.clear()
    outcome = company.sync(pages_per_batch=3)
    assert world.served == [7, 8, 9]
    assert outcome.status is Status.APPLIED
    assert outcome.resumed_batches == 3
    assert outcome.certificate.extraction_runs == 2
    assert company.users() == expected(world.records)
    assert balanced(outcome)


def test_a_slow_integration_gives_its_slot_back_and_goes_on_later(company: Company) -> None:
    """Each attempt gets one page done before its time is over, and none is read twice."""
    world = company.connect(world=World(people(30), page_size=10))
    config = company.platform._engine.config
    spent = replace(config.limits, time_budget=1e-9)
    company.platform._engine = Engine(replace(config, limits=spent))
    for staged in (10, 20):
        outcome = company.sync(pages_per_batch=3)
        assert outcome.status is Status.FAILED
        assert outcome.retryable
        assert "what is committed is kept and continued from" in (outcome.error or "")
        assert outcome.counts.staged == staged
    outcome = company.sync(pages_per_batch=3)
    assert world.served == [0, 1, 2]
    assert outcome.status is Status.APPLIED
    assert company.users() == expected(world.records)
    assert balanced(outcome)


def test_a_source_that_cannot_go_on_begins_again_under_the_same_sync(company: Company) -> None:
    world = company.connect(world=World([*people(90), {"id": None}], page_size=10, resumable=False))
    world.fail_at[7] = ProviderUnavailable("gone for a moment")
    assert company.sync(pages_per_batch=3).counts.staged == 70
    world.fail_at.clear()
    world.served.clear()
    outcome = company.sync(pages_per_batch=3)
    assert world.served == list(range(10))
    assert (outcome.counts.staged, outcome.counts.rejected) == (90, 1), "nothing stands twice"
    assert outcome.resumed_batches == 0
    assert outcome.certificate.extraction_runs == 1
    assert not outcome.certificate.resumable
    assert balanced(outcome)


def test_a_failed_sync_names_the_integration_and_leaves_latest_alone(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    before = company.platform.records(USERS, ACME)
    world.records = people(10)
    world.fail_at[0] = ProviderUnavailable("no answer")
    outcome = company.sync(sync_id="s2")
    assert outcome.error == "acme:main: no answer"
    assert outcome.counts.latest == 30
    assert company.platform.records(USERS, ACME) == before


def test_pages_of_another_configuration_are_not_continued(company: Company) -> None:
    world = company.connect(world=World(people(40)))
    world.fail_at[3] = ProviderUnavailable("gone")
    company.sync(pages_per_batch=1)
    world.fail_at.clear()
    world.served.clear()
    company.configure(rate_limit={"concurrency": 2})
    outcome = company.sync(pages_per_batch=1)
    assert world.served == [0, 1, 2, 3]
    assert outcome.counts.staged == 40
    assert balanced(outcome)


def test_a_configuration_corrected_while_a_sync_waits_for_the_file_is_what_it_reads(
    tmp_path: Path,
) -> None:
    company = Company(tmp_path, lock_wait=60.0)
    company.connect(world=World(people(3)))
    company.worlds["the corrected one"] = World(people(5))
    waiting = threading.Thread(target=company.sync)
    with company.platform.warehouses.open(ACME):
        waiting.start()
        wait_until_it_waits(waiting)
        known = company.platform.registry.get(ACME).provider_data
        company.platform.registry.update(
            ACME, known | {"permission_source_name": "the corrected one"}
        )
    waiting.join()
    assert len(company.users()) == 5
    company.platform.close()


def test_a_sync_that_began_before_an_applied_one_is_superseded(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    world.fail_at[2] = ProviderUnavailable("gone")
    company.sync(sync_id="old", pages_per_batch=1)
    world.fail_at.clear()
    world.records = [person(number, name="current") for number in range(40)]
    company.sync(sync_id="new")
    outcome = company.sync(sync_id="old")
    assert (outcome.status, outcome.counts.latest) == (Status.SUPERSEDED, 40)
    assert company.users() == expected(world.records)
    assert {change for change, _ in company.changes()} == {"INSERT"}


def test_a_cut_short_extraction_adds_and_changes_but_deletes_nobody(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    world.records = [person(0, name="Renamed"), person(50)]
    world.cut_short = "page limit of 1 reached"
    outcome = company.sync(sync_id="s2")
    assert outcome.status is Status.QUARANTINED
    assert outcome.reasons[0] == "page limit of 1 reached"
    assert (outcome.counts.withheld_deletes, outcome.counts.deletes) == (29, 0)
    assert len(company.users()) == 31
    assert company.users()["u-0000"]["name"] == "Renamed"
    assert balanced(outcome)
    assert "DELETE" not in {change for change, _ in company.changes()}


def test_an_empty_listing_over_a_filled_table_is_quarantined(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    world.records = []
    outcome = company.sync(sync_id="s2")
    assert outcome.status is Status.QUARANTINED
    assert outcome.reasons[0] == (
        "the provider listed nobody and the latest table holds 30; its last syncs listed 30"
    )
    assert len(company.users()) == 30


def test_fewer_records_than_the_provider_counts_delete_nobody(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    world.records, world.total = people(20), 30
    outcome = company.sync(sync_id="s2")
    assert outcome.status is Status.QUARANTINED
    assert outcome.reasons[0] == "the provider counts 30 records and listed 20"
    assert len(company.users()) == 30


def test_a_rejected_record_keeps_its_user_in_latest(company: Company) -> None:
    world = company.connect(world=World(people(3)))
    company.sync(sync_id="s1")
    world.records = [person(0), person(1, name=["not", "text"])]
    outcome = company.sync(sync_id="s2")
    assert company.changes(sync_id="s2") == [("DELETE", "u-0002")]
    assert set(company.users()) == {"u-0000", "u-0001"}
    assert (outcome.counts.rejected, outcome.counts.shielded_deletes) == (1, 1)
    (dead,) = company.platform.rejected(USERS, ACME)
    assert (dead["key"], dead["reason"]) == ("u-0001", "name is a list, not text")
    assert dead["raw"]["name"] == ["not", "text"]
    assert balanced(outcome)


@pytest.mark.parametrize("unreadable", [{"name": "no id"}, 5, None, "text", {"id": ""}, [1]])
def test_a_record_without_a_readable_key_withholds_all_deletes(
    company: Company, unreadable: object
) -> None:
    world = company.connect(world=World(people(3)))
    company.sync(sync_id="s1")
    world.records = [person(0), unreadable]
    outcome = company.sync(sync_id="s2")
    assert outcome.status is Status.QUARANTINED
    assert outcome.counts.withheld_deletes == 2
    assert len(company.users()) == 3
    assert balanced(outcome)


def test_tenants_with_the_same_people_never_mix(company: Company) -> None:
    """('a', 'bc') and ('ab', 'c') read the same when run together."""
    refs = [IntegrationRef("a", "bc"), IntegrationRef("ab", "c"), IntegrationRef("a", "b-c")]
    for ref in refs:
        company.connect(ref, World([person(n, name=f"{ref} {n}") for n in range(20)]))
    outcomes = list(company.platform.sync(USERS, refs, sync_id="s1"))
    assert {outcome.status for outcome in outcomes} == {Status.APPLIED}
    company.worlds["a:bc"].records = []
    company.worlds["ab:c"].records = company.worlds["ab:c"].records[:17]
    list(company.platform.sync(USERS, refs, sync_id="s2"))
    assert [len(company.users(ref)) for ref in refs] == [20, 17, 20]
    ids = [row["id"] for ref in refs for row in company.platform.records(USERS, ref)]
    assert len(ids) == len(set(ids))


def test_a_disabled_integration_is_skipped_and_an_unknown_one_fails(company: Company) -> None:
    company.connect(world=World(people(3)))
    company.platform.registry.set_enabled(ACME, False)
    unknown = IntegrationRef("acme", "nobody")
    (outcome,) = company.platform.sync(USERS, [ACME, unknown], sync_id="s1")
    assert (outcome.partition, outcome.status) == ("acme:nobody", Status.FAILED)
    assert outcome.error is not None
    assert "not registered" in outcome.error


def test_a_sync_can_stop_after_each_stage_and_go_on(company: Company) -> None:
    company.connect(world=World(people(15)))
    staged = company.sync(until=Stage.STAGING)
    assert (staged.status, staged.reached) == (Status.EXTRACTING, Stage.STAGING)
    assert company.platform.unfinished_sync_id(USERS, ACME) == "s1"
    detected = company.sync(until=Stage.CDC)
    assert (detected.reached, detected.counts.inserts) == (Stage.CDC, 15)
    assert company.users() == {}
    assert company.changes() == []
    assert company.sync().status is Status.APPLIED
    assert company.platform.unfinished_sync_id(USERS, ACME) is None
    assert len(company.users()) == 15


# Somebody who deletes a user whenever another one comes, by whether that is on PostgreSQL.
INTRUDERS = {
    False: [
        "CREATE TRIGGER intruder AFTER INSERT ON users_latest BEGIN"
        " DELETE FROM users_latest WHERE external_id = 'u-0002'; END"
    ],
    True: [
        "CREATE FUNCTION intrude() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN DELETE FROM users_latest WHERE external_id = ''u-0002''; RETURN NULL; END'",
        "CREATE TRIGGER intruder AFTER INSERT ON users_latest EXECUTE FUNCTION intrude()",
    ],
}


def test_a_row_that_appeared_behind_our_back_stops_the_apply(company: Company) -> None:
    """Detection saw the table before somebody else wrote to it; the row count gives it away."""
    world = company.connect(world=World(people(5)))
    company.sync(sync_id="s1")
    world.records.append(person(9))

    def intrude(page: int) -> None:
        with company.platform.database.transaction() as transaction:
            transaction.execute("DELETE FROM users_latest WHERE external_id = 'u-0001'")
            for statement in INTRUDERS[company.platform.settings.operational_url is not None]:
                transaction.execute(statement)

    world.on_page = intrude
    outcome = company.sync(sync_id="s2")
    assert outcome.status is Status.FAILED
    assert outcome.error is not None
    assert "rolled back" in outcome.error
    assert "u-0009" not in company.users()


def test_removing_an_integration_leaves_no_row_and_no_file(company: Company) -> None:
    company.connect(world=World(people(5)))
    other = IntegrationRef("acme", "other")
    company.connect(other, World(people(5)))
    list(company.platform.sync(USERS, [ACME, other], sync_id="s1"))
    company.platform.remove(ACME)
    assert not company.platform.warehouses.exists(ACME)
    for table, column in (
        ("users_latest", "connected_integration_id"),
        ("syncs", "connected_integration_id"),
        ("integration_versions", "connected_integration_id"),
        ("connected_integrations", "id"),
    ):
        rows = company.platform.database.rows(f"SELECT DISTINCT {column} AS i FROM {table}")
        assert rows == [{"i": "other"}]


def test_an_operational_database_set_back_is_noticed(company: Company) -> None:
    world = company.connect(world=World(people(3)))
    for number in range(3):
        world.records.append(person(10 + number))
        company.sync(sync_id=f"s{number}")
    with company.platform.database.transaction() as transaction:
        transaction.execute("UPDATE integration_versions SET version = 1, ordinal = 1")
        transaction.execute("DELETE FROM syncs")
    outcome = company.sync(sync_id="s9")
    assert outcome.status is Status.FAILED
    assert outcome.error is not None
    assert "rebuild" in outcome.error


def test_a_listener_who_leaves_stops_the_syncs_at_their_next_batch(company: Company) -> None:
    quick, slow = IntegrationRef("acme", "quick"), IntegrationRef("acme", "slow")
    company.connect(quick, World(people(1)))
    world = company.connect(slow, World(people(1000)))
    reached, settled = threading.Event(), threading.Event()

    def hold(page: int) -> None:
        if page == 3:
            reached.set()
            settled.wait()

    world.on_page = hold
    outcomes = company.platform.sync(USERS, [quick, slow], sync_id="s1", pages_per_batch=2)
    assert next(iter(outcomes)).partition == "acme:quick"
    reached.wait()
    threading.Timer(0.2, settled.set).start()
    outcomes.close()  # type: ignore[attr-defined]
    assert world.served == [0, 1, 2, 3]
    (row,) = company.platform.syncs(slow)
    assert row.status is Status.FAILED
    assert row.error is not None
    # The second batch was being fetched; whether it was still worth writing is a race.
    stopped = re.search(r"stopped on request after batch ([12]);", row.error)
    assert stopped is not None
    world.served.clear()
    assert company.sync(slow, pages_per_batch=2).status is Status.APPLIED
    assert world.served[0] == 2 * int(stopped[1])


def test_changed_values_are_shown_only_where_that_is_switched_on(tmp_path: Path) -> None:
    for shown in (False, True):
        company = Company(tmp_path / "home", show_personal_values=shown)
        ref = IntegrationRef("acme", str(shown))
        company.connect(ref, World([person(1)]))
        (change,) = company.sync(ref).sample
        assert ("after" in change) is shown
        assert ("Person 1" in str(change)) is shown
        company.platform.close()


@pytest.mark.files
def test_a_file_replaced_by_a_larger_one_while_it_is_filled_holds_what_it_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse_files, "_LARGE", 1)
    company = Company(tmp_path / "home")
    world = company.connect(world=World(people(60)))
    path = company.platform.warehouses.path(ACME)
    files = set()

    def look(_: object) -> None:
        if path.exists():
            files.add(path.stat().st_ino)

    outcome = company.sync(pages_per_batch=1, progress=look)
    assert outcome.status is Status.APPLIED, outcome.error
    assert len(files) >= 2
    assert company.users() == expected(world.records)
    del world.records[10:20]
    again = company.sync(sync_id="s2", pages_per_batch=1)
    assert (again.counts.staged, again.counts.deletes) == (50, 10)
    assert company.users() == expected(world.records)
    company.platform.close()
