"""The engine's promises where the operational database is on a server that may go away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.storage.from_settings import operational_database
from elt_assets.storage.operational.database import Transaction
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import versions
from elt_assets.sync.streams import USERS, StreamKey
from elt_assets_tests.conftest import on_postgresql
from elt_assets_tests.storage.operational.test_postgres_database import end_sessions
from elt_assets_tests.sync.worlds import ACME, Company, World, expected, people, person
from elt_assets_tests.testbed.servers import Server


@pytest.fixture
def company(
    postgresql: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Company]:
    on_postgresql(postgresql, monkeypatch)
    made = Company(tmp_path / "home")
    yield made
    made.platform.close()


def losing_its_session(company: Company, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next apply's session ends just before it would commit."""
    plain, pending = company.platform.database.transaction, [True]

    @contextmanager
    def transaction(on: str = "") -> Iterator[Transaction]:
        with plain(on) as opened:
            yield opened
            written = opened.rows("SELECT status FROM syncs WHERE status = 'applied'")
            if pending and len(written) == 2:
                pending.clear()
                end_sessions(company.platform.database, server)  # type: ignore[arg-type]

    monkeypatch.setattr(company.platform.database, "transaction", transaction)


def test_an_apply_whose_session_ended_before_its_commit_is_made_when_it_is_tried_again(
    company: Company, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = company.connect(world=World(people(10)))
    company.sync()
    world.records = [person(0, name="Renamed"), *people(12)[1:]]
    losing_its_session(company, postgresql, monkeypatch)
    lost = company.sync(sync_id="s2")
    assert (lost.status, lost.retryable) == (Status.FAILED, True)
    again = company.sync(sync_id="s2")
    assert (again.status, again.counts.inserts, again.counts.updates) == (Status.APPLIED, 2, 1)
    assert company.users() == expected(world.records)
    assert versions.current(company.platform.database, StreamKey(USERS, ACME)).version == 2


def test_an_apply_whose_commit_was_never_answered_is_neither_lost_nor_made_twice(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has committed, and the answer did not arrive: the ledger knows."""
    from elt_assets.errors import WriteInterrupted

    world = company.connect(world=World(people(10)))
    company.sync()
    world.records = people(12)
    plain, pending = company.platform.database.transaction, [True]

    @contextmanager
    def transaction(on: str = "") -> Iterator[Transaction]:
        with plain(on) as opened:
            yield opened
            applied = len(opened.rows("SELECT 1 AS x FROM syncs WHERE status = 'applied'")) == 2
        if pending and applied:
            pending.clear()
            raise WriteInterrupted("the answer to COMMIT was lost")

    monkeypatch.setattr(company.platform.database, "transaction", transaction)
    first = company.sync(sync_id="s2")
    assert (first.status, first.retryable) == (Status.FAILED, True)
    again = company.sync(sync_id="s2")
    assert (again.status, again.counts.inserts, again.recorded) == (Status.APPLIED, 2, True)
    assert len(company.users()) == 12
    assert versions.current(company.platform.database, StreamKey(USERS, ACME)).version == 2
    assert company.sync(sync_id="s3").status is Status.UNCHANGED
    assert company.changes(sync_id="s2") == [("INSERT", "u-0010"), ("INSERT", "u-0011")]


@pytest.mark.files("two machines with a warehouse each")
def test_a_worker_that_was_cut_off_and_comes_back_applies_nothing_old(
    company: Company, tmp_path: Path
) -> None:
    """Two homes with one database: what keeps the other out is the version alone."""
    world = company.connect(world=World(people(10)))
    company.sync()
    world.records = people(12)
    elsewhere = Company(tmp_path / "elsewhere")
    elsewhere.worlds["acme:main"] = World(people(15))

    def overtaken(page: int) -> None:
        # While this one reads its page, the other worker begins later and settles.
        world.on_page = lambda _: None
        assert elsewhere.sync(sync_id="s3").status is Status.APPLIED

    world.on_page = overtaken
    late = company.sync(sync_id="s2")
    assert late.status is Status.SUPERSEDED
    assert len(company.users()) == 15
    elsewhere.platform.close()


@pytest.mark.files("two machines with a warehouse each")
def test_a_worker_that_compared_with_what_is_no_more_compares_again(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An extraction that began earlier settles between this one's comparing and applying."""
    world = company.connect(world=World(people(10)))
    elsewhere = Company(tmp_path / "elsewhere")
    old = elsewhere.worlds["acme:main"] = World(people(12))
    begun, go_on = threading.Event(), threading.Event()

    def wait(page: int) -> None:
        begun.set()
        go_on.wait()

    old.on_page = wait
    outcomes: list[Outcome] = []
    other = threading.Thread(target=lambda: outcomes.append(elsewhere.sync(sync_id="old")))
    other.start()
    begun.wait()
    plain, calls = company.platform.database.transaction, []

    def transaction(on: str = ""):  # type: ignore[no-untyped-def]
        calls.append(on)
        if len(calls) == 2:
            # The first one has opened the sync; this one applies what was compared.
            go_on.set()
            other.join()
        return plain(on)

    monkeypatch.setattr(company.platform.database, "transaction", transaction)
    outcome = company.sync(sync_id="new")
    assert [one.status for one in outcomes] == [Status.APPLIED]
    assert (outcome.status, outcome.counts.deletes, len(calls)) == (Status.APPLIED, 2, 3)
    assert company.users() == expected(world.records)
    assert versions.current(company.platform.database, StreamKey(USERS, ACME)).version == 2
    elsewhere.platform.close()


@pytest.mark.campaign
def test_a_server_that_restarts_in_the_middle_of_an_apply_costs_a_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed as by a power cut: what it had answered is there, and nothing of the rest."""
    from elt_assets_tests.testbed.servers import postgresql

    with postgresql() as server:
        on_postgresql(server, monkeypatch)
        company = Company(tmp_path / "home")
        world = company.connect(world=World(people(2_000), page_size=500))
        company.sync()
        world.records = [*people(2_500)[500:], person(1, name="Renamed")]
        database = operational_database(load_settings())
        moments = ["INSERT INTO users_latest", "DELETE FROM users_latest", "UPDATE syncs"]
        for number, moment in enumerate(moments):
            world.records = [*world.records, person(9_000 + number)]
            _restarting(company, server, moment, monkeypatch)
            first = company.sync(sync_id=f"restart-{number}", pages_per_batch=2)
            assert (first.status, first.retryable) == (Status.FAILED, True), first.error
            again = company.sync(sync_id=f"restart-{number}", pages_per_batch=2)
            assert again.status in (Status.APPLIED, Status.QUARANTINED), again.error
            standing = set(company.users())
            assert {record["id"] for record in world.records} <= standing
            assert versions.current(database, StreamKey(USERS, ACME)).version == 2 + number
        database.close()
        company.platform.close()
        with SyncService.open(load_settings(home=tmp_path / "home")) as platform:
            assert len(platform.records(USERS, ACME)) == len(standing)


def _restarting(
    company: Company, server: Server, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is killed and started again before that statement of the next apply."""
    plain, pending = company.platform.database.transaction, [True]

    @contextmanager
    def transaction(on: str = "") -> Iterator[Transaction]:
        with plain(on) as opened:
            execute, advanced = opened.execute, []

            def watched(sql: str, parameters=()):  # type: ignore[no-untyped-def]
                if "integration_versions" in sql:
                    advanced.append(True)
                if pending and advanced and moment in sql:
                    pending.clear()
                    server.restart()
                return execute(sql, parameters)

            monkeypatch.setattr(opened, "execute", watched)
            yield opened

    monkeypatch.setattr(company.platform.database, "transaction", transaction)
