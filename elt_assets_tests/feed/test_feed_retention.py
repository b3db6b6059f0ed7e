"""Entries are kept for a time, longer for a consumer that lacks them, and not without end."""

from __future__ import annotations

from datetime import timedelta

import pytest
import urllib3

from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.feed.consumers import Consumers
from elt_assets.feed.feed_retention import FeedRetention, keep_to_room, trim
from elt_assets.feed.numbering import number_entries
from elt_assets.feed.scope import Scope
from elt_assets.feed.status import feed_status
from elt_assets.sync.clock import ago
from elt_assets.sync.state import feed_log
from elt_assets_tests.feed.listening import heard, numbers
from elt_assets_tests.feed.serving import Asking, feed_server
from elt_assets_tests.sync.worlds import Company, World, people

KEEP = FeedRetention(timedelta(days=14), timedelta(days=30), 10**9)


def past(company: Company) -> None:
    """Thirty entries: ten applied 40 days ago, ten 20 days ago, ten now."""
    world = company.connect(world=World())
    for sync, days in enumerate((40, 20, 0), 1):
        world.records = people(10 * sync)
        company.sync(sync_id=f"s{sync}")
        with company.platform.database.transaction() as transaction:
            transaction.execute(
                "UPDATE feed_segments SET applied_at = ? WHERE version = ?",
                (ago(timedelta(days=days)), sync),
            )


@pytest.fixture
def aged(company: Company, monkeypatch: pytest.MonkeyPatch) -> Company:
    monkeypatch.setattr(feed_log, "SEGMENT_ENTRIES", 5)
    return company.live_through(past)


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
    (slow,) = feed_status(database, 10**9).consumers
    assert (slow.state, slow.ok) == ("lost", False)


def test_a_consumer_that_is_far_enough_keeps_nothing_back(aged: Company) -> None:
    database = aged.platform.database
    state = number_entries(database)
    Consumers(database).add("quick", Scope(), after=state.text(17))
    trim(database, KEEP, dry_run=False)
    assert numbers(heard(aged, 17)) == list(range(18, 31))
    assert len(database.rows("SELECT 1 AS one FROM feed_bodies")) == 3
    (quick,) = feed_status(database, 10**9).consumers
    assert (quick.state, quick.entries) == ("behind", 13)
    assert quick.seconds > 19 * 86_400


def bytes_of(company: Company) -> list[int]:
    """What each segment takes, the oldest first."""
    rows = company.platform.database.rows("SELECT bytes FROM feed_segments ORDER BY first_position")
    return [row["bytes"] for row in rows]


def test_entries_that_have_no_room_go_even_those_that_a_consumer_lacks(aged: Company) -> None:
    database = aged.platform.database
    Consumers(database).add("slow", Scope(), after="0")
    head = number_entries(database).head
    sizes = bytes_of(aged)
    room = sum(sizes[-3:])
    assert keep_to_room(database, sum(sizes)) == 0
    assert keep_to_room(database, room) == head - 15
    assert kept(aged) == list(range(head - 14, head + 1))
    assert bytes_of(aged) == sizes[-3:]
    found = feed_status(database, room)
    assert (found.bytes, found.consumers[0].state) == (room, "lost")
    assert keep_to_room(database, room) == 0
    keep = FeedRetention(timedelta(days=400), timedelta(days=400), room - 1)
    assert trim(database, keep, dry_run=True).count == 5
    assert trim(database, keep, dry_run=False).count == 5


def test_a_consumer_whose_entries_nearly_fill_the_room_needs_a_person(aged: Company) -> None:
    database = aged.platform.database
    state = number_entries(database)
    Consumers(database).add("slow", Scope(), after="0")
    Consumers(database).add("quick", Scope(), after=state.text(state.head))
    together = sum(bytes_of(aged))
    states = {one.name: one.state for one in feed_status(database, together).consumers}
    assert states == {"slow": "losing", "quick": "up to date"}
    (_, slow) = feed_status(database, together).consumers
    assert (slow.bytes, slow.ok) == (together, False)
    (_, slow) = feed_status(database, 2 * together).consumers
    assert (slow.state, slow.ok) == ("behind", True)


def test_a_position_that_retention_has_passed_answers_what_to_do(aged: Company) -> None:
    database = aged.platform.database
    state = number_entries(database)
    token = Consumers(database).add("slow", Scope(), after="0")
    keep_to_room(database, sum(bytes_of(aged)[-2:]))
    with feed_server(aged.platform.settings) as url, urllib3.PoolManager() as http:
        asking = Asking(url, token, http)
        for after in ("0", state.text(19)):
            gone = asking.get("/feed", after=after)
            assert gone.status == 410
            assert "take a snapshot and go on from its position" in gone.message
        position = asking.get("/snapshot").document["position"]
        assert asking.get("/feed", after=position).document["entries"] == []


def test_unread_entries_are_not_kept_shorter_than_others() -> None:
    with pytest.raises(InvalidInput, match="KEEP_FEED_UNREAD_DAYS is 5, less than"):
        load_settings(keep_feed_days=6, keep_feed_unread_days=5)
    with pytest.raises(InvalidInput, match=r"(?i)keep_feed_mb"):
        load_settings(keep_feed_mb=0)
