"""Removing an integration while others are at it: afterwards nothing of it is left."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest

from elt_assets.errors import InvalidInput, NotFound, RetryableError, WarehouseBusy
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.outcome import Status
from elt_assets.sync.state import ledger, registry
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people


def rows_left(company: Company) -> int:
    tables = ("users_latest", "syncs", "sync_errors", "integration_versions")
    return sum(
        company.platform.database.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"]
        for table in tables
    )


def test_a_sync_that_waited_for_the_file_finds_that_its_integration_is_gone(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.connect(world=World(people(5)))
    plain = company.platform.warehouses.open

    def open_after_the_removal(
        ref: IntegrationRef, **options: bool
    ) -> AbstractContextManager[Warehouse]:
        with company.platform.database.transaction() as transaction:
            registry.remove(transaction, ref)
        return plain(ref, **options)

    monkeypatch.setattr(company.platform.warehouses, "open", open_after_the_removal)
    outcome = company.sync()
    assert outcome.status is Status.FAILED
    assert "removed" in (outcome.error or "")
    assert rows_left(company) == 0


def test_a_sync_of_a_removed_integration_leaves_no_trace(company: Company) -> None:
    company.connect(world=World(people(5)))
    company.sync()
    company.platform.remove(ACME)
    assert company.sync().status is Status.FAILED
    assert rows_left(company) == 0


@pytest.mark.files
def test_nobody_opens_the_file_while_it_is_being_removed(company: Company) -> None:
    company.connect(world=World(people(5)))
    company.sync()
    path = company.platform.warehouses.path(ACME)
    with company.platform.warehouses.removing(ACME):
        assert not path.exists()
    company.sync(sync_id="s2")
    with (
        company.platform.warehouses.open(ACME),
        pytest.raises(WarehouseBusy),
        company.platform.warehouses.removing(ACME),
    ):
        pass
    assert path.exists()


def test_a_removal_that_was_interrupted_can_be_repeated(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    company.connect(world=World(people(5)))
    company.sync()
    with monkeypatch.context() as patched:
        patched.setattr(registry, "remove", interrupt)
        with pytest.raises(Interrupted):
            company.platform.remove(ACME)
    # Until then everybody is told so, and it is not taken for one that is connected.
    assert "elt-assets integrations remove acme:main" in (company.sync(sync_id="s2").error or "")
    known = company.platform.registry.get(ACME)
    with pytest.raises(InvalidInput, match="is being removed"):
        company.platform.registry.add(ACME, known.provider, known.provider_data, if_absent=True)
    company.platform.remove(ACME)
    assert rows_left(company) == 0
    with pytest.raises(NotFound):
        company.platform.records(USERS, ACME)


@pytest.mark.files
def test_a_folder_that_went_with_a_removal_is_made_again(company: Company) -> None:
    """A sync that waited for the removal to end finds neither file nor folder."""
    company.connect(world=World(people(5)))
    folder = company.platform.warehouses.path(ACME).parent
    with company.platform.warehouses.open(ACME):
        pass
    company.platform.warehouses.remove(ACME)
    assert not folder.exists()
    assert company.sync().status is Status.APPLIED


@pytest.mark.files
def test_a_reader_that_comes_too_late_is_told_so_and_makes_no_folder(company: Company) -> None:
    company.connect(world=World(people(5)))
    with (
        pytest.raises(RetryableError, match="removed before it could be read"),
        company.platform.warehouses.open(ACME, read_only=True),
    ):
        pass
    assert not company.platform.warehouses.path(ACME).parent.exists()


def test_nothing_begins_once_a_removal_has_begun(company: Company) -> None:
    """A sync that finds a new file in the place of the old one, before the rows are gone."""
    company.connect(world=World(people(5)))
    company.sync()
    with company.platform.database.transaction() as transaction:
        registry.begin_removal(transaction, ACME)
    company.platform.warehouses.remove(ACME)
    assert company.sync(sync_id="s2").status is Status.FAILED
    assert [row.sync_id for row in company.platform.syncs(ACME)] == ["s1"]


def test_a_sync_that_lost_its_ledger_row_applies_nothing(company: Company) -> None:
    world = company.connect(world=World(people(5)))

    def forget(page: int) -> None:
        with company.platform.database.transaction() as transaction:
            ledger.forget(transaction, ACME)

    world.on_page = forget
    outcome = company.sync()
    assert outcome.status is Status.FAILED
    assert "no longer in the ledger" in (outcome.error or "")
    assert rows_left(company) == 0


def test_a_removal_that_has_to_wait_too_long_changes_nothing(company: Company) -> None:
    company.connect(world=World(people(5)))
    company.sync()
    with company.platform.warehouses.open(ACME), pytest.raises(WarehouseBusy):
        company.platform.remove(ACME)
    assert company.sync(sync_id="s2").status is Status.UNCHANGED
