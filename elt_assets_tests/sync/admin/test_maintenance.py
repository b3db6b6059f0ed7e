"""What maintenance forgets is gone; what is kept replays, undoes and looks back as before."""

from __future__ import annotations

import gzip
import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from elt_assets.errors import InvalidInput, NotFound, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin import standing_checks
from elt_assets.sync.admin.maintenance import MaintenanceReport, maintain
from elt_assets.sync.clock import ago
from elt_assets.sync.outcome import Status
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person

DAYS = 1_000
"""How long ago the first syncs of the tests were made to be."""


def past(company: Company) -> None:
    """Six syncs, each of which renames and removes some; the first four are long past."""
    world = company.connect(world=World(people(40)))
    company.sync(sync_id="s0")
    company.configure(safeguards={"max_delete_share": 0.5})
    for number in range(1, 6):
        world.records = [
            person(0, name=f"Renamed {number}"),
            *[person(n) for n in range(1 + number, 40)],
            person(50 + number),
        ]
        company.sync(sync_id=f"s{number}")
    make_past(company, "s3")


@pytest.fixture
def aged(company: Company) -> Company:
    return company.live_through(past)


def make_past(company: Company, newest: str, ref: IntegrationRef = ACME) -> None:
    """Let everything up to the sync `newest` have happened long ago."""
    moved = f"INTERVAL {DAYS} DAY"
    (row,) = [row for row in company.platform.syncs(ref) if row.sync_id == newest]
    with company.platform.warehouses.open(ref) as warehouse:
        for table in ("users_cdc", "users_withheld"):
            warehouse.execute(
                f"UPDATE {company.stored(table)} SET detected_at = detected_at - {moved}"
                " WHERE version <= $version AND organization_id = $organization",
                {"version": row.version, "organization": ref.organization_id},
            )
        warehouse.update(
            "applied_syncs",
            f"applied_at = applied_at - {moved}",
            "version <= $version",
            {"version": row.version},
        )
        warehouse.update(
            "extractions",
            f"started_at = started_at - {moved}",
            "sync_id <= $newest",
            {"newest": newest},
        )
    with company.platform.database.transaction() as transaction:
        transaction.execute(
            "UPDATE syncs SET started_at = ? WHERE organization_id = ? AND sync_id <= ?",
            (ago(timedelta(days=DAYS)), ref.organization_id, newest),
        )


def counts(report: MaintenanceReport) -> dict[str, int]:
    return {work.what: work.count for work in report.works if work.count}


def replays(company: Company) -> bool:
    return standing_checks.log_replays(company.platform, USERS).passed


def test_old_records_and_changes_go_and_what_is_kept_replays(aged: Company) -> None:
    before = aged.platform.records(USERS, ACME)
    found = counts(maintain(aged.platform))
    assert found["fetched records of old extractions"] == 40 + 40 + 39
    assert found["changes older than the log is kept"] == 13
    assert aged.platform.records(USERS, ACME) == before
    assert replays(aged)
    assert aged.platform.counts(USERS, ACME)["staged"] == 36
    assert counts(maintain(aged.platform)) == {}, "a second time finds nothing"


def test_a_dry_run_tells_the_same_and_changes_nothing(aged: Company) -> None:
    changes = aged.platform.changes(USERS, ACME)
    told = maintain(aged.platform, dry_run=True)
    assert aged.platform.changes(USERS, ACME) == changes
    assert counts(told) == counts(maintain(aged.platform))


@pytest.mark.files
def test_a_file_is_rewritten_without_what_has_gone_and_by_a_dry_run_not(aged: Company) -> None:
    path = aged.platform.warehouses.path(ACME)
    size = path.stat().st_size
    told = maintain(aged.platform, dry_run=True)
    assert path.stat().st_size == size
    report = maintain(aged.platform)
    assert counts(report) == {
        "fetched records of old extractions": 40 + 40 + 39,
        "changes older than the log is kept": 13,
        "warehouse files rewritten": 1,
    }
    assert counts(told) == counts(report)
    assert path.stat().st_size < size


