"""Which integrations are listed again for pending deletes, when, and by which runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import msgspec
import pytest

from elt_assets.errors import ProviderUnavailable
from elt_assets.identifiers import checked_name
from elt_assets.orchestration.names import PARTITIONS, SYNC_ID_TAG
from elt_assets.orchestration.partitions import RANGE_END_TAG, RangePlan
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.orchestration.sensors.confirmation_sensor import (
    confirmation_requests,
    confirmation_sensor,
    confirming_sync_id,
    due,
)
from elt_assets.sync.clock import ago, text
from elt_assets.sync.outcome import Mode, Status
from elt_assets.sync.state.listings import PendingDeletes, pending_deletes
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people
from elt_assets_tests.testbed.fleet import Fleet, opened_fleet

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
AFTER, EVERY = timedelta(minutes=15), timedelta(hours=6)


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    made = Company(tmp_path / "home")
    yield made
    made.platform.close()


@pytest.fixture
def fleet(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with opened_fleet(monkeypatch) as fleet:
        yield fleet


def pending(
    integration: str = "main",
    stream: str = "users",
    *,
    waited: timedelta = AFTER,
    rested: timedelta | None = None,
    sync_id: str = "daily",
) -> PendingDeletes:
    confirmed_at = "" if rested is None else text(NOW - rested)
    return PendingDeletes("acme", integration, stream, sync_id, text(NOW - waited), 1, confirmed_at)


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("waited", "rested", "is_due"),
    [
        (AFTER - SECOND, None, False),
        (AFTER, None, True),
        (timedelta(days=3), None, True),
        (timedelta(days=3), EVERY - SECOND, False),
        (timedelta(days=3), EVERY, True),
        (AFTER - SECOND, EVERY, False),
    ],
)
def test_a_listing_is_repeated_after_a_while_and_not_too_often(
    waited: timedelta, rested: timedelta | None, is_due: bool
) -> None:
    one = pending(waited=waited, rested=rested)
    assert due([one], NOW, AFTER, EVERY) == ([one] if is_due else [])


def test_of_the_streams_of_one_integration_the_longest_waiting_is_due() -> None:
    users, groups = pending(waited=AFTER), pending(stream="groups", waited=2 * AFTER)
    other = pending("other")
    assert due([users, groups, other], NOW, AFTER, EVERY) == [groups, other]


def test_contiguous_integrations_of_one_sync_share_a_full_run() -> None:
    instance_keys = ["acme:a", "acme:b", "acme:c", "acme:d"]
    wanted = [pending(name) for name in ("a", "b", "d")]
    requests = confirmation_requests({"users": RangePlan(instance_keys)}, wanted)
    assert [request.run_key for request in requests] == [
        "confirm-1-daily/users/acme:a...acme:b",
        "confirm-1-daily/users/acme:d...acme:d",
    ]
    assert requests[0].tags[RANGE_END_TAG] == "acme:b"
    assert {request.tags[SYNC_ID_TAG] for request in requests} == {"confirm-1-daily"}
    assert requests[0].run_config == {"ops": {"sync_users": {"config": {"mode": "full"}}}}


def test_a_confirming_sync_that_leaves_deletes_pending_has_a_successor() -> None:
    first = confirming_sync_id("daily-2026-11-22")
    assert (first, confirming_sync_id(first)) == (
        "confirm-1-daily-2026-11-22",
        "confirm-2-daily-2026-11-22",
    )


def test_the_name_stays_valid_however_long_the_first_one_was() -> None:
    names = {confirming_sync_id("x" * 63 + last) for last in "ab"}
    assert len(names) == 2
    for name in names:
        assert checked_name(confirming_sync_id(name), "sync id").startswith("confirm-2-")


def left(company: Company) -> World:
    """An integration whose last sync left one delete pending, a while ago."""
    world = company.connect(world=World(people(30), snapshot=False))
    company.sync(sync_id="s1")
    world.records = people(29)
    assert company.sync(sync_id="s2").counts.pending_deletes == 1
    age(company, timedelta(hours=1))
    return world


def age(company: Company, span: timedelta) -> None:
    with company.platform.database.transaction() as transaction:
        transaction.execute(
            "UPDATE syncs SET finished_at = ?, started_at = ?", (ago(span), ago(span))
        )


def tick(company: Company) -> list[dg.RunRequest]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(PARTITIONS, [ACME.partition_key])
        with dg.build_sensor_context(
            instance=instance, resources={STANDALONE.resource: company.platform}
        ) as context:
            return list(confirmation_sensor().evaluate_tick(context).run_requests or ())


def test_the_sensor_lists_again_once_and_the_leaver_leaves(company: Company) -> None:
    left(company)
    (request,) = tick(company)
    assert request.tags["dagster/partition"] == "acme:main"
    outcome = company.sync(sync_id=request.tags[SYNC_ID_TAG], mode=Mode.FULL)
    assert outcome.counts.deletes == 1
    age(company, timedelta(hours=12))
    assert tick(company) == [], "nothing is pending any more"


def test_after_a_confirming_sync_the_integration_is_left_alone_for_a_while(
    company: Company,
) -> None:
    world = left(company)
    world.cut_short = "the page cap"
    outcome = company.sync(sync_id=tick(company)[0].tags[SYNC_ID_TAG])
    assert outcome.counts.deletes == 0
    world.cut_short = None
    world.records = people(28)
    assert company.sync(sync_id="s3").counts.pending_deletes > 0
    age(company, timedelta(hours=5))
    assert tick(company) == []
    age(company, timedelta(hours=7))
    assert [request.tags[SYNC_ID_TAG] for request in tick(company)] == ["confirm-1-s3"]


def test_an_unfinished_sync_counts_as_the_second_listing(
    company: Company,
) -> None:
    world = left(company)
    world.fail_at[1] = ProviderUnavailable("away")
    assert company.sync(sync_id="s3").status is Status.FAILED
    assert tick(company) == []


def test_a_disabled_integration_is_not_listed(company: Company) -> None:
    left(company)
    company.platform.registry.set_enabled(ACME, False)
    assert tick(company) == []


def test_an_undo_leaves_the_pending_deletes_of_the_listing_before_it(company: Company) -> None:
    world = left(company)
    world.records = [*people(29)[1:], people(40)[39]]
    company.sync(sync_id="s3")
    age(company, timedelta(hours=1))
    company.platform.undo(USERS, ACME, "s3")
    (found,) = pending_deletes(company.platform.database, USERS)
    assert (found.sync_id, found.deletes) == ("s3", 1)


def test_the_requested_run_reads_everything_through_dagster(fleet: Fleet) -> None:
    fleet.connect(1, users=9)
    (ref,) = fleet.refs
    known = fleet.platform.registry.get(ref).provider_data
    grace = {"safeguards": {"delete_confirmation": "grace"}}
    fleet.platform.registry.update(ref, known | grace)
    fleet.run(fleet.keys)
    fleet.directory.people[ref.integration_id].pop()
    fleet.run(fleet.keys)
    with fleet.platform.database.transaction() as transaction:
        transaction.execute("UPDATE syncs SET finished_at = ?", (ago(timedelta(hours=1)),))
    with dg.build_sensor_context(
        instance=fleet.instance, resources={STANDALONE.resource: fleet.platform}
    ) as context:
        (request,) = confirmation_sensor().evaluate_tick(context).run_requests
    job = fleet.definitions().resolve_job_def(request.job_name)
    assert job.execute_in_process(
        run_config=msgspec.to_builtins(request.run_config),
        tags=request.tags,
        instance=fleet.instance,
        partition_key=request.tags["dagster/partition"],
    ).success
    newest = fleet.platform.syncs(ref)[0]
    assert (newest.sync_id, newest.counts.deletes) == (request.tags[SYNC_ID_TAG], 1)
