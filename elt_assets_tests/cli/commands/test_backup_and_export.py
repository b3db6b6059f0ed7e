"""Backup and export as commands: what they print, and that a restored home is in order."""

from __future__ import annotations

import duckdb

from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.cli.conftest import Command, Process
from elt_assets_tests.sync.worlds import ACME, Company, World, people


def filled(command: Command) -> None:
    company = Company(command.home)
    for ref in (ACME, IntegrationRef("other", "main")):
        company.connect(ref, World(people(12)))
        company.sync(ref)
    company.platform.close()


def test_a_backup_put_in_the_place_of_a_home_passes_every_check(
    elt_assets: Command, elt_assets_process: Process
) -> None:
    filled(elt_assets)
    made = elt_assets_process("backup", "copy", "--json")
    assert (made.status, made.document["integrations"], made.document["left"]) == (0, 2, [])
    (elt_assets.folder / "copy").rename(elt_assets.folder / "restored")
    checked = elt_assets("check", more={"ELT_ASSETS_HOME": str(elt_assets.folder / "restored")})
    assert checked.status == 0, checked
    again = elt_assets("backup", "restored")
    assert "exists already" in again.complaint


def test_an_export_reports_how_much_it_wrote(elt_assets: Command) -> None:
    filled(elt_assets)
    made = elt_assets("export", "bi", "--stream", "users", "--json")
    assert made.status == 0, made
    assert made.document["rows"] == {
        "users_latest": 24,
        "users_changes": 24,
        "users_history": 24,
    }
    files = elt_assets.folder / "bi" / "users_latest" / "**" / "*.parquet"
    (found,) = duckdb.sql(
        f"SELECT count(DISTINCT organization_id) FROM read_parquet('{files}')"
    ).fetchall()
    assert found == (2,)
    one = elt_assets("export", "bi", "--integration", "acme:main", "--table", "latest")
    assert ["users_latest", "12"] in [line.split() for line in one.out.splitlines()]
    assert "is not registered" in elt_assets("export", "bi", "--integration", "no:body").complaint
