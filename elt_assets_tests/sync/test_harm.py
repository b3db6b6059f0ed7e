"""What a provider claims and a sync believes: nobody is harmed by a claim alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from elt_assets.connectors.source import Presence
from elt_assets.errors import InvalidInput, ProviderUnavailable
from elt_assets.sync.outcome import Status
from elt_assets_tests.sync.worlds import (
    ACME,
    PROVIDER_DATA,
    Company,
    World,
    expected,
    people,
    person,
)

USERS_STREAM: dict[str, object] = PROVIDER_DATA["streams"]["users"]  # type: ignore[index]


def listed(company: Company, records: int = 30, **world: object) -> World:
    """An integration whose pages may shift and whose first sync was applied."""
    made = company.connect(world=World(people(records), **({"snapshot": False} | world)))
    company.sync(sync_id="s1")
    return made


def test_a_key_on_two_pages_makes_the_listing_incomplete(company: Company) -> None:
    world = listed(company)
    # Number 9 is listed twice and number 29 not at all, as when pages shift by one.
    world.records = [*people(10), *people(29)[9:]]
    for sync_id in ("s2", "s3", "s4"):
        outcome = company.sync(sync_id=sync_id)
        assert not outcome.certificate.complete
        assert outcome.certificate.repeated == 1
        assert outcome.counts.deletes == 0
    assert "u-0029" in company.users()


def test_unchanged_pages_repeat_the_keys_that_they_repeated(company: Company) -> None:
    twice = [*people(30), person(0)]
    world = company.connect(world=World(twice, snapshot=True))
    first = company.sync(sync_id="s1").certificate
    assert (first.complete, first.distinct, first.repeated) == (True, 30, 1)
    again = company.sync(sync_id="s2").certificate
    assert (again.complete, again.distinct, again.repeated) == (True, 30, 1)
    # The same pages, this time without the promise that they could not shift.
    world.snapshot = False
    outcome = company.sync(sync_id="s3").certificate
    assert (outcome.complete, outcome.distinct, outcome.repeated) == (False, 30, 1)


def test_a_record_twice_on_one_page_is_no_sign_of_shifted_pages(company: Company) -> None:
    world = listed(company)
    world.records = [person(0), *people(30)]
    assert company.sync(sync_id="s2").certificate.complete


def test_a_total_above_the_different_keys_makes_the_listing_incomplete(company: Company) -> None:
    world = listed(company, total=30)
    world.records = [person(0), *people(29)]
    outcome = company.sync(sync_id="s2")
    assert outcome.certificate.reasons[0] == "the provider counts 30 records and listed 29"
    assert outcome.status is Status.QUARANTINED
    assert len(company.users()) == 30


def test_a_rejected_record_counts_as_listed(company: Company) -> None:
    world = listed(company, total=30)
    world.records = [*people(29), person(29, name=["not", "text"])]
    assert company.sync(sync_id="s2").certificate.complete


def test_a_page_that_is_doubted_makes_the_listing_incomplete(company: Company) -> None:
    world = listed(company)
    world.records = people(29)
    world.doubts = ("page 2 is empty and not the last one",)
    outcome = company.sync(sync_id="s2")
    assert outcome.certificate.reasons == ("page 2 is empty and not the last one",)
    assert outcome.counts.deletes == 0


def test_a_delete_needs_a_second_listing_where_nothing_can_be_probed(company: Company) -> None:
    world = listed(company)
    world.records = people(29)
    assert company.sync(sync_id="s2").counts.pending_deletes == 1
    assert company.sync(sync_id="s3").counts.deletes == 1


def test_the_confirming_listing_is_made_in_another_way(company: Company) -> None:
    world = listed(company)
    world.records = people(29)
    company.sync(sync_id="s2")
    assert world.otherwise == 0
    company.sync(sync_id="s3")
    assert world.otherwise == 1
    company.sync(sync_id="s4")
    assert world.otherwise == 1


def test_a_probe_without_an_answer_leaves_it_to_a_second_listing(company: Company) -> None:
    world = listed(company, alive={"u-0029": Presence.UNKNOWN})
    world.records = people(29)
    assert company.sync(sync_id="s2").counts.pending_deletes == 1
    assert company.sync(sync_id="s3").counts.deletes == 1


def test_a_probe_that_finds_the_record_refutes_the_listing(company: Company) -> None:
    world = listed(company, alive={"u-0029": Presence.PRESENT})
    world.records = people(28)
    outcome = company.sync(sync_id="s2")
    assert company.changes(sync_id="s2") == [("DELETE", "u-0028")]
    assert outcome.certificate.reasons == (
        "1 records that the listing lacks are there when asked for alone",
    )


def test_a_listing_that_a_probe_refutes_is_no_witness_against_others(company: Company) -> None:
    alive = {"u-0028": Presence.UNKNOWN, "u-0029": Presence.UNKNOWN}
    world = listed(company, alive=alive)
    world.records = people(28)
    assert company.sync(sync_id="s2").counts.pending_deletes == 2
    alive["u-0029"] = Presence.PRESENT
    outcome = company.sync(sync_id="s3")
    assert (outcome.counts.pending_deletes, outcome.counts.shielded_deletes) == (1, 1)
    assert len(company.users()) == 30


def test_a_record_that_a_probe_found_is_missing_for_the_first_time_afterwards(
    company: Company,
) -> None:
    alive = {"u-0029": Presence.UNKNOWN}
    world = listed(company, alive=alive)
    world.records = people(29)
    company.sync(sync_id="s2")
    alive["u-0029"] = Presence.PRESENT
    company.sync(sync_id="s3")
    alive["u-0029"] = Presence.UNKNOWN
    assert company.sync(sync_id="s4").counts.pending_deletes == 1
    assert company.sync(sync_id="s5").counts.deletes == 1


def test_unchanged_pages_with_a_wrong_total_are_incomplete(company: Company) -> None:
    world = listed(company, total=30)
    world.total = 31
    outcome = company.sync(sync_id="s2")
    assert outcome.error is None
    assert outcome.certificate.reasons == ("the provider counts 31 records and listed 30",)


def test_only_a_snapshot_may_do_without_a_second_witness(company: Company) -> None:
    world = listed(company)
    unproven = {name: value for name, value in USERS_STREAM.items() if name != "snapshot"}
    with pytest.raises(InvalidInput, match="and no stream is"):
        company.configure(streams={"users": unproven}, safeguards={"delete_confirmation": "none"})
    company.configure(safeguards={"delete_confirmation": "none"})
    # The configuration promises a snapshot, and this listing was none.
    world.records = people(29)
    outcome = company.sync(sync_id="s2")
    assert outcome.status is Status.FAILED
    assert "delete_confirmation 'none' is refused" in (outcome.error or "")
    world.snapshot = True
    assert company.sync(sync_id="s3").counts.deletes == 1


def test_everybody_inactive_at_once_waits_for_a_person(company: Company) -> None:
    world = listed(company)
    world.records = [person(n, status="LOCKED", name=f"New {n}") for n in range(7)] + people(30)[7:]
    outcome = company.sync(sync_id="s2")
    assert outcome.status is Status.QUARANTINED
    assert outcome.counts.withheld_updates == 7
    assert outcome.reasons == (
        "7 of 30 would be deactivated and at most 6 may be (20%, 500 at most)",
    )
    assert company.users() == expected(people(30))


def test_an_unknown_state_takes_access_away_like_an_inactive_one(company: Company) -> None:
    world = listed(company)
    company.map_from("active", "enabled")
    world.records = [person(n, enabled=True) for n in range(30)]
    company.sync(sync_id="s2")
    world.records = people(30)
    assert company.sync(sync_id="s3").counts.withheld_updates == 30


def test_lost_addresses_are_withheld_row_by_row(company: Company) -> None:
    world = listed(company)
    world.records = [person(n, email=None) for n in range(29)] + [person(29, name="Renamed")]
    outcome = company.sync(sync_id="s2")
    assert (outcome.counts.withheld_updates, outcome.counts.updates) == (29, 1)
    assert "email 29" in outcome.reasons[0]
    assert company.users()["u-0029"]["name"] == "Renamed"
    assert company.users()["u-0000"]["email"] == "p0@example.com"


def test_a_few_deactivations_pass_and_are_counted(company: Company) -> None:
    world = listed(company)
    world.records = [person(0, status="LOCKED"), person(1, email=None), *people(30)[2:]]
    outcome = company.sync(sync_id="s2")
    assert (outcome.status, outcome.counts.updates) == (Status.APPLIED, 2)
    assert (outcome.counts.deactivations, outcome.counts.losses) == (1, 1)


def test_harm_adds_up_over_a_day(company: Company) -> None:
    world = listed(company, 100)
    for number, left in enumerate((85, 82), start=2):
        world.records = [person(n, status="LOCKED") for n in range(100 - left)] + people(100)[
            100 - left :
        ]
        outcome = company.sync(sync_id=f"s{number}")
    assert outcome.status is Status.APPLIED
    world.records = [person(n, status="LOCKED") for n in range(21)] + people(100)[21:]
    outcome = company.sync(sync_id="s9")
    assert outcome.status is Status.QUARANTINED
    assert "after 18 in the last 24 hours" in outcome.reasons[0]


def test_everybody_under_a_new_key_is_neither_deleted_nor_doubled(company: Company) -> None:
    world = listed(company)
    world.records = [person(n, id=f"new-{n}") for n in range(30)]
    outcome = company.sync(sync_id="s2")
    assert outcome.status is Status.QUARANTINED
    assert (outcome.counts.withheld_inserts, outcome.counts.withheld_deletes) == (30, 30)
    assert company.users() == expected(people(30))
    (approved,) = company.platform.approve(ACME, "ada")
    assert (approved.counts.inserts, approved.counts.deletes) == (30, 30)
    assert company.users() == expected(world.records)


def test_a_mapping_that_empties_an_attribute_waits_for_a_person(company: Company) -> None:
    listed(company)
    company.configure(api_endpoint="http://127.0.0.1:9/v2")
    company.map_from("team", "nowhere")
    for sync_id in ("s2", "s3"):
        outcome = company.sync(sync_id=sync_id)
        assert outcome.status is Status.QUARANTINED
        assert "team 30" in outcome.reasons[0]
    assert company.users() == expected(people(30))


def test_a_guarded_attribute_counts_without_a_change_of_mapping(company: Company) -> None:
    world = listed(company)
    company.configure(safeguards={"guarded_attributes": ["team"]})
    company.sync(sync_id="s2")
    world.records = [person(n, team=None) for n in range(30)]
    assert company.sync(sync_id="s3").counts.withheld_updates == 30


def test_an_attribute_that_is_not_guarded_may_go(company: Company) -> None:
    world = listed(company)
    world.records = [person(n, team=None) for n in range(30)]
    assert company.sync(sync_id="s2").status is Status.APPLIED


def test_approving_applies_exactly_what_was_withheld(company: Company) -> None:
    world = listed(company)
    world.records = [person(n, status="LOCKED") for n in range(30)]
    company.sync(sync_id="s2")
    (outcome,) = company.platform.approve(ACME, "ada")
    assert outcome.counts.updates == 30
    assert company.users() == expected(world.records)
    assert company.sync(sync_id="s3").status is Status.UNCHANGED


def test_a_rejection_lasts(company: Company) -> None:
    world = listed(company, snapshot=True)
    world.records = people(20)
    assert company.sync(sync_id="s2").status is Status.QUARANTINED
    company.platform.reject(ACME, "grace")
    outcome = company.sync(sync_id="s3")
    assert (outcome.status, outcome.counts.kept_rows) == (Status.UNCHANGED, 10)
    (kept,) = company.platform.rejections(ACME)
    assert (kept["changes"], kept["decided_by"]) == (10, "grace")
    # A new leaver is judged alone.
    world.records = people(19)
    outcome = company.sync(sync_id="s4")
    assert (outcome.counts.deletes, outcome.counts.kept_rows) == (1, 10)
    assert len(company.users()) == 29


def test_a_rejected_deactivation_lasts_and_the_rest_of_the_row_with_it(company: Company) -> None:
    world = listed(company)
    world.records = [person(n, status="LOCKED") for n in range(30)]
    company.sync(sync_id="s2")
    company.platform.reject(ACME, "grace")
    assert company.sync(sync_id="s3").counts.kept_rows == 30
    world.records = [person(0, name="Renamed"), *(person(n, status="LOCKED") for n in range(1, 30))]
    outcome = company.sync(sync_id="s4")
    assert (outcome.counts.updates, outcome.counts.kept_rows) == (1, 29)


def test_a_rejected_delete_ends_once_the_user_is_listed_again(company: Company) -> None:
    world = listed(company, snapshot=True)
    world.records = people(20)
    company.sync(sync_id="s2")
    company.platform.reject(ACME, "grace")
    world.records = people(30)
    company.sync(sync_id="s3")
    assert company.platform.rejections(ACME) == []
    world.records = people(29)
    assert company.sync(sync_id="s4").counts.deletes == 1


def test_a_rejection_ends_when_it_is_reopened(company: Company) -> None:
    world = listed(company, snapshot=True)
    world.records = people(20)
    company.sync(sync_id="s2")
    company.platform.reject(ACME, "grace")
    assert company.platform.reopen(ACME) == 10
    assert company.sync(sync_id="s3").status is Status.QUARANTINED
    with pytest.raises(InvalidInput, match="nothing is rejected"):
        company.platform.reopen(ACME)


def test_a_rejection_ends_at_its_date(company: Company) -> None:
    world = listed(company, snapshot=True)
    world.records = people(20)
    company.sync(sync_id="s2")
    moment = datetime.now(UTC)
    with pytest.raises(InvalidInput, match="has ended already"):
        company.platform.reject(ACME, "grace", moment)
    company.platform.reject(ACME, "grace", moment + timedelta(days=1))
    with company.platform.database.transaction() as transaction:
        transaction.execute("UPDATE rejected_changes SET until = '2026-01-01T00:00:00.000000Z'")
    assert company.sync(sync_id="s3").status is Status.QUARANTINED


def test_a_refused_position_begins_the_extraction_again_once(company: Company) -> None:
    world = listed(company)
    world.refuse_positions = 1
    world.records = people(40)
    outcome = company.sync(sync_id="s2")
    assert (outcome.status, outcome.counts.inserts) == (Status.APPLIED, 10)
    world.refuse_positions = 2
    world.records = people(50)
    assert company.sync(sync_id="s3").status is Status.FAILED
    assert company.sync(sync_id="s3").counts.inserts == 10


def test_the_requests_of_a_sync_are_counted(company: Company) -> None:
    world = listed(company, alive={})
    world.records = people(29)
    outcome = company.sync(sync_id="s2")
    # Three pages, a control and one probe.
    assert outcome.counts.requests == 5


def test_the_requests_of_all_attempts_are_counted_together(company: Company) -> None:
    world = company.connect(world=World(people(30), snapshot=False))
    world.fail_at[2] = ProviderUnavailable("away")
    assert company.sync(sync_id="s1").status is Status.FAILED
    del world.fail_at[2]
    assert company.sync(sync_id="s1").counts.requests == 3
    (row,) = company.platform.syncs(ACME)
    assert row.counts.requests == 3
    assert company.sync(sync_id="s1").counts.requests == 3
