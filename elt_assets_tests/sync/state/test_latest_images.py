"""Rows of the latest table beside the warehouse's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from elt_assets.errors import RetryableError
from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.state import latest_table
from elt_assets.sync.state.latest_images import LatestImages
from elt_assets.sync.streams import USERS, StreamKey
from elt_assets_tests.sync.worlds import ACME, Company, World, people

COUNT = 25_000
"""More than are read in one piece."""


@pytest.fixture
def synced(company: Company) -> Company:
    company.connect(world=World(people(COUNT), page_size=5_000))
    company.sync(sync_id="s1")
    return company


@pytest.fixture
def warehouse(synced: Company) -> Iterator[Warehouse]:
    with synced.platform.warehouses.open(ACME) as opened:
        yield opened


@pytest.fixture
def images(synced: Company, warehouse: Warehouse) -> LatestImages:
    return LatestImages(warehouse, synced.platform.database, StreamKey(USERS, ACME))


def rows(warehouse: Warehouse, sql: str) -> list[tuple[Any, ...]]:
    return warehouse.execute(sql).fetchall()


def test_images_of_chosen_rows_are_those_of_all(images: LatestImages, warehouse: Warehouse) -> None:
    images.load()
    images.load_of("SELECT id FROM latest_rows LIMIT 15000")
    matching = """
        SELECT count(*), count(DISTINCT id)
        FROM latest_images
        JOIN latest_rows USING (id)
        WHERE latest_images.image = latest_rows.image
    """
    assert rows(warehouse, matching) == [(15_000, 15_000)]
    assert rows(warehouse, "SELECT count(*) FROM latest_images") == [(15_000,)]


def test_no_rows_are_chosen(images: LatestImages, warehouse: Warehouse) -> None:
    images.load_hashes()
    images.load_of("SELECT id FROM latest_rows WHERE false")
    assert rows(warehouse, "SELECT * FROM latest_images") == []


def test_a_row_that_went_meanwhile_is_not_passed_over(
    synced: Company, images: LatestImages
) -> None:
    images.load_hashes()
    with synced.platform.database.transaction() as transaction:
        latest_table.remove_all(transaction, StreamKey(USERS, ACME))
    with pytest.raises(RetryableError, match="disappeared while they were compared"):
        images.load_of("SELECT id FROM latest_rows LIMIT 1")
