"""Integrations that wait for their providers: they hold a lease and pages, no slot and no file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from elt_assets.errors import ProviderUnavailable, WarehouseBusy
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.duckdb_instances import Instance, Instances
from elt_assets.storage.warehouse.warehouse_files import FileWarehouse, FileWarehouses
from elt_assets.sync.extract import workplace
from elt_assets.sync.outcome import Status
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, expected, people

SLOTS = 2
LOST = 60.0
"""Seconds after which a test stops to wait for what never comes, and fails."""


class Lent:
    """How many instances are lent, and the most at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = self.times = 0
        self.changed = threading.Condition()
        plain = Instances.lent

        @contextmanager
        def counted(instances: Instances) -> Iterator[Instance]:
            with plain(instances) as instance:
                self._add(1)
                try:
                    yield instance
                finally:
                    self._add(-1)

        monkeypatch.setattr(Instances, "lent", counted)

    def _add(self, number: int) -> None:
        with self.changed:
            self.now += number
            self.times += number > 0
            self.most = max(self.most, self.now)
            self.changed.notify_all()

    def wait_for_none(self) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: not self.now, LOST), "nothing was given back"


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> Lent:
    return Lent(monkeypatch)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Company]:
    opened = Company(tmp_path / "home", concurrency=SLOTS, warehouse_url=None)
    yield opened
    opened.platform.close()


def fleet(company: Company, count: int, on_page: Callable[[int], None]) -> list[IntegrationRef]:
    refs = [IntegrationRef("acme", f"t-{number}") for number in range(count)]
    for ref in refs:
        company.connect(ref, World(people(25), on_page=on_page))
    return refs


def test_forty_integrations_are_fetched_at_once_and_two_files_are_attached(
    files: Company, lent: Lent
) -> None:
    """No page comes before every integration waits for its own."""
    everybody = threading.Barrier(40, timeout=LOST)

    def on_page(number: int) -> None:
        if number == 1:
            everybody.wait()

    refs = fleet(files, 40, on_page)
    outcomes = list(files.platform.sync(USERS, refs, sync_id="s1"))
    assert [one.status for one in outcomes] == [Status.APPLIED] * 40
    assert lent.most == SLOTS
    assert files.users(refs[7]) == expected(people(25))


def test_a_provider_that_answers_at_once_causes_no_further_attachment(
    files: Company, lent: Lent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workplace, "_GRACE", 60.0)
    files.connect(world=World(people(60)))
    assert files.sync(pages_per_batch=2).status is Status.APPLIED
    assert lent.times == 1


def test_a_sync_that_leaves_its_workplace_at_every_wait_finds_what_it_left(
    files: Company, lent: Lent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workplace, "_GRACE", 0.0)
    world = files.connect(world=World(people(60)))
    world.on_page = lambda _: lent.wait_for_none()
    outcome = files.sync(pages_per_batch=1)
    assert (outcome.status, outcome.batches) == (Status.APPLIED, 6)
    assert lent.times >= 2
    assert files.users() == expected(world.records)
    del world.records[:3]
    again = files.sync(sync_id="s2", pages_per_batch=1)
    assert again.counts.staged == 57


def test_while_a_sync_waits_no_other_begins_and_it_is_not_taken_for_interrupted(
    files: Company, lent: Lent
) -> None:
    world, found = files.connect(world=World(people(30))), []
    other = FileWarehouses(files.platform.settings.home / "olap", lock_wait=0)

    def on_page(_: int) -> None:
        lent.wait_for_none()
        found.append(files.platform.interrupted())
        for read_only in (False, True):
            with (
                pytest.raises(WarehouseBusy, match="in use by another sync of this process"),
                other.open(ACME, read_only=read_only),
            ):
                pass
        with pytest.raises(WarehouseBusy):
            other.remove(ACME)

    world.on_page = on_page
    assert files.sync().status is Status.APPLIED
    assert found == [[], [], []]
    assert not files.platform.warehouses.is_held(ACME)


def test_a_provider_that_fails_while_its_sync_waits_leaves_what_is_committed(
    files: Company, lent: Lent
) -> None:
    world = files.connect(world=World(people(60)))
    world.on_page = lambda number: lent.wait_for_none() if number == 3 else None
    world.fail_at = {3: ProviderUnavailable("away")}
    outcome = files.sync(pages_per_batch=1)
    assert (outcome.status, outcome.counts.staged) == (Status.FAILED, 30)
    world.fail_at, served = {}, len(world.served)
    assert files.sync(pages_per_batch=1).status is Status.APPLIED
    assert world.served[served:] == [3, 4, 5]
    assert files.users() == expected(world.records)


def test_a_file_that_another_program_holds_at_the_return_fails_that_sync_alone(
    files: Company, lent: Lent, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = files.connect(world=World(people(30)))

    def refuse(_: FileWarehouse) -> None:
        raise WarehouseBusy("acme:main: held by an analyst")

    plain = FileWarehouse.attach
    world.on_page = lambda _: lent.wait_for_none()
    monkeypatch.setattr(FileWarehouse, "attach", refuse)
    outcome = files.sync()
    assert (outcome.status, outcome.error) == (
        Status.FAILED,
        "acme:main: held by an analyst",
    )
    monkeypatch.setattr(FileWarehouse, "attach", plain)
    assert files.sync().status is Status.APPLIED


def test_a_run_that_is_stopped_while_integrations_wait_leaves_no_thread_and_no_lease(
    files: Company, lent: Lent
) -> None:
    """The first integration settles; the caller then closes, and the others have their pages."""
    closes, waiting = threading.Event(), threading.Semaphore(0)

    def on_page(number: int) -> None:
        if number == 1:
            waiting.release()
            assert closes.wait(LOST)

    refs = fleet(files, 9, on_page)
    files.worlds[refs[0].partition_key].on_page = lambda number: None
    before = threading.active_count()
    with closing(files.platform.sync(USERS, refs, sync_id="s1", pages_per_batch=1)) as outcomes:
        assert next(outcomes).status is Status.APPLIED
        for _ in refs[1:]:
            assert waiting.acquire(timeout=LOST)
        closes.set()
    assert threading.active_count() == before
    assert not any(files.platform.warehouses.is_held(ref) for ref in refs)
    rest = list(files.platform.sync(USERS, refs, sync_id="s1", pages_per_batch=1))
    assert {one.status for one in rest} == {Status.APPLIED}
    assert files.users(refs[8]) == expected(people(25))
