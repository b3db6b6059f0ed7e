"""Deletes that wait, rejects that stop, and the ways back: quarantine, undo, rebuild, replay."""

from __future__ import annotations

import pytest

from elt_assets.connectors.source import Presence
from elt_assets.errors import InvalidInput, ProviderUnavailable
from elt_assets.sync.detect.change_detection import Detection
from elt_assets.sync.extract.staging import Landing
from elt_assets.sync.outcome import Status
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, expected, people, person


def settle_quarantine(company: Company) -> World:
    """Forty users, half of whom the provider no longer lists."""
    world = company.connect(world=World(people(40)))
    company.sync(sync_id="s1")
    world.records = people(20)
    assert company.sync(sync_id="s2").status is Status.QUARANTINED
    return world


def test_too_many_deletes_wait_while_the_rest_is_applied(company: Company) -> None:
    world = company.connect(world=World(people(40)))
    company.sync(sync_id="s1")
    world.records = [person(0, name="Renamed"), *people(25)[1:], person(77)]
    outcome = company.sync(sync_id="s2")
    assert outcome.status is Status.QUARANTINED
    assert outcome.reasons == ("15 of 40 would be deleted and at most 8 may be (20%, 500 at most)",)
    assert (outcome.counts.inserts, outcome.counts.updates, outcome.counts.deletes) == (1, 1, 0)
    assert len(company.users()) == 41
    (waiting,) = company.platform.quarantined()
    assert waiting.sync_id == "s2"
    assert company.platform.withheld_sample(waiting)[0] == {
        "change_type": "DELETE",
        "external_id": company.platform.withheld_sample(waiting)[0]["external_id"],
        "fields": [],
    }


def test_approving_deletes_exactly_what_was_withheld(company: Company) -> None:
    world = settle_quarantine(company)
    (outcome,) = company.platform.approve(ACME, "ada")
    assert (outcome.status, outcome.counts.deletes) == (Status.APPLIED, 20)
    assert company.users() == expected(world.records)
    assert company.platform.quarantined() == []
    decided = company.platform.syncs(ACME)[1]
    assert (decided.decision, decided.decided_by) == ("approved", "ada")
    with pytest.raises(InvalidInput, match="nothing waits"):
        company.platform.approve(ACME, "bob")


def test_approval_spares_a_user_who_changed_since(company: Company) -> None:
    settle_quarantine(company)
    with company.platform.database.transaction() as transaction:
        transaction.execute(
            "UPDATE users_latest SET name = 'Touched', content_hash = 'other'"
            " WHERE external_id = 'u-0033'"
        )
    (outcome,) = company.platform.approve(ACME, "ada")
    assert outcome.counts.deletes == 19
    assert "u-0033" in company.users()


def test_rejecting_keeps_the_users_and_says_who_decided(company: Company) -> None:
    settle_quarantine(company)
    company.platform.reject(ACME, "grace")
    assert len(company.users()) == 40
    row = company.platform.syncs(ACME)[0]
    assert (row.decision, row.decided_by) == ("rejected", "grace")
    assert company.platform.quarantined() == []


def test_a_later_good_sync_ends_the_quarantine(company: Company) -> None:
    world = settle_quarantine(company)
    world.records = people(39)
    assert company.sync(sync_id="s3").status is Status.APPLIED
    assert company.platform.quarantined() == []
    assert company.users() == expected(world.records)


def test_an_integration_sets_its_own_limits(company: Company) -> None:
    world = company.connect(world=World(people(40)))
    company.configure(safeguards={"max_delete_share": 0.6})
    company.sync(sync_id="s1")
    world.records = people(20)
    assert company.sync(sync_id="s2").counts.deletes == 20


def test_pages_that_can_shift_need_two_absences(company: Company) -> None:
    world = company.connect(world=World(people(30), snapshot=False))
    company.sync(sync_id="s1")
    world.records = people(28)
    first = company.sync(sync_id="s2")
    assert (first.status, first.counts.pending_deletes) == (Status.UNCHANGED, 2)
    assert len(company.users()) == 30
    world.records = people(29)
    second = company.sync(sync_id="s3")
    assert (second.counts.deletes, second.counts.pending_deletes) == (1, 0)
    assert company.users() == expected(world.records)


