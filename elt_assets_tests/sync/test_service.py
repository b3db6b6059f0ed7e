"""Several integrations at once, and an installation that opens, closes and opens again."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import msgspec
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput, NotFound, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Status, SyncProgress
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people

REFS = [IntegrationRef("acme", f"integration-{number}") for number in range(6)]
NOBODY = IntegrationRef("no", "body")


def connect_all(company: Company, users: int = 12) -> list[World]:
    return [company.connect(ref, World(people(users), page_size=5)) for ref in REFS]


def test_opening_makes_a_home_that_only_its_owner_can_read(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"
    with SyncService.open(load_settings(home=home)) as platform:
        assert home.stat().st_mode & 0o777 == 0o700
        assert platform.database.exists


def test_a_home_that_cannot_be_made_is_named_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=rf"^the home folder {tmp_path}/file/home cannot be"):
        SyncService.open(load_settings(home=tmp_path / "file" / "home"))


def test_what_was_synced_is_there_when_the_installation_is_opened_again(
    company: Company,
) -> None:
    company.connect(world=World(people(12)))
    company.sync()
    before = company.platform.records(USERS, ACME), company.platform.changes(USERS, ACME)
    company.platform.close()
    with SyncService.open(company.platform.settings) as again:
        assert (again.records(USERS, ACME), again.changes(USERS, ACME)) == before
        assert [row.sync_id for row in again.syncs(ACME)] == ["s1"]
        assert again.registry.get(ACME).enabled


def test_outcomes_come_as_integrations_settle_and_not_in_the_order_asked(
    company: Company,
) -> None:
    """The one asked for first is held at its first page until all others have settled."""
    slow, *_ = connect_all(company)

    def hold(_: int) -> None:
        while sum(row.status.settled for row in company.platform.syncs()) < len(REFS) - 1:
            time.sleep(0.005)

    slow.on_page = hold
    settled = [outcome.partition for outcome in company.platform.sync(USERS, REFS, sync_id="s1")]
    assert settled[0] != REFS[0].partition_key
    assert sorted(settled) == [ref.partition_key for ref in REFS]


def test_no_more_integrations_are_synced_at_once_than_the_setting_says(tmp_path: Path) -> None:
    company = Company(tmp_path / "home", concurrency=2)
    running: set[int] = set()
    most = 0
    guard = threading.Lock()
    two_are_inside = threading.Barrier(2)

    def enter(world: int, page: int) -> None:
        nonlocal most
        with guard:
            running.add(world)
            most = max(most, len(running))
        if page == 0:
            two_are_inside.wait()
        if page == 2:
            with guard:
                running.discard(world)

    for number, world in enumerate(connect_all(company)):
        world.on_page = lambda page, number=number: enter(number, page)
    outcomes = list(company.platform.sync(USERS, REFS, sync_id="s1"))
    assert {outcome.status for outcome in outcomes} == {Status.APPLIED}
    assert most == 2
    company.platform.close()


def test_an_integration_named_twice_is_synced_once(company: Company) -> None:
    company.connect(world=World(people(3)))
    (outcome,) = company.platform.sync(USERS, [ACME, ACME, ACME], sync_id="s1")
    assert not outcome.recorded


def test_nobody_to_sync_is_nothing_to_do(company: Company) -> None:
    assert list(company.platform.sync(USERS, [], sync_id="s1")) == []


def test_a_caller_who_stops_listening_leaves_those_not_begun_alone(tmp_path: Path) -> None:
    company = Company(tmp_path / "home", concurrency=1)
    _, second, *_ = connect_all(company)
    nobody_listens = threading.Event()
    second.on_page = lambda _: [None, nobody_listens.wait()][0]
    outcomes = company.platform.sync(USERS, REFS, sync_id="s1")
    first = next(outcomes)
    nobody_listens.set()
    outcomes.close()
    begun = {row.partition for row in company.platform.syncs()}
    assert first.partition in begun
    assert len(begun) < len(REFS)
    again = list(company.platform.sync(USERS, REFS, sync_id="s1"))
    assert {outcome.status for outcome in again} == {Status.APPLIED}
    company.platform.close()


def test_one_integrations_failure_costs_the_others_nothing(company: Company) -> None:
    worlds = connect_all(company)
    worlds[2].fail_at[1] = ProviderUnavailable("no answer")
    worlds[4].fail_at[0] = ValueError("a defect of ours")
    outcomes = {
        outcome.partition: outcome
        for outcome in company.platform.sync(USERS, REFS, sync_id="s1", run_id="run-7")
    }
    failed = {key for key, outcome in outcomes.items() if outcome.status is Status.FAILED}
    assert failed == {REFS[2].partition_key, REFS[4].partition_key}
    assert outcomes[REFS[2].partition_key].retryable
    defect = outcomes[REFS[4].partition_key]
    assert defect.error == f"{REFS[4]}: unexpected error, ValueError: a defect of ours"
    assert not defect.retryable
    for ref in REFS:
        assert len(company.users(ref)) == (0 if ref.partition_key in failed else 12)
        (row,) = company.platform.syncs(ref)
        assert (row.status, row.run_id) == (outcomes[ref.partition_key].status, "run-7")


def test_progress_tells_every_committed_batch(company: Company) -> None:
    company.connect(world=World(people(23), page_size=5))
    told: list[SyncProgress] = []
    company.sync(pages_per_batch=2, progress=told.append)
    extracted = [progress for progress in told if progress.stage == "extract"]
    assert {progress.partition for progress in extracted} == {"acme:main"}
    assert [(progress.batches, progress.records) for progress in extracted] == [
        (1, 10),
        (2, 20),
        (3, 23),
    ]


def test_progress_names_every_stage_with_pages_and_the_share_of_the_total(
    company: Company,
) -> None:
    company.connect(world=World(people(23), page_size=5))
    told: list[SyncProgress] = []
    company.sync(pages_per_batch=9, progress=told.append)
    assert [progress.stage for progress in told] == ["open", "fetch", "extract", "detect", "apply"]
    assert (told[-1].pages, told[-1].records, told[-1].batches) == (5, 23, 1)
    assert str(msgspec.structs.replace(told[2], total=46, seconds=3.0)) == (
        "acme:main extract: 5 pages, 1 batch, 23 of 46 records (50%), 3 s"
    )


def test_an_integration_never_synced_has_nothing_to_show(company: Company) -> None:
    company.connect(world=World(people(3)))
    platform = company.platform
    assert platform.records(USERS, ACME) == []
    assert platform.changes(USERS, ACME) == []
    assert platform.rejected(USERS, ACME) == []
    assert platform.syncs(ACME) == []
    assert platform.unfinished_sync_id(USERS, ACME) is None
    assert platform.counts(USERS, ACME) == {
        "partition": "acme:main",
        "sync_id": None,
        "staged": 0,
        "unique": 0,
        "duplicates": 0,
        "latest": 0,
    }
    assert not platform.warehouses.exists(ACME)


def test_an_integration_nobody_registered_is_not_found(company: Company) -> None:
    platform = company.platform
    for ask in (platform.records, platform.changes, platform.rejected, platform.counts):
        with pytest.raises(NotFound, match=r"^no:body is not registered"):
            ask(USERS, NOBODY)
    for act in (platform.syncs, platform.remove):
        with pytest.raises(NotFound, match=r"^no:body is not registered"):
            act(NOBODY)
    assert not platform.warehouses.exists(NOBODY)


def test_the_totals_are_of_the_newest_sync_and_of_the_table_now(company: Company) -> None:
    world = company.connect(world=World([*people(10), *people(3)]))
    company.sync(sync_id="s1")
    world.records = people(9)
    world.fail_at[0] = ProviderUnavailable("away")
    company.sync(sync_id="s2")
    totals = company.platform.counts(USERS, ACME)
    assert (totals["sync_id"], totals["staged"], totals["latest"]) == ("s2", 0, 10)
    world.fail_at.clear()
    company.sync(sync_id="s2")
    totals = company.platform.counts(USERS, ACME)
    assert (totals["staged"], totals["unique"], totals["latest"]) == (9, 9, 9)


def test_the_newest_syncs_of_all_or_of_one_come_first_and_as_many_as_asked(
    company: Company,
) -> None:
    connect_all(company, users=2)
    for sync_id in ("s1", "s2"):
        list(company.platform.sync(USERS, REFS[:3], sync_id=sync_id))
    assert [row.sync_id for row in company.platform.syncs(limit=4)] == ["s2", "s2", "s2", "s1"]
    assert [row.sync_id for row in company.platform.syncs(REFS[0])] == ["s2", "s1"]
