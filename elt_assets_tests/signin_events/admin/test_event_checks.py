"""The judgements on events, from plain numbers, and against a warehouse that was tampered with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from elt_assets.signin_events.admin.event_checks import (
    conformance,
    duplicates,
    freshness,
    gaps,
    volume,
)
from elt_assets.signin_events.interruption import Interruption
from elt_assets_tests.signin_events.days import DAY, EVE, Tenant, line

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("events", "history", "passed"),
    [
        (100, (90, 110, 100), True),
        (49, (100, 100, 100), False),
        (201, (100, 100, 100), False),
        (0, (100, 100, 100, 0), False),
        (100, (1, 100, 120, 90), True),
        (0, (100, 100), True),
        (0, (), True),
    ],
)
def test_a_days_volume_is_about_that_of_the_same_weekday(
    events: int, history: Sequence[int], passed: bool
) -> None:
    assert volume(DAY, events, history).passed is passed


@pytest.mark.parametrize(
    ("rows", "rejected", "broken", "passed"),
    [(0, 0, 0, True), (95, 5, 0, True), (94, 6, 0, False), (100, 0, 1, False)],
)
def test_few_records_are_rejected_and_no_event_breaks_the_schema(
    rows: int, rejected: int, broken: int, passed: bool
) -> None:
    assert conformance(rows, rejected, broken, limit=0.05).passed is passed


def test_a_day_between_others_that_was_never_extracted_is_a_gap() -> None:
    found = gaps([date(2026, 1, 1), date(2026, 1, 4)])
    assert (found.passed, found.count) == (False, 2)
    assert found.sample == ({"day": "2026-01-02"}, {"day": "2026-01-03"})
    assert gaps([date(2026, 1, 1), date(2026, 1, 2)]).passed
    assert gaps([]).passed


def test_old_news_are_not_fresh() -> None:
    limit = timedelta(hours=26)
    assert freshness(NOW - timedelta(hours=26), NOW, limit).passed
    assert not freshness(NOW - timedelta(hours=27), NOW, limit).passed
    assert freshness(None, NOW, limit).passed


def test_an_event_that_stands_twice_is_named() -> None:
    found = duplicates(1, [("acme", "f-1")])
    assert not found.passed
    assert found.sample == ({"organization_id": "acme", "event_id": "f-1"},)


def test_checks_find_what_was_planted_in_the_warehouse(tmp_path: Path) -> None:
    with Tenant(tmp_path) as tenant:
        tenant.file("a.csv", line("f-1"), line("f-2"))
        tenant.run()
        names = ("conformance", "duplicates", "gaps", "volume")
        assert [tenant.events.check(name, DAY).passed for name in names] == [True] * 4
        with tenant.events._analytics.writing(Interruption()) as connection:
            connection.execute("INSERT INTO signin_events FROM signin_events LIMIT 1")
            connection.execute("UPDATE signin_events SET result = 'maybe' WHERE event_id = 'f-2'")
            connection.execute(
                "UPDATE event_files SET ingested_day = ingested_day - 2;"
                "INSERT INTO event_files BY NAME SELECT * REPLACE (DATE '2026-01-05' AS"
                " ingested_day) FROM event_files"
            )
        assert not tenant.events.check("duplicates").passed
        assert not tenant.events.check("duplicates", DAY).passed
        assert tenant.events.check("duplicates", EVE).passed
        assert not tenant.events.check("conformance").passed
        assert tenant.events.check("conformance", EVE).passed
        assert tenant.events.check("gaps").sample == ({"day": EVE.isoformat()},)
        assert not tenant.events.check("freshness").passed
