"""Retention: records of old days go, their events stay, and later records still meet them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from elt_assets.signin_events.admin import record_retention
from elt_assets.signin_events.interruption import Interruption
from elt_assets_tests.signin_events.days import DAY, Tenant, event, line


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    with Tenant(tmp_path) as tenant:
        tenant.listed = [event(1), event(2, recorded=f"{DAY}T12:00:00Z"), event(3, result="?")]
        tenant.file("a.csv", line("f-1"), line("e-9"), "broken")
        tenant.run()
        yield tenant


def forget(
    tenant: Tenant, after: timedelta = timedelta(days=100), *, dry_run: bool = False
) -> dict[str, int]:
    """Maintenance as it will be that much later."""
    report = record_retention.maintain(
        tenant.events._analytics,
        tenant.platform.settings,
        dry_run=dry_run,
        moment=datetime.now(UTC) + after,
    )
    assert report.left == ()
    return {work.what.split(" ")[0]: work.count for work in report.works[:3]}


def test_old_records_go_and_every_event_and_summary_stays(tenant: Tenant) -> None:
    before, summary = tenant.table(), tenant.events.reports.summary()
    counts = {"fetched": 5, "normalized": 4, "dead": 2}
    assert forget(tenant, dry_run=True) == counts
    assert forget(tenant, dry_run=True) == counts
    assert forget(tenant) == counts
    assert forget(tenant) == dict.fromkeys(counts, 0)
    assert (tenant.table(), tenant.events.reports.summary()) == (before, summary)
    tenant.events.retry_rejected(DAY)
    assert tenant.events.refresh() == 4
    assert (tenant.table(), tenant.events.reports.summary()) == (before, summary)


def test_records_of_an_old_day_that_came_lately_stay(tenant: Tenant) -> None:
    assert datetime.now(UTC).date() - DAY > timedelta(days=90)
    report = tenant.events.maintain(dry_run=False)
    assert [work.count for work in report.works] == [0, 0, 0, 0]
    assert forget(tenant, timedelta(days=80))["fetched"] == 0


def test_a_day_with_a_step_that_is_due_keeps_what_it_has(tenant: Tenant) -> None:
    with tenant.events._analytics.writing(Interruption()) as connection:
        connection.execute("INSERT INTO waiting_days VALUES ('load', ?)", [DAY])
    assert forget(tenant)["fetched"] == 0
    tenant.run()
    assert forget(tenant)["fetched"] > 0


def test_a_reading_that_can_go_on_keeps_what_it_has(tmp_path: Path) -> None:
    with Tenant(tmp_path, max_resume_hours=200 * 24) as tenant:
        tenant.listed = [event(number) for number in range(4)]
        tenant.failing = {len(tenant.provider.asked) + 2: 500}
        (failed,) = tenant.events.extract_api(DAY)
        assert failed.pages == 1
        assert forget(tenant)["fetched"] == 0
        assert forget(tenant, timedelta(days=300))["fetched"] == 2


def test_what_comes_later_meets_the_event_as_it_stands(tenant: Tenant) -> None:
    forget(tenant)
    known = tenant.table()
    # A file's mere sighting is no match for what the provider said; an UPDATE is.
    tenant.file("late.csv", line("e-1", country="US"), line("e-2", country="US", op="UPDATE"))
    loaded = tenant.run(DAY)
    assert (loaded.inserted, loaded.removed) == (0, 0)
    table = tenant.table()
    assert (table["e-1"]["country"], table["e-2"]["country"]) == ("DE", "US")
    assert table.keys() == known.keys()
    tenant.file("later.csv", line("f-1", op="DELETE"))
    tenant.run(DAY)
    assert tenant.table()["f-1"]["deleted"]
