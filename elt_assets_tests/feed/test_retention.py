"""Entries are kept for a time, longer for a consumer that lacks them, and not for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest

from elt_assets.feed.consumers import Consumers
from elt_assets.feed.numbering import number_entries
from elt_assets.feed.retention import FeedRetention, trim
from elt_assets.feed.scope import Scope
from elt_assets.feed.status import feed_status
from elt_assets.sync.clock import ago
from elt_assets.sync.state import feed_log
from elt_assets_tests.feed.listening import heard, numbers
from elt_assets_tests.sync.worlds import Company, World, people

KEEP = FeedRetention(timedelta(days=14), timedelta(days=30))


@pytest.fixture
def aged(company: Company, monkeypatch: pytest.MonkeyPatch) -> Company:
    """Thirty entries: ten applied 40 days ago, ten 20 days ago, ten now."""
    monkeypatch.setattr(feed_log, "SEGMENT_ENTRIES", 5)
    world = company.connect(world=World())
    for sync, days in enumerate((40, 20, 0), 1):
        world.records = people(10 * sync)
        company.sync(sync_id=f"s{sync}")
        with company.platform.database.transaction() as transaction:
            transaction.execute(
                "UPDATE feed_segments SET applied_at = ? WHERE version = ?",
                (ago(timedelta(days=days)), sync),
            )
    return company


def kept(company: Company) -> list[int]:
    """Numbers of what is left."""
    return numbers(heard(company, number_entries(company.platform.database).trimmed))


def test_without_consumers_entries_are_kept_for_their_time(aged: Company) -> None:
    database = aged.platform.database
    assert trim(database, KEEP, dry_run=True).count == 20
    assert number_entries(database).trimmed == 0
    assert trim(database, KEEP, dry_run=False).count == 20
    assert kept(aged) == list(range(21, 31))
    assert len(database.rows("SELECT 1 AS one FROM feed_bodies")) == 2
    assert trim(database, KEEP, dry_run=False).count == 0


def test_entries_that_a_consumer_lacks_are_kept_longer_but_not_for_ever(aged: Company) -> None:
    database = aged.platform.database
    Consumers(database).add("slow", Scope(), after="0")
    assert trim(database, KEEP, dry_run=False).count == 10
    assert kept(aged) == list(range(11, 31))
    (slow,) = feed_status(database).consumers
    assert (slow.state, slow.ok) == ("lost", False)


def test_a_consumer_that_is_far_enough_keeps_nothing_back(aged: Company) -> None:
    database = aged.platform.database
    state = number_entries(database)
    Consumers(database).add("quick", Scope(), after=state.text(17))
    trim(database, KEEP, dry_run=False)
    assert numbers(heard(aged, 17)) == list(range(18, 31))
    assert len(database.rows("SELECT 1 AS one FROM feed_bodies")) == 3
    (quick,) = feed_status(database).consumers
    assert (quick.state, quick.entries) == ("behind", 13)
    assert quick.seconds > 19 * 86_400
