"""Changes since a mark of the source's own: when one is kept, and what a refused one leads to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from elt_assets.connectors.source import Incremental
from elt_assets.errors import ProviderUnavailable
from elt_assets.sync.extract.sync_mode import EVERYTHING, SyncMode, choose_sync_mode
from elt_assets.sync.outcome import Mode, Status
from elt_assets.sync.state.versions import Version
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, expected, person

pytestmark = pytest.mark.slow

BY_MARK = Incremental(timedelta(days=7), timedelta(minutes=5), by_mark=True)
NOW = "2026-11-22T12:00:00.000000Z"


def changed(number: int, day: int, **changes: Any) -> dict[str, Any]:
    """A record last changed on that day; the world's marks are days, too."""
    return person(number, updated=mark(day), **changes)


def mark(day: int) -> str:
    return f"2026-11-{day:02}T00:00:00.000000Z"


@pytest.fixture
def world(company: Company) -> World:
    """Thirty users, read completely once, up to the mark of day 5."""
    made = company.connect(
        world=World([changed(number, 1) for number in range(30)], incremental=BY_MARK, mark=mark(5))
    )
    assert company.sync(sync_id="s1").mode is Mode.FULL
    made.asked_since.clear()
    return made


def test_the_plan_follows_the_mark_alone() -> None:
    read = Version(3, 3, None, "2026-11-20T12:00:00.000000Z", "any text")
    assert choose_sync_mode(None, BY_MARK, read, NOW) == SyncMode(Mode.INCREMENTAL, "any text")
    timed = Version(3, 3, "2026-11-21T12:00:00.000000Z", read.full_at, None)
    assert choose_sync_mode(None, BY_MARK, timed, NOW) == EVERYTHING


def test_changes_are_listed_from_the_mark_on_and_the_mark_moves(
    company: Company, world: World
) -> None:
    world.records[4] = changed(4, 6, name="Renamed")
    world.mark = mark(7)
    outcome = company.sync(sync_id="s2")
    assert (outcome.mode, set(world.asked_since)) == (Mode.INCREMENTAL, {mark(5)})
    assert company.users() == expected(world.records)
    world.asked_since.clear()
    company.sync(sync_id="s3")
    assert set(world.asked_since) == {mark(7)}


def test_a_refused_mark_leads_to_everything_and_to_a_new_mark(
    company: Company, world: World
) -> None:
    del world.records[7]
    world.records[4] = person(4, updated=mark(2), name="Renamed elsewhere")
    world.refuses_marks, world.mark = True, mark(9)
    outcome = company.sync(sync_id="s2")
    assert (outcome.mode, outcome.error) == (Mode.FULL, None)
    assert company.users() == expected(world.records)
    world.refuses_marks = False
    world.asked_since.clear()
    assert company.sync(sync_id="s3").mode is Mode.INCREMENTAL
    assert set(world.asked_since) == {mark(9)}


def test_a_sync_that_was_refused_its_mark_and_interrupted_still_reads_everything(
    company: Company, world: World
) -> None:
    world.records[4] = person(4, updated=mark(2), name="Renamed elsewhere")
    world.refuses_marks, world.mark = True, mark(9)
    world.fail_at[2] = ProviderUnavailable("away")
    assert company.sync(sync_id="s2", pages_per_batch=1).status is Status.FAILED
    world.refuses_marks = False
    world.fail_at.clear()
    outcome = company.sync(sync_id="s2", pages_per_batch=1)
    assert (outcome.mode, outcome.resumed_batches) == (Mode.FULL, 2)
    assert company.users() == expected(world.records)


def test_a_mark_of_what_was_withheld_or_cut_short_is_not_kept(
    company: Company, world: World
) -> None:
    before = list(world.records)
    world.records = [changed(number, 6, status="DELETED") for number in range(10)]
    world.mark = mark(7)
    assert company.sync(sync_id="s2").status is Status.QUARANTINED
    world.records, world.cut_short = before, "page limit of 1 reached"
    company.sync(sync_id="s3")
    world.cut_short = None
    world.asked_since.clear()
    company.sync(sync_id="s4")
    assert set(world.asked_since) == {mark(5)}


def test_everything_that_is_listed_incompletely_leaves_no_mark(
    company: Company, world: World
) -> None:
    world.doubts, world.mark = ("a part was not read",), mark(9)
    assert not company.sync(sync_id="s2", mode=Mode.FULL).certificate.complete
    world.doubts = ()
    assert company.sync(sync_id="s3").mode is Mode.FULL


def test_the_mark_stands_when_the_apply_is_repeated(company: Company, world: World) -> None:
    """What was fetched is sealed by then: the mark comes from the checkpoint."""
    world.records[4] = changed(4, 6, name="Renamed")
    world.records.append(changed(50, 6))
    world.mark = mark(7)
    company.break_inserts()
    assert company.sync(sync_id="s2").status is Status.FAILED
    company.mend_inserts()
    assert company.sync(sync_id="s2").status is Status.APPLIED
    world.asked_since.clear()
    company.sync(sync_id="s3")
    assert set(world.asked_since) == {mark(7)}


def test_an_undone_sync_keeps_the_mark(company: Company, world: World) -> None:
    world.records[4] = changed(4, 6, name="Renamed")
    world.mark = mark(7)
    company.sync(sync_id="s2")
    company.platform.undo(USERS, ACME, "s2")
    world.asked_since.clear()
    company.sync(sync_id="s3")
    assert set(world.asked_since) == {mark(7)}