def test_rebuilding_from_a_shortened_log_gives_the_same_rows_and_times(aged: Company) -> None:
    first_seen = {
        row["external_id"]: (row["first_seen"], row["last_updated"])
        for row in aged.platform.records(USERS, ACME, "9999-12-31T00:00:00.000000Z")
    }
    before = aged.users()
    maintain(aged.platform)
    assert aged.platform.rebuild(USERS, ACME).after == len(before)
    assert aged.users() == before
    assert first_seen == {
        row["external_id"]: (row["first_seen"], row["last_updated"])
        for row in aged.platform.records(USERS, ACME)
    }


def test_within_what_is_kept_the_past_can_be_seen_and_before_it_is_refused(aged: Company) -> None:
    row = next(row for row in aged.platform.syncs(ACME) if row.sync_id == "s5")
    then = aged.platform.records(USERS, ACME, row.started_at)
    long_ago = aged.platform.changes(USERS, ACME, "s2")[0]["detected_at"]
    assert aged.platform.records(USERS, ACME, long_ago)
    maintain(aged.platform)
    assert aged.platform.records(USERS, ACME, row.started_at) == then
    with pytest.raises(InvalidInput, match=r"kept since .* cannot tell what was before"):
        aged.platform.records(USERS, ACME, long_ago)


def test_the_history_begins_with_what_stood_then(aged: Company) -> None:
    maintain(aged.platform)
    with aged.platform.warehouses.open(ACME, read_only=True) as connection:
        rows = connection.execute(
            "SELECT name, valid_to IS NULL FROM users_history"
            " WHERE external_id = 'u-0000' ORDER BY valid_from"
        ).fetchall()
    assert rows == [("Renamed 3", False), ("Renamed 4", False), ("Renamed 5", True)]


def test_kept_syncs_can_be_undone_and_forgotten_ones_are_refused(aged: Company) -> None:
    maintain(aged.platform)
    with pytest.raises(InvalidInput, match="s3 can no longer be undone: the change log is kept"):
        aged.platform.undo(USERS, ACME, "s3")
    undone = aged.platform.undo(USERS, ACME, "s5")
    assert (undone.counts.inserts, undone.counts.updates, undone.counts.deletes) == (2, 1, 1)
    assert aged.users()["u-0000"]["name"] == "Renamed 4"
    assert replays(aged)


def test_syncing_goes_on_after_a_shortened_log(aged: Company) -> None:
    maintain(aged.platform)
    aged.worlds["acme:main"].records = people(40)
    assert aged.sync(sync_id="s6").status is Status.APPLIED
    assert replays(aged)
    make_past(aged, "s5")
    assert counts(maintain(aged.platform))["changes older than the log is kept"] > 0
    assert replays(aged)


def test_the_newest_changes_stay_however_old_they_are(aged: Company) -> None:
    make_past(aged, "s5")
    maintain(aged.platform)
    assert len(aged.changes(sync_id="s5")) == 4
    assert aged.platform.undo(USERS, ACME, "s5").status is Status.APPLIED


def test_deletes_that_wait_for_a_decision_can_be_approved_afterwards(aged: Company) -> None:
    aged.worlds["acme:main"].records = people(5)
    assert aged.sync(sync_id="s6").status is Status.QUARANTINED
    make_past(aged, "s6")
    maintain(aged.platform)
    (outcome,) = aged.platform.approve(ACME, "ada")
    assert outcome.counts.deletes > 0
    assert set(aged.users()) == {f"u-{number:04}" for number in range(5)}


def test_an_interrupted_sync_keeps_its_records_and_goes_on(aged: Company) -> None:
    world = aged.worlds["acme:main"]
    world.fail_at[2] = ProviderUnavailable("away")
    assert aged.sync(sync_id="s6", pages_per_batch=1).status is Status.FAILED
    with aged.platform.warehouses.open(ACME) as warehouse:
        warehouse.update("extractions", "started_at = '2001-01-01'::TIMESTAMP", "sync_id = 's6'")
    maintain(aged.platform)
    with aged.platform.warehouses.open(ACME) as warehouse:
        warehouse.update("extractions", "started_at = now()::TIMESTAMP", "sync_id = 's6'")
    world.fail_at.clear()
    assert aged.sync(sync_id="s6").resumed_batches == 2