def test_somebody_seen_again_starts_to_count_anew(company: Company) -> None:
    world = company.connect(world=World(people(30), snapshot=False))
    company.sync(sync_id="s1")
    for number, listed in enumerate((29, 30, 29), start=2):
        world.records = people(listed)
        assert company.sync(sync_id=f"s{number}").counts.deletes == 0
    assert company.sync(sync_id="s5").counts.deletes == 1


def test_an_incomplete_extraction_between_confirms_nothing(company: Company) -> None:
    world = company.connect(world=World(people(30), snapshot=False))
    company.sync(sync_id="s1")
    world.records = people(29)
    company.sync(sync_id="s2")
    world.total = 30
    assert company.sync(sync_id="s3").status is Status.QUARANTINED
    world.total = None
    assert company.sync(sync_id="s4").counts.deletes == 1


def test_an_attempt_that_was_never_applied_confirms_nothing(company: Company) -> None:
    """The apply fails after detection remembered who is missing; that memory must not count."""
    world = company.connect(world=World(people(30), snapshot=False))
    company.sync(sync_id="s1")
    world.records = [*people(29), person(50)]
    company.break_inserts()
    assert company.sync(sync_id="s2").status is Status.FAILED
    company.mend_inserts()
    assert company.sync(sync_id="s3").counts.pending_deletes == 1


def test_the_provider_is_asked_about_each_missing_user(company: Company) -> None:
    world = company.connect(
        world=World(
            people(30),
            snapshot=False,
            alive={"u-0028": Presence.PRESENT, "u-0027": Presence.UNKNOWN},
        )
    )
    company.sync(sync_id="s1")
    world.records = people(27)
    outcome = company.sync(sync_id="s2")
    assert company.changes(sync_id="s2") == [("DELETE", "u-0029")]
    assert (outcome.counts.shielded_deletes, outcome.counts.pending_deletes) == (1, 1)


