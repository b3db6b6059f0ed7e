"""What came before is neither stored nor compared again, and is there all the same.

The dangerous part is the opposite: a listing that looks the same must be looked at anew
whenever the latest table is not exactly what it led to.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from elt_assets.connectors.source import Incremental, Page
from elt_assets.sync.admin import standing_checks
from elt_assets.sync.admin.maintenance import maintain
from elt_assets.sync.detect.change_detection import Detection
from elt_assets.sync.extract import page_reuse
from elt_assets.sync.outcome import Mode, Status
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, expected, people, person

pytestmark = pytest.mark.slow


def rows(company: Company, sql: str) -> list[tuple[Any, ...]]:
    with company.platform.warehouses.open(ACME, read_only=True) as connection:
        return connection.execute(sql).fetchall()


def stored(company: Company) -> dict[str, int]:
    """Records in the file by the sync that stored them."""
    return dict(rows(company, "SELECT sync_id, count(*) FROM users_landed GROUP BY ALL"))


def staged(company: Company) -> dict[str, int]:
    """Records by the sync that staged them, wherever they are stored."""
    return dict(rows(company, "SELECT sync_id, count(*) FROM users_staging GROUP BY ALL"))


@pytest.fixture
def comparisons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The syncs whose records were compared with the latest table."""
    compared: list[str] = []
    plain = Detection.compare

    def counted(self: Detection, *arguments: Any) -> Any:
        compared.append(self._sync_id)
        return plain(self, *arguments)

    monkeypatch.setattr(Detection, "compare", counted)
    return compared


def test_an_unchanged_listing_is_staged_without_being_stored_or_compared(
    company: Company, comparisons: list[str]
) -> None:
    company.connect(world=World(people(25)))
    first = company.sync(pages_per_batch=1)
    for number in (2, 3):
        again = company.sync(sync_id=f"s{number}", pages_per_batch=1)
        assert again.status is Status.UNCHANGED
        assert (again.counts.staged, again.counts.unique, again.counts.unchanged) == (25, 25, 25)
        assert again.counts.latest == first.counts.latest
    assert stored(company) == {"s1": 25}
    assert staged(company) == {"s1": 25, "s2": 25, "s3": 25}
    assert comparisons == ["s1"]


def test_only_the_batches_that_changed_are_stored_again(
    company: Company, comparisons: list[str]
) -> None:
    world = company.connect(world=World(people(25)))
    company.sync(pages_per_batch=1)
    world.records[14] = person(14, name="Somebody Else")
    outcome = company.sync(sync_id="s2", pages_per_batch=1)
    assert (outcome.counts.updates, outcome.counts.unchanged) == (1, 24)
    assert stored(company) == {"s1": 25, "s2": 10}
    assert staged(company) == {"s1": 25, "s2": 25}
    assert company.users() == expected(world.records)
    company.sync(sync_id="s3", pages_per_batch=1)
    assert stored(company) == {"s1": 25, "s2": 10}
    assert comparisons == ["s1", "s2"]


@pytest.mark.parametrize("left", [24, 20, 0])
def test_a_shorter_listing_is_never_taken_for_the_same(company: Company, left: int) -> None:
    world = company.connect(world=World(people(25)))
    company.sync(pages_per_batch=1)
    world.records = people(left)
    outcome = company.sync(sync_id="s2", pages_per_batch=1)
    assert outcome.counts.deletes + outcome.counts.withheld_deletes == 25 - left


def test_records_that_are_mapped_otherwise_are_mapped_again(company: Company) -> None:
    world = company.connect(world=World(people(5)))
    company.sync()
    company.map_from("name", "email")
    outcome = company.sync(sync_id="s2")
    assert outcome.counts.updates == 5
    assert company.users()["u-0000"]["name"] == world.records[0]["email"]


def test_a_batch_with_a_rejected_record_is_judged_again(
    company: Company, comparisons: list[str]
) -> None:
    company.connect(world=World([*people(30), person(30, name={"not": "text"})]))
    for sync_id in ("s1", "s2"):
        assert company.sync(sync_id=sync_id).counts.rejected == 1
    assert stored(company) == {"s1": 30, "s2": 30}
    assert comparisons == ["s1", "s2"]


def test_a_listing_asked_for_in_full_is_worked_out_in_full(
    company: Company, comparisons: list[str]
) -> None:
    company.connect(world=World(people(5)))
    company.sync()
    company.sync(sync_id="s2", mode=Mode.FULL)
    assert stored(company) == {"s1": 5, "s2": 5}
    assert comparisons == ["s1", "s2"]


def test_a_latest_table_that_lost_a_row_is_mended_by_the_same_listing(company: Company) -> None:
    world = company.connect(world=World(people(5)))
    company.sync()
    with company.platform.database.transaction() as transaction:
        transaction.execute("DELETE FROM users_latest WHERE external_id = 'u-0003'")
    outcome = company.sync(sync_id="s2")
    assert outcome.counts.inserts == 1
    assert company.users() == expected(world.records)


def test_the_listing_that_was_undone_is_applied_again(company: Company) -> None:
    world = company.connect(world=World(people(5)))
    company.sync()
    world.records = people(7)
    company.sync(sync_id="s2")
    company.platform.undo(USERS, ACME, "s2")
    assert len(company.users()) == 5
    assert company.sync(sync_id="s3").counts.inserts == 2
    assert company.users() == expected(world.records)