def test_old_syncs_leave_the_ledger_but_not_those_looked_back_at(aged: Company) -> None:
    for number in range(6, 15):
        aged.sync(sync_id=f"t{number}")
    report = maintain(aged.platform)
    assert counts(report)["past syncs in the ledger"] == 4
    assert [row.sync_id for row in aged.platform.syncs(ACME)][-1] == "s4"
    with pytest.raises(NotFound):
        aged.platform.undo(USERS, ACME, "s3")


def test_a_forgotten_sync_that_is_repeated_reads_the_provider_again(aged: Company) -> None:
    """Its old extraction must not be found and taken for today's."""
    for number in range(6, 15):
        aged.sync(sync_id=f"t{number}")
    maintain(aged.platform)
    aged.worlds["acme:main"].records = people(40)
    assert aged.sync(sync_id="s0").status is Status.APPLIED
    assert set(aged.users()) == {person["id"] for person in people(40)}


@pytest.mark.files
def test_a_file_that_has_grown_is_given_larger_blocks_once(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.connect(world=World(people(40)))
    company.sync()
    assert counts(maintain(company.platform)) == {}
    monkeypatch.setattr("elt_assets.storage.warehouse.warehouse_files._LARGE", 1)
    assert list(counts(maintain(company.platform)).values()) == [1]
    assert counts(maintain(company.platform)) == {}
    assert replays(company)


@pytest.mark.files
def test_one_that_is_being_synced_or_damaged_is_named_and_costs_the_others_nothing(
    aged: Company,
) -> None:
    busy, damaged = IntegrationRef("busy", "main"), IntegrationRef("damaged", "main")
    for ref in (busy, damaged):
        aged.connect(ref, World(people(3)))
        aged.sync(ref)
    aged.platform.warehouses.path(damaged).write_bytes(b"garbage" * 5_000)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with aged.platform.warehouses.open(busy):
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    report = maintain(aged.platform)
    done.set()
    holder.join()
    assert [line.split(":")[0] for line in report.left] == ["busy", "damaged"]
    assert counts(report)["changes older than the log is kept"] == 13


def test_an_integration_without_a_file_is_nothing_to_maintain(company: Company) -> None:
    company.connect()
    report = maintain(company.platform)
    assert (counts(report), report.left) == ({}, ())


FILES = {
    "streams": {
        "users": {
            "path": "users-*.csv",
            "select": "newest",
            "fields": {"external_id": "id", "name": "name", "email": "email"},
        }
    }
}


def dropped(company: Company, select: str) -> Path:
    """Three drops of long ago in the folder of a files integration."""
    data = {"streams": {"users": {**FILES["streams"]["users"], "select": select}}}
    company.platform.registry.add(ACME, "files", data)
    folder = company.platform.settings.drops_path / "acme" / "main"
    folder.mkdir(parents=True)
    for month in (1, 2, 3):
        path = folder / f"users-{month}.csv"
        path.write_text(f"id,name,email\n{month},Ada,ada@example.com\n")
        os.utime(path, (month, month))
    return folder


def test_files_that_a_newer_one_replaced_are_archived(company: Company) -> None:
    folder = dropped(company, "newest")
    assert counts(maintain(company.platform, dry_run=True)) == {"dropped files archived": 2}
    assert len(list(folder.iterdir())) == 3
    maintain(company.platform)
    assert [path.name for path in folder.iterdir()] == ["users-3.csv"]
    archive = company.platform.settings.archive_path / "acme" / "main"
    texts = [gzip.decompress(path.read_bytes()).decode() for path in sorted(archive.iterdir())]
    assert [text.splitlines()[1][0] for text in texts] == ["1", "2"]
    company.platform.remove(ACME)
    assert not archive.exists()


def test_files_that_are_one_listing_together_stay(company: Company) -> None:
    dropped(company, "all")
    assert counts(maintain(company.platform)) == {}