def test_an_interrupted_extraction_is_confirmed_too(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    world.records = people(29)
    world.fail_at[2] = ProviderUnavailable("gone")
    company.sync(sync_id="s2", pages_per_batch=1)
    world.fail_at.clear()
    outcome = company.sync(sync_id="s2", pages_per_batch=1)
    assert outcome.certificate.extraction_runs == 2
    assert outcome.counts.pending_deletes == 1
    assert company.sync(sync_id="s3").counts.deletes == 1


def test_too_many_rejects_fail_the_sync_until_the_mapping_is_mended(company: Company) -> None:
    world = company.connect(world=World([person(n, name={"full": f"P {n}"}) for n in range(20)]))
    outcome = company.sync(sync_id="s1")
    assert outcome.status is Status.FAILED
    assert outcome.error is not None
    assert outcome.error.startswith("acme:main: 20 of 20 records cannot be used, more than 5%")
    assert company.users() == {}
    served = len(world.served)
    company.map_from("name", "name", "full")
    again = company.platform.retry_rejected(USERS, ACME)
    assert (again.status, again.counts.inserts) == (Status.APPLIED, 20)
    assert len(world.served) == served
    assert company.users()["u-0003"]["name"] == "P 3"


def test_mapping_again_after_a_settled_sync_adds_what_was_rejected(company: Company) -> None:
    world = company.connect(world=World([*people(30), person(30, email=["a", "b"])]))
    assert company.sync(sync_id="s1").counts.rejected == 1
    company.map_from("email", "email", 0)
    world.records = []
    outcome = company.platform.retry_rejected(USERS, ACME)
    assert (outcome.counts.inserts, outcome.counts.rejected) == (1, 0)
    assert company.users()["u-0030"]["email"] == "a"


def test_mapping_again_is_no_second_look_at_who_is_missing(company: Company) -> None:
    """Somebody whom shifting pages hid from one extraction is hidden from its repetition too."""
    world = company.connect(world=World(people(30), snapshot=False))
    company.sync(sync_id="s1")
    world.records = [*people(30)[1:], person(30, email=["a", "b"])]
    assert company.sync(sync_id="s2").counts.pending_deletes == 1
    company.map_from("email", "email", 0)
    outcome = company.platform.retry_rejected(USERS, ACME)
    assert (outcome.counts.deletes, outcome.counts.pending_deletes) == (0, 1)
    company.map_from("email", "email")
    assert company.sync(sync_id="s3").counts.deletes == 1, "a second extraction is one"
    assert "u-0000" not in company.users()


@pytest.mark.parametrize(("chosen", "deletes"), [("none", 1), (None, 0)])
def test_mapping_an_interrupted_snapshot_again_deletes_by_the_rule_of_its_first_sync(
    company: Company, chosen: str | None, deletes: int
) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    if chosen is not None:
        company.configure(safeguards={"delete_confirmation": chosen})
    world.records = [*people(30)[1:], person(30, email=["a", "b"])]
    world.fail_at[2] = ProviderUnavailable("gone")
    company.sync(sync_id="s2", pages_per_batch=1)
    world.fail_at.clear()
    first = company.sync(sync_id="s2", pages_per_batch=1)
    assert (first.certificate.extraction_runs, first.counts.deletes) == (2, deletes)
    company.map_from("email", "email", 0)
    world.records = []
    again = company.platform.retry_rejected(USERS, ACME)
    assert (again.error, again.counts.inserts) == (None, 1)
    assert (again.certificate.extraction_runs, again.counts.deletes) == (2, 0)


def test_mapping_an_interrupted_snapshot_again_and_again_never_makes_it_whole(
    company: Company,
) -> None:
    world = company.connect(world=World(people(60)))
    company.sync(sync_id="s1")
    mistaken = [person(60, email=["a", "b"]), person(61, name={"full": "P"})]
    world.records = [*people(60)[1:], *mistaken]
    world.fail_at[2] = ProviderUnavailable("gone")
    company.sync(sync_id="s2", pages_per_batch=1)
    world.fail_at.clear()
    assert company.sync(sync_id="s2", pages_per_batch=1).counts.pending_deletes == 1
    company.map_from("email", "email", 0)
    first = company.platform.retry_rejected(USERS, ACME)
    assert (first.counts.inserts, first.counts.rejected) == (1, 1)
    company.map_from("name", "name", "full")
    again = company.platform.retry_rejected(USERS, ACME)
    assert again.error is None
    for outcome in (first, again):
        assert outcome.certificate.extraction_runs == 2
        assert (outcome.counts.deletes, outcome.counts.withheld_deletes) == (0, 0)
        assert outcome.counts.pending_deletes == 1


def test_mapping_a_snapshot_that_ended_without_a_list_again_deletes_nobody(
    company: Company,
) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    world.records, world.bare_end = [*people(30)[1:], person(30, email=["a", "b"])], True
    assert company.sync(sync_id="s2").counts.pending_deletes == 1
    company.map_from("email", "email", 0)
    outcome = company.platform.retry_rejected(USERS, ACME)
    assert outcome.counts.inserts == 1
    assert (outcome.counts.deletes, outcome.counts.pending_deletes) == (0, 1)


@pytest.mark.parametrize("snapshot", [True, False])
def test_mapping_again_doubts_a_key_on_two_pages_unless_the_pages_could_not_shift(
    company: Company, *, snapshot: bool
) -> None:
    twice = [*people(30), person(30, email=["a", "b"]), person(0)]
    company.connect(world=World(twice, snapshot=snapshot))
    assert company.sync(sync_id="s1").certificate.complete is snapshot
    company.map_from("email", "email", 0)
    outcome = company.platform.retry_rejected(USERS, ACME)
    assert (outcome.counts.inserts, outcome.certificate.complete) == (1, snapshot)
    shifted = [reason for reason in outcome.certificate.reasons if "more than one page" in reason]
    assert bool(shifted) is not snapshot


def test_an_interrupted_mapping_again_goes_on_without_fetching(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = company.connect(world=World([*people(30), person(30, email=["a", "b"])]))
    company.sync(sync_id="s1")
    company.map_from("email", "email", 0)
    served = len(world.served)
    with monkeypatch.context() as broken:
        broken.setattr(Landing, "land", away)
        assert company.platform.retry_rejected(USERS, ACME).status is Status.FAILED
    (interrupted,) = company.platform.interrupted()
    assert company.sync(sync_id=interrupted.sync_id).counts.inserts == 1
    assert len(world.served) == served
    with pytest.raises(InvalidInput, match="no rejected records"):
        company.platform.retry_rejected(USERS, ACME)


def test_repeating_an_interrupted_mapping_again_continues_it(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.connect(world=World([*people(30), person(30, email=["a", "b"])]))
    company.sync(sync_id="s1")
    company.map_from("email", "email", 0)
    with monkeypatch.context() as broken:
        broken.setattr(Detection, "compare", away)
        first = company.platform.retry_rejected(USERS, ACME)
    again = company.platform.retry_rejected(USERS, ACME)
    assert (again.sync_id, again.counts.inserts) == (first.sync_id, 1)


def test_records_that_are_no_longer_kept_are_said_to_be(company: Company) -> None:
    company.connect(world=World([*people(30), person(30, email=["a", "b"])]))
    company.sync(sync_id="s1")
    company.platform.warehouses.remove(ACME)
    outcome = company.platform.retry_rejected(USERS, ACME)
    assert "the records of sync s1 are no longer kept" in (outcome.error or "")


def away(*_: object) -> None:
    raise ProviderUnavailable("away")


def test_there_must_be_something_to_map_again(company: Company) -> None:
    company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    with pytest.raises(InvalidInput, match="no rejected records"):
        company.platform.retry_rejected(USERS, ACME)


def test_undo_restores_what_a_sync_changed(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    before = company.users()
    world.records = [person(0, name="Renamed", status="SUSPENDED"), *people(30)[2:], person(99)]
    company.sync(sync_id="s2")
    outcome = company.platform.undo(USERS, ACME, "s2")
    counts = outcome.counts
    assert (counts.inserts, counts.updates, counts.deletes) == (1, 1, 1)
    assert company.users() == before
    rows = {row["external_id"]: row for row in company.platform.records(USERS, ACME)}
    world.records = people(30)
    assert company.sync(sync_id="s3").status is Status.UNCHANGED, "restored hashes must be right"
    assert rows["u-0000"]["active"] is True


def test_undo_refuses_where_later_syncs_changed_the_same_users(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    world.records[0] = person(0, name="Second")
    company.sync(sync_id="s2")
    world.records[0] = person(0, name="Third")
    company.sync(sync_id="s3")
    with pytest.raises(InvalidInput, match="1 of the records"):
        company.platform.undo(USERS, ACME, "s2")
    company.platform.undo(USERS, ACME, "s2", force=True)
    assert company.users()["u-0000"]["name"] == "Person 0"


def test_undoing_twice_is_the_same_undo(company: Company) -> None:
    company.connect(world=World(people(5)))
    company.sync(sync_id="s1")
    company.platform.undo(USERS, ACME, "s1")
    assert company.users() == {}
    assert company.platform.undo(USERS, ACME, "s1").recorded


def test_the_log_rebuilds_a_table_that_somebody_damaged(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    world.records = [person(0, name="Renamed", email=None), *people(30)[3:], person(99)]
    company.sync(sync_id="s2")
    with company.platform.database.transaction() as transaction:
        transaction.execute("DELETE FROM users_latest WHERE external_id > 'u-0010'")
        transaction.execute("UPDATE users_latest SET name = 'Wrong'")
    rebuilt = company.platform.rebuild(USERS, ACME)
    assert (rebuilt.before, rebuilt.after) == (9, len(world.records))
    assert company.users() == expected(world.records)
    assert company.sync(sync_id="s3").status is Status.UNCHANGED


def test_rebuilding_mends_an_operational_database_set_back(company: Company) -> None:
    world = company.connect(world=World(people(3)))
    for number in range(3):
        world.records.append(person(10 + number))
        company.sync(sync_id=f"s{number}")
    with company.platform.database.transaction() as transaction:
        transaction.execute("UPDATE integration_versions SET version = 1, ordinal = 1")
        transaction.execute("DELETE FROM syncs")
        transaction.execute("DELETE FROM users_latest")
    assert company.sync(sync_id="s9").status is Status.FAILED
    assert company.platform.rebuild(USERS, ACME).after == 6
    assert company.sync(sync_id="s10").status is Status.UNCHANGED


def test_a_lost_warehouse_file_starts_a_log_that_still_replays(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1")
    company.platform.warehouses.remove(ACME)
    world.records.append(person(99))
    company.sync(sync_id="s2")
    company.platform.rebuild(USERS, ACME)
    assert company.users() == expected(world.records)


def test_the_table_can_be_read_as_it_was(company: Company) -> None:
    world = company.connect(world=World(people(3)))
    company.sync(sync_id="s1")
    between = company.platform.syncs(ACME)[0].finished_at
    world.records = [person(0, name="Renamed"), person(1), person(9)]
    company.sync(sync_id="s2")
    past = company.platform.records(USERS, ACME, as_of=between)
    assert [row["name"] for row in past] == ["Person 0", "Person 1", "Person 2"]
    present = company.platform.records(USERS, ACME, as_of="2999-01-01T00:00:00Z")
    assert [row["external_id"] for row in present] == ["u-0000", "u-0001", "u-0009"]
    assert past[0].keys() == company.platform.records(USERS, ACME)[0].keys()


def test_history_tells_from_when_to_when(company: Company) -> None:
    world = company.connect(world=World(people(2)))
    company.sync(sync_id="s1")
    world.records = [person(0, name="Renamed")]
    company.sync(sync_id="s2")
    with company.platform.warehouses.open(ACME, read_only=True) as connection:
        rows = connection.execute(
            "SELECT external_id, name, valid_to IS NULL FROM users_history"
            " ORDER BY external_id, valid_from"
        ).fetchall()
    assert rows == [
        ("u-0000", "Person 0", False),
        ("u-0000", "Renamed", True),
        ("u-0001", "Person 1", False),
    ]


def test_soft_deletes_keep_the_row_and_say_when(company: Company, tmp_path) -> None:
    company.platform.close()
    soft = Company(tmp_path / "soft", delete_mode="soft")
    world = soft.connect(world=World(people(20)))
    soft.sync(sync_id="s1")
    world.records = people(19)
    assert soft.sync(sync_id="s2").counts.deletes == 1
    assert len(soft.users()) == 19
    (row,) = soft.platform.database.rows(
        "SELECT external_id, deleted_at FROM users_latest WHERE deleted_at IS NOT NULL"
    )
    assert row["external_id"] == "u-0019"
    assert soft.sync(sync_id="s3").status is Status.UNCHANGED
    world.records = people(20)
    assert soft.sync(sync_id="s4").counts.inserts == 1
    assert soft.users() == expected(world.records)
    soft.platform.close()


def test_a_sync_gives_up_after_its_recoveries_and_tells_what_it_met(tmp_path) -> None:
    company = Company(tmp_path / "home", max_recoveries=2)
    world = company.connect(world=World(people(30)))
    world.fail_at[1] = ProviderUnavailable("away")
    for _ in range(3):
        assert company.sync().error == "acme:main: away"
    outcome = company.sync()
    assert not outcome.retryable
    assert outcome.error is not None
    assert "given up after 2 recoveries" in outcome.error
    errors = company.platform.errors(company.platform.syncs(ACME)[0])
    assert [error["error"] for error in errors[:3]] == ["acme:main: away"] * 3
    company.platform.close()


def test_an_extraction_begun_too_long_ago_starts_afresh(tmp_path) -> None:
    company = Company(tmp_path / "home", max_resume_hours=1)
    world = company.connect(world=World(people(30)))
    world.fail_at[2] = ProviderUnavailable("away")
    company.sync(pages_per_batch=1)
    with company.platform.warehouses.open(ACME) as warehouse:
        warehouse.update("extractions", "started_at = started_at - INTERVAL 2 HOUR", "true")
    world.fail_at.clear()
    world.served.clear()
    outcome = company.sync(pages_per_batch=1)
    assert world.served == [0, 1, 2]
    assert outcome.resumed_batches == 0
    company.platform.close()


def test_somebody_seen_in_an_incomplete_extraction_starts_to_count_anew(company: Company) -> None:
    world = company.connect(world=World(people(30), snapshot=False))
    company.sync(sync_id="s1")
    world.records = people(29)
    assert company.sync(sync_id="s2").counts.pending_deletes == 1
    world.records, world.total = people(30), 31
    assert not company.sync(sync_id="s3").certificate.complete
    world.records, world.total = people(29), None
    outcome = company.sync(sync_id="s4")
    assert (outcome.counts.deletes, outcome.counts.pending_deletes) == (0, 1)