def test_what_was_quarantined_is_quarantined_again(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync()
    world.records = people(3)
    for sync_id in ("s2", "s3"):
        outcome = company.sync(sync_id=sync_id)
        assert outcome.status is Status.QUARANTINED
        assert outcome.counts.withheld_deletes == 27
    assert len(company.users()) == 30


def test_somebody_missing_from_two_same_listings_is_deleted_by_the_second(
    company: Company,
) -> None:
    world = company.connect(world=World(people(30), snapshot=False))
    company.sync()
    world.records = people(29)
    assert company.sync(sync_id="s2").counts.pending_deletes == 1
    assert company.sync(sync_id="s3").counts.deletes == 1
    assert company.sync(sync_id="s4").status is Status.UNCHANGED


def test_the_same_listing_cut_short_says_nothing_about_who_is_missing(
    company: Company, comparisons: list[str]
) -> None:
    world = company.connect(world=World(people(5)))
    company.sync()
    world.cut_short = "the page cap"
    outcome = company.sync(sync_id="s2")
    assert not outcome.certificate.complete
    assert comparisons == ["s1", "s2"]


def test_the_rest_of_a_listing_that_was_cut_short_is_compared(company: Company) -> None:
    world = company.connect(world=World(people(5)))
    company.sync()
    world.records, world.cut_short = people(4), "the page cap"
    assert company.sync(sync_id="s2").counts.deletes == 0
    world.cut_short = None
    assert company.sync(sync_id="s3").counts.deletes == 1


def test_a_full_listing_that_looks_like_the_changes_of_yesterday_is_compared(
    company: Company,
) -> None:
    rare, always = (
        Incremental(full_every=timedelta(days=days), overlap=timedelta()) for days in (7, 0)
    )
    old = [person(number, updated="2026-11-01T00:00:00.000000Z") for number in range(3, 30)]
    new = [person(number, updated="2026-11-20T00:00:00.000000Z") for number in range(3)]
    world = company.connect(world=World(old, incremental=rare))
    company.sync()
    world.records = [*new, *old]
    assert company.sync(sync_id="s2").mode is Mode.INCREMENTAL
    world.records, world.incremental = new, always
    outcome = company.sync(sync_id="s3")
    assert (outcome.mode, outcome.counts.withheld_deletes) == (Mode.FULL, 27)


def test_a_file_that_missed_the_newest_apply_is_not_gone_by(company: Company) -> None:
    world = company.connect(world=World(people(5)))
    company.sync()
    world.records[0] = person(0, name="Somebody Else")
    company.sync(sync_id="s2")
    with company.platform.warehouses.open(ACME) as warehouse:
        warehouse.delete("applied_syncs", "sync_id = 's2'")
    world.records = people(5)
    assert company.sync(sync_id="s3").counts.updates == 1
    assert company.users() == expected(world.records)


def test_a_file_that_missed_the_newest_apply_still_knows_what_it_stored(
    company: Company, comparisons: list[str]
) -> None:
    company.connect(world=World(people(5)))
    company.sync()
    with company.platform.warehouses.open(ACME) as warehouse:
        warehouse.delete("applied_syncs", "sync_id = 's1'")
    assert company.sync(sync_id="s2").status is Status.UNCHANGED
    assert stored(company) == {"s1": 5}
    assert comparisons == ["s1", "s2"], "the log can only catch up by comparing"
    assert standing_checks.log_replays(company.platform, USERS).passed


def test_a_listing_that_is_older_than_what_was_applied_in_between_is_compared(
    company: Company,
) -> None:
    world = company.connect(world=World(people(5)))
    company.sync()
    world.records = people(6)
    company.sync(sync_id="s2")
    world.records = people(5)
    assert company.sync(sync_id="s3").counts.deletes == 1
    assert company.users() == expected(world.records)


def test_records_are_kept_as_long_as_an_extraction_speaks_of_them(tmp_path: Path) -> None:
    company = Company(tmp_path, keep_extractions=1)
    world = company.connect(world=World(people(25)))
    company.sync(pages_per_batch=1)
    company.sync(sync_id="s2", pages_per_batch=1)
    maintain(company.platform)
    assert (stored(company), staged(company)) == ({"s1": 25}, {"s2": 25})
    world.records = people(26)
    company.sync(sync_id="s3", pages_per_batch=1)
    maintain(company.platform)
    assert (stored(company), staged(company)) == ({"s1": 20, "s3": 6}, {"s3": 26})
    company.platform.close()


def test_two_lists_of_pages_are_the_same_only_if_every_part_is() -> None:
    page = Page(b'{"items": [1, 2]}', 2, None, parents=(("g", 2),))
    others = [
        [replace(page, body=b'{"items": [1, 3]}')],
        [replace(page, count=3)],
        [replace(page, parents=(("h", 2),))],
        [page, page],
        [],
    ]

    def digest(mapping: str, pages: list[Page]) -> str:
        return page_reuse.digest(mapping, [page_reuse.page_digest(page) for page in pages])

    digests = [digest("SELECT", pages) for pages in ([page], *others)]
    digests.append(digest("SELECT 1", [page]))
    assert len(set(digests)) == len(digests)
    assert digest("SELECT", [replace(page, next={"page": 2}, total=9)]) == digests[0]
