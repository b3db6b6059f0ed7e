"""A sync attaches its warehouse only once it needs it; one that repeats the last one never does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from elt_assets.errors import InvalidInput, ProviderUnavailable
from elt_assets.storage.warehouse.memos import write_memos
from elt_assets.sync.admin import standing_checks
from elt_assets.sync.extract import page_reuse
from elt_assets.sync.outcome import Certificate, Counts, Mode, Outcome, Stage, Status
from elt_assets.sync.state import sync_history, versions
from elt_assets.sync.state.versions import Version
from elt_assets.sync.streams import USERS, StreamKey
from elt_assets_tests.sync.worlds import ACME, Company, World, expected, people, person

pytestmark = pytest.mark.files


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    found = Company(tmp_path)
    yield found
    found.platform.close()


@pytest.fixture
def world(company: Company) -> World:
    found = company.connect(world=World(people(25)))
    assert company.sync(sync_id="s1").status is Status.APPLIED
    return found


def file(company: Company) -> Path:
    return company.platform.warehouses.path(ACME)


def wrote(company: Company, sync_id: str) -> bool:
    """Whether the sync wrote to the warehouse; it must end unchanged."""
    before = file(company).stat()
    assert company.sync(sync_id=sync_id).status is Status.UNCHANGED
    after = file(company).stat()
    return (before.st_ino, before.st_mtime_ns) != (after.st_ino, after.st_mtime_ns)


def test_a_sync_that_repeats_the_last_one_writes_nothing_to_the_warehouse(
    company: Company, world: World
) -> None:
    assert not wrote(company, "s2")
    assert not wrote(company, "s3")
    newest = company.platform.syncs(ACME)[0]
    assert (newest.sync_id, newest.version, newest.batches) == ("s3", None, 1)
    assert (newest.counts.staged, newest.counts.unchanged, newest.counts.latest) == (25, 25, 25)
    current = versions.current(company.platform.database, StreamKey(USERS, ACME))
    assert (current.version, current.sync_id, current.extraction) == (1, "s3", "s1")
    assert current.ordinal == newest.ordinal
    assert company.platform.counts(USERS, ACME)["staged"] == 25
    assert standing_checks.log_replays(company.platform, USERS).passed


def test_the_first_change_after_repeated_syncs_is_applied_once(
    company: Company, world: World
) -> None:
    company.sync(sync_id="s2")
    world.records[3] = person(3, name="Somebody Else")
    outcome = company.sync(sync_id="s3")
    assert (outcome.counts.updates, outcome.counts.unchanged, outcome.version) == (1, 24, 2)
    assert company.users() == expected(world.records)
    assert not wrote(company, "s4")
    world.records = people(25)
    assert company.sync(sync_id="s5").counts.updates == 1
    assert standing_checks.log_replays(company.platform, USERS).passed


def test_a_sync_that_repeats_the_last_one_has_nothing_to_undo(
    company: Company, world: World
) -> None:
    company.sync(sync_id="s2")
    with pytest.raises(InvalidInput, match="changed nothing that could be undone"):
        company.platform.undo(USERS, ACME, "s2")
    assert len(company.users()) == 25


def test_any_other_writer_of_the_file_makes_the_next_sync_read_it(
    company: Company, world: World
) -> None:
    company.platform.rebuild(USERS, ACME)
    assert wrote(company, "s2")
    assert not wrote(company, "s3")
    with duckdb.connect(file(company)) as foreign:
        foreign.execute("CREATE TABLE notes (n INT); CHECKPOINT")
    assert wrote(company, "s4")


def test_a_file_that_was_removed_by_hand_is_made_again(company: Company, world: World) -> None:
    file(company).unlink()
    assert company.sync(sync_id="s2").status is Status.UNCHANGED
    assert file(company).exists()


@pytest.mark.parametrize("content", ["", "[]", '{"written": "x", "memos": {"users": 1}}', "\x00"])
def test_memos_that_cannot_be_read_count_as_none(
    company: Company, world: World, content: str
) -> None:
    file(company).with_suffix(".memos").write_text(content)
    assert wrote(company, "s2")


def test_a_latest_table_that_lost_a_row_is_compared(company: Company, world: World) -> None:
    with company.platform.database.transaction() as transaction:
        transaction.execute("DELETE FROM users_latest WHERE external_id = 'u-0003'")
    assert company.sync(sync_id="s2").counts.inserts == 1
    assert company.users() == expected(world.records)


def test_another_configuration_maps_the_records_again(company: Company, world: World) -> None:
    company.map_from("name", "email")
    assert company.sync(sync_id="s2").counts.updates == 25


def test_a_full_sync_on_request_attaches_the_warehouse(company: Company, world: World) -> None:
    company.sync(sync_id="s2", mode=Mode.FULL)
    rows = company.platform.counts(USERS, ACME)
    assert (rows["sync_id"], rows["staged"]) == ("s2", 25)


def test_deletes_that_wait_for_confirmation_keep_the_warehouse_in_use(company: Company) -> None:
    world = company.connect(world=World(people(25), snapshot=False))
    company.sync(sync_id="s1")
    world.records = people(24)
    assert company.sync(sync_id="s2").counts.pending_deletes == 1
    assert company.sync(sync_id="s3").counts.deletes == 1
    assert company.users() == expected(world.records)


def test_a_first_sync_that_fetches_nothing_makes_no_file(company: Company) -> None:
    world = company.connect(world=World(people(25)))
    world.fail_at[0] = ProviderUnavailable("away")
    assert company.sync(sync_id="s1").status is Status.FAILED
    assert not file(company).exists()
    world.fail_at.clear()
    assert company.sync(sync_id="s1").status is Status.APPLIED
    assert company.users() == expected(world.records)


def test_a_listing_that_ends_with_doubts_is_not_taken_for_a_repeated_one(
    company: Company, world: World
) -> None:
    world.doubts = ("odd",)
    outcome = company.sync(sync_id="s2")
    assert not outcome.certificate.complete
    assert file(company).exists()


def test_a_removed_integration_leaves_no_memo(company: Company, world: World) -> None:
    company.platform.remove(ACME)
    assert not file(company).parent.exists()


def test_a_sync_that_failed_before_its_first_batch_still_repeats_the_last_one(
    company: Company, world: World
) -> None:
    world.fail_at[0] = ProviderUnavailable("away")
    assert company.sync(sync_id="s2").status is Status.FAILED
    world.fail_at.clear()
    assert not wrote(company, "s2")
    assert company.platform.syncs(ACME)[0].attempts == 2


def test_a_sync_that_failed_after_a_batch_continues_from_it(company: Company, world: World) -> None:
    world.fail_at[1] = ProviderUnavailable("away")
    assert company.sync(sync_id="s2").status is Status.FAILED
    world.fail_at.clear()
    world.served.clear()
    assert company.sync(sync_id="s2").resumed_batches == 1
    assert world.served == [1, 2]


def test_opening_the_file_for_writing_deletes_the_memos(company: Company, world: World) -> None:
    memos = file(company).with_suffix(".memos")
    with company.platform.warehouses.open(ACME, read_only=True):
        assert memos.exists()
    with company.platform.warehouses.open(ACME):
        assert not memos.exists()


def test_a_listing_that_continues_after_the_same_first_batch_is_read_on(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync(sync_id="s1", pages_per_batch=3)
    world.records = people(40)
    outcome = company.sync(sync_id="s2", pages_per_batch=3)
    assert (outcome.counts.inserts, outcome.batches) == (10, 2)
    assert company.users() == expected(world.records)


def test_the_configuration_of_a_repeated_sync_is_that_of_the_records(
    company: Company, world: World
) -> None:
    company.sync(sync_id="s2")
    key = StreamKey(USERS, ACME)
    assert sync_history.newest_plain(company.platform.database, key) == "s1"


SYNC = Outcome(
    partition="acme:main",
    stream="users",
    sync_id="s1",
    status=Status.APPLIED,
    version=4,
    certificate=Certificate(complete=True),
)


def test_a_memo_is_of_one_sync_one_version_and_one_configuration() -> None:
    batch = page_reuse.KnownBatch("digest", "s1")
    memo = page_reuse.memo(SYNC, batch, "configuration")
    assert memo is not None
    for latest, fingerprint, found in [
        (Version(4, sync_id="s1"), "configuration", True),
        (Version(4, sync_id="s2", records_of="s1"), "configuration", True),
        (Version(4, sync_id="s2"), "configuration", False),
        (Version(5, sync_id="s1"), "configuration", False),
        (Version(4, sync_id="s1"), "another", False),
    ]:
        old = page_reuse.of_memo({"users": memo}, "users", latest, fingerprint)
        assert (old is not None) is found
        assert old is None or old.batches == {0: batch}


@pytest.mark.parametrize(
    "changes",
    [
        {"version": None},
        {"mode": Mode.INCREMENTAL},
        {"certificate": Certificate()},
        *({"counts": Counts(**{name: 1})} for name in ("withheld_deletes", "pending_deletes")),
        *({"counts": Counts(**{name: 1})} for name in ("rejected", "unreadable_times")),
    ],
    ids=str,
)
def test_a_sync_that_held_anything_back_leaves_no_memo(changes: dict[str, Any]) -> None:
    outcome = msgspec.structs.replace(SYNC, **changes)
    assert page_reuse.memo(outcome, page_reuse.KnownBatch("digest", "s1"), "") is None


def test_a_sync_that_shall_only_be_staged_is_staged(company: Company, world: World) -> None:
    outcome = company.sync(sync_id="s2", until=Stage.STAGING)
    assert (outcome.status, outcome.reached) == (Status.EXTRACTING, Stage.STAGING)
    assert company.platform.counts(USERS, ACME)["staged"] == 25
    assert company.sync(sync_id="s2").status is Status.UNCHANGED


def test_a_file_that_vanishes_while_it_is_closed_leaves_no_memo(tmp_path: Path) -> None:
    write_memos(tmp_path / "gone.duckdb", {"users": b"{}"})
    assert not list(tmp_path.iterdir())
