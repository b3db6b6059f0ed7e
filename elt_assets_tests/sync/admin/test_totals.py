"""The ledger's totals are those that counting the tables gives."""

from __future__ import annotations

from typing import Any

import pytest

from elt_assets.errors import ProviderUnavailable
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin.totals import totals
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people

OTHER = IntegrationRef("other", "main")


def of(company: Company, ref: IntegrationRef = ACME) -> dict[str, Any]:
    (found,) = totals(company.platform, USERS, [ref])
    return found


def test_totals_are_those_of_the_newest_sync_of_each(company: Company) -> None:
    company.connect(ACME, World([*people(10), *people(3)]))
    company.connect(OTHER, World(people(4)))
    company.connect(IntegrationRef("new", "main"), World(people(4)))
    for ref in (ACME, OTHER):
        company.sync(ref, sync_id="s1")
    company.worlds["acme:main"].records = people(9)
    company.sync(ACME, sync_id="s2")
    company.platform.undo(USERS, OTHER, "s1")
    refs = [one.ref for one in company.platform.registry.all()]
    exact = [company.platform.counts(USERS, ref) for ref in refs]
    assert totals(company.platform, USERS, refs) == exact
    assert (exact[0]["sync_id"], exact[0]["staged"], exact[0]["latest"]) == ("s2", 9, 9)


@pytest.mark.files
def test_the_totals_of_settled_syncs_need_no_warehouse(company: Company) -> None:
    company.connect(ACME, World([*people(10), *people(3)]))
    company.sync(sync_id="s1")
    company.platform.warehouses.path(ACME).unlink()
    found = of(company)
    assert (found["staged"], found["unique"], found["duplicates"], found["latest"]) == (
        13,
        10,
        3,
        10,
    )


def test_a_sync_that_failed_in_the_middle_is_counted_in_its_warehouse(company: Company) -> None:
    world = company.connect(ACME, World(people(30)))
    company.sync(sync_id="s1")
    world.records = [*people(10), *people(10), *people(10)]
    world.fail_at[2] = ProviderUnavailable("away")
    company.sync(sync_id="s2", pages_per_batch=1)
    found = of(company)
    assert (found["sync_id"], found["staged"], found["unique"], found["latest"]) == (
        "s2",
        20,
        10,
        30,
    )


def test_rows_whose_sync_is_not_in_the_ledger_are_counted(company: Company) -> None:
    world = company.connect(ACME, World(people(7)))
    company.sync(sync_id="s1")
    with company.platform.database.transaction() as transaction:
        transaction.execute("DELETE FROM syncs")
    world.fail_at[0] = ProviderUnavailable("away")
    company.sync(sync_id="s2")
    assert of(company)["latest"] == 7
