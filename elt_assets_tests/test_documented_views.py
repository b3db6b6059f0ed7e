"""The SQL that the documentation gives to analysts works on the files as they are."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.duckdb_extensions import load_extension
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person
from elt_assets_tests.testbed.lakes import Lake

OPERATIONS = Path(__file__).parents[1] / "docs" / "operations.md"


def documented(sign: str) -> str:
    """The one block of SQL in which `sign` stands."""
    blocks = re.findall(r"```sql\n(.*?)```", OPERATIONS.read_text("utf-8"), re.DOTALL)
    (found,) = (block for block in blocks if sign in block)
    return str(found)


def test_the_documented_views_read_all_tenants_at_once(tmp_path: Path) -> None:
    company = Company(tmp_path / "home")
    for ref in (ACME, IntegrationRef("other", "main")):
        world = company.connect(ref, World(people(5)))
        company.sync(ref)
        world.records = [person(0, name="Renamed"), *people(4)[1:], person(4, status="DELETED")]
        company.sync(ref, sync_id="s2")
    company.platform.close()
    sql = documented("CREATE VIEW users_changes")
    with duckdb.connect(":memory:") as connection:
        connection.execute(sql.replace("'olap/", f"'{tmp_path}/home/olap/"))
        changes = connection.execute(
            "SELECT organization_id, count(*) FROM users_changes GROUP BY 1 ORDER BY 1"
        ).fetchall()
        assert changes == [("acme", 7), ("other", 7)]
        versions = connection.execute(
            "SELECT organization_id, external_id, name, valid_to IS NULL FROM users_history"
            " WHERE external_id IN ('u-0000', 'u-0004') ORDER BY 1, 2, valid_from"
        ).fetchall()
        assert versions == [
            (organization, *version)
            for organization in ("acme", "other")
            for version in (
                ("u-0000", "Person 0", False),
                ("u-0000", "Renamed", True),
                ("u-0004", "Person 4", False),
            )
        ]


def test_the_documented_query_reads_the_changes_of_a_lake_beside_syncs(
    tmp_path: Path, lake: Lake
) -> None:
    company = Company(tmp_path / "home")
    for ref in (ACME, IntegrationRef("other", "main")):
        world = company.connect(ref, World(people(20)))
        company.sync(ref)
        world.records = [person(0, name="Renamed"), *people(20)[1:]]
        company.sync(ref, sync_id="s2")
    address = lake.server.address("hr")
    sql = (
        documented("AS books (TYPE postgres")
        .replace(
            "'ducklake:postgres:dbname=app host=db.example.com'", f"'ducklake:postgres:{address}'"
        )
        .replace("'dbname=app host=db.example.com'", f"'{address}'")
        .replace("SCHEMA 'warehouse'", f"SCHEMA '{lake.schema}'")
        .replace("books.warehouse.", f"books.{lake.schema}.")
    )
    with company.platform.warehouses.open(ACME), duckdb.connect(":memory:") as connection:
        for name in ("ducklake", "postgres_scanner"):
            load_extension(connection, name)
        changes = connection.execute(sql).to_arrow_table()
    company.platform.close()
    assert changes.num_rows == 21
    assert "Renamed" in changes["name"].to_pylist()
