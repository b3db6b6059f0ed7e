"""The daily summary, joined with the users of that day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from elt_assets.signin_events.results import EventSource
from elt_assets.storage.warehouse.warehouse import transaction
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.serving import Asked, Reply, as_json
from elt_assets_tests.signin_events.days import ACME, DAY, EVE, Tenant, event, line

NEXT = DAY + timedelta(days=1)


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[Tenant]:
    with Tenant(tmp_path) as tenant:
        yield tenant


def summary(tenant: Tenant, *names: str) -> list[tuple[Any, ...]]:
    """These columns of all rows, newest day first."""
    return [tuple(row[name] for name in names) for row in tenant.events.reports.summary()]


def test_a_day_is_counted_by_organization(tenant: Tenant) -> None:
    tenant.file(
        "a.csv",
        line("f-1", user_external_id="u-1", country="FR"),
        line("f-2", user_external_id="u-1", country="DE", result="failure"),
        line("f-3", user_external_id="u-2", country="FR"),
        line("f-4", user_external_id="u-3", country="US", op="DELETE"),
        line("f-5", user_external_id="u-3", country=""),
    )
    tenant.run()
    (row,) = tenant.events.reports.summary()
    assert row == {
        "event_day": DAY.isoformat(),
        "organization_id": "acme",
        "events": 4,
        "failures": 1,
        "users": 3,
        "new_countries": 2,
        "new_user_countries": 3,
        "unknown_users": 3,
        "inactive_users": 0,
        "deleted_events": 1,
    }


def test_a_country_is_new_once_for_the_organization_and_once_for_each_user(
    tenant: Tenant,
) -> None:
    tenant.file("a.csv", line("f-1", at=f"{EVE}T08:00:00Z", user_external_id="u-1"), day=EVE)
    tenant.file("a.csv", line("f-2", user_external_id="u-1"), line("f-3", user_external_id="u-2"))
    tenant.run(EVE)
    tenant.run(DAY)
    names = ("event_day", "new_countries", "new_user_countries")
    assert summary(tenant, *names) == [(DAY.isoformat(), 0, 1), (EVE.isoformat(), 1, 1)]


def test_a_late_event_makes_its_country_less_new_on_later_days(tenant: Tenant) -> None:
    tenant.listed = [event(1, country="US"), event(2, country="DE")]
    tenant.run(DAY)
    late = event(
        9,
        at=f"{EVE}T20:00:00Z",
        recorded=f"{NEXT}T01:00:00Z",
        country="US",
        actor={"id": "u-1"},
    )
    tenant.listed.append(late)
    tenant.events.extract_api(NEXT)
    tenant.events.normalize(EventSource.API, NEXT)
    assert tenant.events.load(NEXT).days == (EVE,)
    assert tenant.events.summarize(EVE).also == (DAY,)
    names = ("event_day", "events", "new_countries", "new_user_countries")
    assert summary(tenant, *names) == [(DAY.isoformat(), 2, 1, 1), (EVE.isoformat(), 1, 1, 1)]
    assert tenant.events.summarize(EVE).also == ()


def test_who_signs_in_and_is_unknown_or_deactivated_as_of_that_day_is_counted(
    tenant: Tenant,
) -> None:
    people = [{"id": f"u-{n}", "name": "P", "status": "on"} for n in range(4)]
    people[1]["status"] = "off"
    answer = tenant.provider.answer

    def with_people(asked: Asked) -> Reply:
        return as_json({"items": people}) if asked.path == "/users" else answer(asked)

    tenant.provider.answer = with_people
    data = tenant.provider_data()
    data["streams"]["users"] = {
        "path": "/users",
        "records": "items",
        "pagination": {"type": "none"},
        "fields": {"external_id": "id", "name": "name", "active": 'status == "on"'},
    }
    tenant.platform.registry.update(ACME, data)
    tenant.listed = [event(number) for number in (0, 1, 2, 9)]
    sync(tenant, "first")
    # What is known now was known first today, which is long after that day.
    tenant.run()
    assert summary(tenant, "users", "unknown_users", "inactive_users") == [(4, 1, 1)]
    # Had it been known since before, and changed since, that day's answer stays what it was.
    people[1]["status"] = "on"
    del people[2]
    for listing in ("second", "third"):  # a delete needs two
        sync(tenant, listing)
    tenant.events.summarize(DAY)
    assert summary(tenant, "users", "unknown_users", "inactive_users") == [(4, 1, 1)]
    antedate(tenant)
    tenant.events.summarize(DAY)
    assert summary(tenant, "users", "unknown_users", "inactive_users") == [(4, 2, 0)]


def sync(tenant: Tenant, sync_id: str) -> None:
    (outcome,) = tenant.platform.sync(USERS, [ACME], sync_id=sync_id)
    assert outcome.error is None
    if outcome.counts.withheld_deletes:
        tenant.platform.approve(ACME, "somebody")


def antedate(tenant: Tenant) -> None:
    """Let every change of people have happened a year ago."""
    with tenant.platform.warehouses.open(ACME) as connection, transaction(connection):
        connection.execute(f"UPDATE {USERS.cdc} SET detected_at = detected_at - INTERVAL 400 DAY")
