"""Reading only what changed: when, from where, and what may be concluded from it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from elt_assets.cli.console.progress import one_line
from elt_assets.connectors.source import Incremental
from elt_assets.errors import PermanentError, ProviderUnavailable
from elt_assets.sync import clock
from elt_assets.sync.extract.sync_mode import EVERYTHING, SyncMode, choose_sync_mode
from elt_assets.sync.outcome import Mode, Status
from elt_assets.sync.state.versions import Version
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, expected, person

pytestmark = pytest.mark.slow

WEEKLY = Incremental(full_every=timedelta(days=7), overlap=timedelta(minutes=5))
NOW = "2026-11-22T12:00:00.000000Z"
READ = Version(3, 3, "2026-11-21T12:00:00.000000Z", "2026-11-20T12:00:00.000000Z")


def changed(number: int, day: int, **changes: Any) -> dict[str, Any]:
    """A record last changed on that day of November 2026."""
    return person(number, updated=f"2026-11-{day:02}T00:00:00.000000Z", **changes)


@pytest.fixture
def world(company: Company) -> World:
    """Thirty users, read completely once."""
    made = company.connect(
        world=World([changed(number, 1) for number in range(30)], incremental=WEEKLY)
    )
    assert company.sync(sync_id="s1").mode is Mode.FULL
    made.asked_since.clear()
    return made


@pytest.mark.parametrize(
    ("requested", "incremental", "version", "plan"),
    [
        (None, None, READ, EVERYTHING),
        (None, WEEKLY, Version(), EVERYTHING),
        (None, WEEKLY, READ, SyncMode(Mode.INCREMENTAL, "2026-11-21T11:55:00.000000Z")),
        (Mode.FULL, WEEKLY, READ, EVERYTHING),
        (None, WEEKLY, Version(3, 3, READ.watermark, "2026-11-15T11:59:59Z"), EVERYTHING),
        (
            Mode.INCREMENTAL,
            WEEKLY,
            Version(3, 3, READ.watermark, "2026-11-01T00:00:00Z"),
            SyncMode(Mode.INCREMENTAL, "2026-11-21T11:55:00.000000Z"),
        ),
        (Mode.INCREMENTAL, WEEKLY, Version(3, 3, None, READ.full_at), EVERYTHING),
        (None, WEEKLY, Version(3, 3, "2999-01-01T00:00:00.000000Z", READ.full_at), EVERYTHING),
        (
            None,
            WEEKLY,
            Version(3, 3, "0001-01-01T00:00:00.000000Z", READ.full_at),
            SyncMode(Mode.INCREMENTAL, "1970-01-01T00:00:00.000000Z"),
        ),
    ],
)
def test_the_plan_follows_configuration_history_and_request(
    requested: Mode | None, incremental: Incremental | None, version: Version, plan: SyncMode
) -> None:
    assert choose_sync_mode(requested, incremental, version, NOW) == plan


def test_asking_for_what_is_not_configured_is_refused() -> None:
    with pytest.raises(PermanentError, match="no `incremental`"):
        choose_sync_mode(Mode.INCREMENTAL, None, READ, NOW)


def test_a_sync_that_asks_for_what_is_not_configured_says_so(company: Company) -> None:
    company.connect()
    outcome = company.sync(mode=Mode.INCREMENTAL)
    assert outcome.error is not None
    assert outcome.error.startswith("acme:main: an incremental sync was requested")


def test_the_second_sync_reads_changes_only_and_deletes_nobody(
    company: Company, world: World
) -> None:
    world.records[4] = changed(4, 20, name="Renamed")
    world.records.append(changed(50, 21))
    outcome = company.sync(sync_id="s2")
    assert outcome.mode is Mode.INCREMENTAL
    assert set(world.asked_since) == {"2026-10-31T23:55:00.000000Z"}
    assert company.changes(sync_id="s2") == [("UPDATE", "u-0004"), ("INSERT", "u-0050")]
    assert company.users() == expected(world.records)
    world.asked_since.clear()
    company.sync(sync_id="s3")
    assert set(world.asked_since) == {"2026-11-20T23:55:00.000000Z"}


def test_a_tombstone_deletes_and_absence_does_not(company: Company, world: World) -> None:
    world.records = [changed(3, 20, status="DELETED"), changed(4, 20, name="Renamed")]
    outcome = company.sync(sync_id="s2")
    assert company.changes(sync_id="s2") == [("DELETE", "u-0003"), ("UPDATE", "u-0004")]
    assert (outcome.counts.tombstones, outcome.counts.deletes) == (1, 1)
    assert len(company.users()) == 29


def test_changes_that_are_nothing_but_tombstones_delete(company: Company, world: World) -> None:
    """A listing of everybody that names nobody alive is suspect; a listing of changes is not."""
    world.records = [changed(3, 20, status="DELETED")]
    outcome = company.sync(sync_id="s2")
    assert (outcome.status, outcome.counts.deletes) == (Status.APPLIED, 1)
    world.records = [changed(number, 20, status="DELETED") for number in range(30)]
    outcome = company.sync(sync_id="s3", mode=Mode.FULL)
    assert (outcome.status, outcome.counts.withheld_deletes) == (Status.QUARANTINED, 29)


def test_tombstones_that_were_withheld_are_listed_again(company: Company, world: World) -> None:
    """Or else they would be forgotten with the quarantine that the next sync ends."""
    before, newest = list(world.records), changed(50, 21)
    world.records = [*(changed(number, 20, status="DELETED") for number in range(10)), newest]
    assert company.sync(sync_id="s2").status is Status.QUARANTINED
    assert company.sync(sync_id="s3").counts.withheld_deletes == 10
    company.platform.approve(ACME, "ada")
    assert company.users() == expected([*before[10:], newest])


def test_a_full_sync_whose_deletes_were_withheld_is_followed_by_a_full_one(
    company: Company, world: World
) -> None:
    """A listing of changes would end the quarantine without a word about who was missing."""
    people = list(world.records)
    del world.records[:10]
    assert company.sync(sync_id="s2", mode=Mode.FULL).status is Status.QUARANTINED
    outcome = company.sync(sync_id="s3")
    assert (outcome.mode, outcome.status) == (Mode.FULL, Status.QUARANTINED)
    world.records[:] = people[1:]
    assert company.sync(sync_id="s4").counts.deletes == 1
    assert company.sync(sync_id="s5").mode is Mode.INCREMENTAL


def test_a_full_sync_counts_a_tombstone_as_absent(company: Company, world: World) -> None:
    world.records[3] = changed(3, 20, status="DELETED")
    outcome = company.sync(sync_id="s2", mode=Mode.FULL)
    assert company.changes(sync_id="s2") == [("DELETE", "u-0003")]
    assert outcome.counts.unique == 30


def test_the_watermark_moves_only_with_the_apply(company: Company, world: World) -> None:
    world.records.append(changed(50, 21))
    company.break_inserts()
    assert company.sync(sync_id="s2").status is Status.FAILED
    company.mend_inserts()
    world.asked_since.clear()
    company.sync(sync_id="s3")
    assert set(world.asked_since) == {"2026-10-31T23:55:00.000000Z"}
    assert "u-0050" in company.users()


def test_a_cut_short_reading_does_not_move_the_watermark(company: Company, world: World) -> None:
    world.records.append(changed(50, 21))
    world.cut_short = "page limit of 1 reached"
    company.sync(sync_id="s2")
    world.cut_short = None
    world.asked_since.clear()
    company.sync(sync_id="s3")
    assert set(world.asked_since) == {"2026-10-31T23:55:00.000000Z"}


def test_an_interrupted_reading_continues_from_the_same_moment(
    company: Company, world: World
) -> None:
    world.records = [changed(number, 20, name="New") for number in range(30)]
    world.fail_at[2] = ProviderUnavailable("away")
    company.sync(sync_id="s2", pages_per_batch=1)
    world.fail_at.clear()
    company.sync(sync_id="s2", pages_per_batch=1)
    assert set(world.asked_since) == {"2026-10-31T23:55:00.000000Z"}
    assert company.users() == expected(world.records)


@pytest.mark.parametrize("mode", [Mode.FULL, Mode.INCREMENTAL])
def test_a_change_time_in_the_future_hides_no_later_change(
    company: Company, world: World, mode: Mode
) -> None:
    world.records[2] = person(2, updated="2999-01-01T00:00:00.000000Z")
    assert company.sync(sync_id="s2", mode=mode).as_json()["future_times"] == 1
    began = company.platform.database.rows("SELECT started_at FROM syncs WHERE sync_id = 's2'")
    world.asked_since.clear()
    world.records[4] = person(4, updated=clock.now(), name="Renamed")
    assert company.sync(sync_id="s3").mode is Mode.INCREMENTAL
    (since,) = set(world.asked_since)
    assert since is not None
    assert since <= began[0]["started_at"]
    assert company.users() == expected(world.records)


def test_change_times_that_cannot_be_read_are_counted_in_every_sync(
    company: Company, world: World
) -> None:
    world.records[2] = person(2, updated="soon", name="Renamed")
    for sync_id in ("s2", "s3"):
        outcome = company.sync(sync_id=sync_id, mode=Mode.FULL)
        assert outcome.as_json()["unreadable_times"] == 1
        assert "1 change times cannot be read" in one_line(outcome)
    assert company.sync(sync_id="s3").counts.unreadable_times == 1
    world.records[2] = person(2, updated="", name="Renamed")
    assert company.sync(sync_id="s4", mode=Mode.FULL).counts.unreadable_times == 0


def test_a_future_watermark_of_an_earlier_release_is_read_over_and_forgotten(
    company: Company, world: World
) -> None:
    with company.platform.database.transaction() as transaction:
        transaction.execute("UPDATE integration_versions SET watermark = '2999-01-01T00:00:00Z'")
    world.records[4] = person(4, updated=clock.now(), name="Renamed")
    assert company.sync(sync_id="s2").mode is Mode.FULL
    assert company.users() == expected(world.records)
    assert company.sync(sync_id="s3").mode is Mode.INCREMENTAL


def test_everything_is_read_again_when_it_is_time(company: Company, world: World) -> None:
    del world.records[7]
    with company.platform.database.transaction() as transaction:
        transaction.execute("UPDATE integration_versions SET full_at = '2020-01-01T00:00:00Z'")
    outcome = company.sync(sync_id="s2")
    assert outcome.mode is Mode.FULL
    assert company.changes(ACME, "s2") == [("DELETE", "u-0007")]


def test_everything_is_read_again_after_the_integration_was_configured_anew(
    company: Company, world: World
) -> None:
    company.sync(sync_id="s1")
    company.sync(sync_id="s2")
    known = company.platform.registry.get(ACME).provider_data
    company.platform.registry.update(ACME, known | {"safeguards": {"max_delete_count": 400}})
    company.map_from("name", "email")
    again = company.sync(sync_id="s3")
    assert again.mode is Mode.FULL
    assert {row["name"] for row in company.users().values()} == {
        person["email"] for person in world.records
    }
    assert company.sync(sync_id="s4").mode is Mode.INCREMENTAL


def test_changes_that_are_mapped_again_may_name_a_user_on_two_pages(
    company: Company, world: World
) -> None:
    world.snapshot = False
    moved = [changed(number, 2, name=f"New {number}") for number in range(11)]
    world.records = [*moved, moved[0], changed(11, 2, email=["a", "b"])]
    assert company.sync(sync_id="s2").certificate.complete
    company.map_from("email", "email", 0)
    outcome = company.platform.retry_rejected(USERS, ACME)
    assert (outcome.mode, outcome.certificate.repeated) == (Mode.INCREMENTAL, 0)
    assert outcome.certificate.complete
