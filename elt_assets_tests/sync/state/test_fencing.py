"""Two workers with homes of their own: who was cut off and comes back changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elt_assets.errors import WarehouseBusy
from elt_assets.sync.apply.apply_transaction import Application
from elt_assets.sync.outcome import Outcome, Stage, Status
from elt_assets.sync.state.fencing import check_fence, raise_fence
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person
from elt_assets_tests.testbed.lakes import Lake


def cut_off(lake: Lake) -> None:
    """End every session that holds a lock, as the server does when its peer is gone."""
    lake.server.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks"
        " WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
    )


def test_what_a_cut_off_worker_would_apply_late_is_refused(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has applied anything since, so that neither version nor order would tell."""
    one, two = Company(tmp_path / "one"), Company(tmp_path / "two")
    world = one.connect(world=World(people(10)))
    two.worlds[ACME.partition_key] = world
    plain = Application.run

    def late(application: Application, *arguments: Any, **named: Any) -> Outcome:
        monkeypatch.setattr(Application, "run", plain)
        cut_off(lake)
        world.records = [person(0, name="Renamed"), *people(10)[1:]]
        assert two.sync(sync_id="s2", until=Stage.STAGING).status is Status.EXTRACTING
        return plain(application, *arguments, **named)

    monkeypatch.setattr(Application, "run", late)
    refused = one.sync(sync_id="s1")
    assert (refused.status, refused.retryable) == (Status.FAILED, True)
    assert "another worker took it over" in (refused.error or "")
    assert one.users() == {}
    assert two.sync(sync_id="s2").status is Status.APPLIED
    assert two.users()["u-0000"]["name"] == "Renamed"
    for company in (one, two):
        company.platform.close()


def test_a_smaller_number_is_refused_and_the_same_one_is_not(company: Company) -> None:
    database = company.platform.database
    with database.transaction() as transaction:
        raise_fence(transaction, ACME, 5)
        raise_fence(transaction, ACME, 7)
        check_fence(transaction, ACME, 7)
        raise_fence(transaction, ACME, 7)
        for late in (raise_fence, check_fence):
            with pytest.raises(WarehouseBusy):
                late(transaction, ACME, 5)


def test_a_lock_that_cannot_be_lost_needs_no_number(company: Company) -> None:
    company.connect(world=World(people(3)))
    company.sync()
    assert company.platform.database.rows("SELECT * FROM integration_fences") == []
