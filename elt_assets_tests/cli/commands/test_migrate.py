"""Settings that are checked, and an installation that moves: what the commands print."""

from __future__ import annotations

import pytest

from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.cli.conftest import Command
from elt_assets_tests.sync.worlds import ACME, Company, World, people
from elt_assets_tests.testbed.lakes import Lake
from elt_assets_tests.testbed.servers import PASSWORD, Server


@pytest.fixture
def settings(postgresql: Server) -> dict[str, str]:
    """What an installation on an empty PostgreSQL is told."""
    return postgresql.settings("moved_by_a_command")


def filled(command: Command) -> None:
    company = Company(command.home, operational_url=None, warehouse_url=None, warehouse_data=None)
    for ref in (ACME, IntegrationRef("other", "main")):
        company.connect(ref, World(people(12)))
        company.sync(ref)
    company.platform.close()


def test_an_installation_moves_to_postgresql_and_continues_there(
    elt_assets: Command, settings: dict[str, str]
) -> None:
    filled(elt_assets)
    url = settings.pop("ELT_ASSETS_OPERATIONAL_URL")
    before = elt_assets("users", "acme:main", "--json").document
    moved = elt_assets("migrate", "--to", url, "--json", more=settings)
    assert moved.status == 0, moved
    rows = {table["table"]: table["compared"] for table in moved.document["tables"]}
    assert (rows["users_latest"], rows["connected_integrations"], rows["syncs"]) == (24, 2, 2)
    assert f"from now on set ELT_ASSETS_OPERATIONAL_URL={url}" in moved.err
    assert "was moved to postgresql://" in elt_assets("users", "acme:main").complaint
    there = settings | {"ELT_ASSETS_OPERATIONAL_URL": url}
    assert elt_assets("users", "acme:main", "--json", more=there).document == before
    again = elt_assets("migrate", "--to", url, more=there)
    assert "is at postgresql://owner@127.0.0.1" in again.complaint
    health = elt_assets("health", "--no-server", "--json", more=there)
    assert health.document["ready"], health
    checked = elt_assets("config", "check", "--json", more=there)
    assert checked.status == 0, checked
    details = {one["name"]: one["detail"] for one in checked.document}
    assert details["operational database"].startswith("PostgreSQL ")
    assert details["operational database"].endswith("holds an installation")
    assert PASSWORD not in moved.out + moved.err + checked.out


def test_histories_move_into_a_lake_and_are_read_there(
    elt_assets: Command, postgresql: Server, lake: Lake
) -> None:
    filled(elt_assets)
    settings = postgresql.settings("moved_with_its_histories")
    url = settings.pop("ELT_ASSETS_OPERATIONAL_URL")
    before = elt_assets("changes", "acme:main", "--json").document
    assert elt_assets("migrate", "--to", url, more=settings).status == 0
    settings["ELT_ASSETS_OPERATIONAL_URL"] = url
    nowhere = elt_assets("migrate", "--warehouse", more=settings)
    assert "set ELT_ASSETS_WAREHOUSE_URL and ELT_ASSETS_WAREHOUSE_DATA" in nowhere.complaint
    settings |= lake.settings()
    moved = elt_assets("migrate", "--warehouse", "--json", more=settings)
    assert moved.status == 0, moved
    partitions = [one["partition"] for one in moved.document["integrations"]]
    assert partitions == ["acme:main", "other:main"]
    assert "hold personal data" in moved.err
    assert elt_assets("changes", "acme:main", "--json", more=settings).document == before
    checked = elt_assets("config", "check", "--json", more=settings)
    details = {one["name"]: one["detail"] for one in checked.document}
    assert details["warehouse"].startswith(f"DuckLake in {lake.data}")
    assert PASSWORD not in moved.out + moved.err + checked.out
    again = elt_assets("migrate", "--warehouse", "--json", more=settings)
    assert again.document["integrations"] == []
    assert elt_assets("migrate", more=settings).status == 2


def test_migrating_needs_an_installation(elt_assets: Command, settings: dict[str, str]) -> None:
    url = settings.pop("ELT_ASSETS_OPERATIONAL_URL")
    refused = elt_assets("migrate", "--to", url, more=settings)
    assert "holds no platform to move" in refused.complaint


def test_every_mistake_in_the_settings_has_a_line(elt_assets: Command) -> None:
    mistakes = {
        "ELT_ASSETS_CONCURRENCY": "many",
        "ELT_ASSETS_OPERATIONAL_URL": "postgresql://me:hunter2@db/app",
    }
    checked = elt_assets("config", "check", "--json", more=mistakes)
    assert checked.status == 1
    details = [one["detail"] for one in checked.document]
    assert [one["ok"] for one in checked.document] == [False, False]
    assert any(line.startswith("ELT_ASSETS_CONCURRENCY: ") for line in details)
    assert any(
        line.startswith("ELT_ASSETS_OPERATIONAL_URL: a password does not belong in the address")
        for line in details
    )
    assert "hunter2" not in checked.out + checked.err


def test_a_missing_web_server_is_a_metric_next_to_those_of_the_ledger(elt_assets: Command) -> None:
    away = {"ELT_ASSETS_OPERATIONAL_URL": "postgresql://me@127.0.0.1:1/app"}
    checked = elt_assets("config", "check", "--json", more=away)
    assert checked.status == 1
    found = {one["name"]: one for one in checked.document}
    assert [name for name, one in found.items() if not one["ok"]] == ["operational database"]
    assert "cannot be reached" in found["operational database"]["detail"]
    assert not elt_assets.home.joinpath("oltp.db").exists()
