"""What is in one tenant's warehouse file, byte by byte: nothing of another tenant.

One process syncs many tenants in turn, and its memory holds what it read of earlier ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import Company, person

TENANTS = ("Ada", "Bob", "Cyd", "Dan", "Eve")
ROUNDS = 3


def records(tenant: str, count: int, renamed: int) -> list[dict[str, object]]:
    """People whose names and addresses say which tenant they belong to."""
    return [
        person(
            number,
            name=f"{'Renamed ' if number < renamed else ''}Zebulon {tenant} {number:03}",
            email=f"zebulon-{number:03}@{tenant}.example",
        )
        for number in range(count)
    ]


def owners(file: Path) -> set[str]:
    """The tenants whose texts are anywhere in a file."""
    content = file.read_bytes()
    return {
        tenant
        for tenant in TENANTS
        if f"Zebulon {tenant}".encode() in content or f"@{tenant}.example".encode() in content
    }


@pytest.mark.slow
def test_no_file_holds_texts_that_the_memory_held_of_another_tenant(tmp_path: Path) -> None:
    for number in range(ROUNDS):
        company = Company(tmp_path / str(number))
        refs = {tenant: IntegrationRef(tenant.lower(), "main") for tenant in TENANTS}
        worlds = {tenant: company.connect(ref) for tenant, ref in refs.items()}
        for sync_id, count, renamed in (("s1", 200, 0), ("s2", 199, 30), ("s3", 190, 30)):
            for tenant, ref in refs.items():
                worlds[tenant].records = records(tenant, count, renamed)
                list(company.platform.sync(USERS, [ref], sync_id=sync_id))
        company.platform.close()
        for tenant, ref in refs.items():
            (file,) = (tmp_path / str(number)).rglob(f"{ref.organization_id}/*.duckdb")
            assert owners(file) == {tenant}


def test_a_file_has_no_index(company: Company) -> None:
    """DuckDB writes the nodes of an index with whatever stood in their memory before."""
    company.connect()
    company.sync()
    with company.platform.warehouses.open(IntegrationRef("acme", "main")) as warehouse:
        found = warehouse.execute(
            "SELECT table_name, constraint_type FROM duckdb_constraints()"
            " WHERE constraint_type IN ('PRIMARY KEY', 'UNIQUE', 'FOREIGN KEY')"
            " UNION ALL SELECT table_name, 'INDEX' FROM duckdb_indexes()"
        ).fetchall()
    assert found == []
