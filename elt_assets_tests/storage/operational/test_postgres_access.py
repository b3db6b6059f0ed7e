"""Who may read the latest tables on PostgreSQL, and that only `config secure` changes it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import adbc_driver_manager
import pytest
from adbc_driver_postgresql import dbapi

from elt_assets.cli.main import Invocation, run
from elt_assets.config.settings import load_settings
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.feed_log import TENANT_TABLES
from elt_assets_tests.testbed.servers import Server

PASSWORD = "only reads"
LOOK = "SELECT organization_id FROM users_latest ORDER BY 1"
pytestmark = pytest.mark.usefixtures("own_schema")
Reads = Callable[..., list[str]]


@pytest.fixture
def roles(postgresql: Server) -> Iterator[tuple[str, str]]:
    """Two roles that have no right yet."""
    names = tuple(f"{name}_{threading.get_ident()}" for name in ("app", "bi"))
    for name in names:
        postgresql.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    yield names[0], names[1]
    for name in names:
        postgresql.execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.fixture
def reads(postgresql: Server) -> Reads:
    """The first column of what a role reads in one session."""

    def read(role: str, *statements: str) -> list[str]:
        address = (
            f"postgresql://{role}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{postgresql.port}/hr"
        )
        with (
            closing(dbapi.connect(f"{address}?sslmode=disable", autocommit=True)) as connection,
            closing(connection.cursor()) as cursor,
        ):
            cursor.execute(f"SET search_path = {load_settings().operational_schema}")
            for statement in statements:
                cursor.execute(statement)
            return [next(iter(row.values())) for row in cursor.fetch_arrow_table().to_pylist()]

    return read


@pytest.fixture
def two_tenants(own_schema: None) -> None:
    with SyncService.open() as platform, platform.database.transaction() as transaction:
        for organization in ("acme", "beta"):
            transaction.execute(
                "INSERT INTO users_latest VALUES"
                " (?, 'main', 'id', 'u-1', 'Ada', NULL, true, '{}', 'hash', '', '', NULL)",
                (organization,),
            )


def command(*arguments: str) -> int:
    return run(arguments, Invocation())


def readers_check(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `config check` says of the readers."""
    capsys.readouterr()
    command("config", "check", "--json")
    found = json.loads(capsys.readouterr().out)
    return next(check for check in found if check["name"] == "readers")


@pytest.mark.usefixtures("two_tenants")
def test_the_reader_reads_the_latest_tables_and_nothing_else(
    roles: tuple[str, str], reads: Reads
) -> None:
    app, _ = roles
    assert command("config", "secure", "--reader", app) == 0
    assert reads(app, LOOK) == ["acme", "beta"]
    for forbidden in (
        "SELECT * FROM connected_integrations",
        "SELECT * FROM syncs",
        "SELECT * FROM reader_access",
        "SELECT * FROM feed_segments",
        "SELECT * FROM feed_bodies",
        "SELECT * FROM feed_consumers",
        "UPDATE reader_access SET row_security = false",
        "ALTER TABLE users_latest DISABLE ROW LEVEL SECURITY",
        "DELETE FROM users_latest",
        "UPDATE users_latest SET name = ''",
    ):
        with pytest.raises(adbc_driver_manager.Error, match=r"permission denied|must be owner"):
            reads(app, forbidden)


@pytest.mark.usefixtures("two_tenants")
def test_a_command_without_the_settings_leaves_row_security_on(
    roles: tuple[str, str],
    reads: Reads,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    app, _ = roles
    monkeypatch.setenv("ELT_ASSETS_OPERATIONAL_READER", app)
    monkeypatch.setenv("ELT_ASSETS_OPERATIONAL_ROW_SECURITY", "true")
    assert command("config", "secure") == 0
    monkeypatch.delenv("ELT_ASSETS_OPERATIONAL_READER")
    monkeypatch.delenv("ELT_ASSETS_OPERATIONAL_ROW_SECURITY")
    assert command("integrations", "list") == 0
    # A release with other tables applies its migrations.
    with SyncService.open() as platform, platform.database.transaction() as transaction:
        transaction.execute("UPDATE installed_schema SET digest = 'of another release'")
    SyncService.open().close()
    assert reads(app, LOOK) == []
    assert reads(app, "SET elt_assets.organization_id = 'beta'", LOOK) == ["beta"]
    assert readers_check(capsys)["ok"]


@pytest.mark.usefixtures("two_tenants")
def test_row_security_covers_a_feed_that_somebody_granted_by_hand(
    roles: tuple[str, str], reads: Reads, capsys: pytest.CaptureFixture[str]
) -> None:
    app, bi = roles
    with SyncService.open() as platform, platform.database.transaction() as transaction:
        for organization in ("acme", "beta"):
            transaction.execute("INSERT INTO feed_sequences VALUES (?, 'main', 1)", (organization,))
    assert command("config", "secure", "--reader", app, "--row-security") == 0
    with SyncService.open() as platform, platform.database.transaction() as transaction:
        schema = load_settings().operational_schema
        transaction.execute(f"GRANT USAGE ON SCHEMA {schema} TO {bi}")
        for table in TENANT_TABLES:
            transaction.execute(f"GRANT SELECT ON {table} TO {bi}")
    look = "SELECT organization_id FROM feed_sequences"
    assert reads(bi, look) == []
    assert reads(bi, "SET elt_assets.organization_id = 'beta'", look) == ["beta"]
    assert [reads(bi, f"SELECT * FROM {table}") for table in TENANT_TABLES] == [[], [], []]
    assert readers_check(capsys)["ok"]


@pytest.mark.usefixtures("two_tenants")
def test_another_setting_changes_nothing_until_it_is_secured(
    roles: tuple[str, str],
    reads: Reads,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    app, bi = roles
    assert command("config", "secure", "--reader", app, "--row-security") == 0
    monkeypatch.setenv("ELT_ASSETS_OPERATIONAL_READER", bi)
    monkeypatch.setenv("ELT_ASSETS_OPERATIONAL_ROW_SECURITY", "false")
    assert command("integrations", "list") == 0
    assert reads(app, LOOK) == []
    found = readers_check(capsys)
    assert not found["ok"]
    assert f"the settings say that {bi}" in found["detail"]
    assert command("config", "secure") == 0
    with pytest.raises(adbc_driver_manager.Error, match=r"permission denied|does not exist"):
        reads(app, LOOK)
    assert reads(bi, LOOK) == ["acme", "beta"]
    assert readers_check(capsys)["ok"]


@pytest.mark.usefixtures("two_tenants")
def test_no_reader_is_an_answer_too(roles: tuple[str, str], reads: Reads) -> None:
    app, _ = roles
    assert command("config", "secure", "--reader", app) == 0
    assert command("config", "secure", "--no-reader") == 0
    with pytest.raises(adbc_driver_manager.Error, match=r"permission denied|does not exist"):
        reads(app, LOOK)


LOOSENED = [
    ("ALTER TABLE {schema}.users_latest DISABLE ROW LEVEL SECURITY", "users_latest is off"),
    ("CREATE POLICY all_of_it ON {schema}.users_latest USING (true)", "row policies of"),
    (
        "ALTER POLICY own_organization ON {schema}.users_latest USING (true)",
        "row policies of users_latest",
    ),
    ("GRANT SELECT ON {schema}.users_latest TO {bi}", "{bi} has rights"),
    ("GRANT SELECT (email) ON {schema}.users_latest TO {bi}", "{bi} has rights"),
    ("GRANT SELECT ON {schema}.users_latest TO PUBLIC", "PUBLIC has rights"),
]
TOO_MIGHTY = [
    (
        "ALTER ROLE {app} BYPASSRLS",
        "{app} is a superuser, bypasses row security",
        "ALTER ROLE {app} NOBYPASSRLS",
    ),
    (
        "GRANT owner TO {app}",
        "{app} is a superuser, bypasses row security or owns",
        "REVOKE owner FROM {app}",
    ),
    (
        "ALTER ROLE {app} CREATEROLE",
        "{app} is a superuser, bypasses row security or owns",
        "ALTER ROLE {app} NOCREATEROLE",
    ),
    (
        "GRANT pg_read_all_data TO {app}",
        "reads or writes all data",
        "REVOKE pg_read_all_data FROM {app}",
    ),
    (
        "ALTER ROLE {bi} BYPASSRLS; GRANT {bi} TO {app}",
        "a member of a role that does",
        "ALTER ROLE {bi} NOBYPASSRLS; REVOKE {bi} FROM {app}",
    ),
]


@pytest.mark.usefixtures("two_tenants")
def test_what_was_loosened_by_hand_is_found_and_secured_again(
    roles: tuple[str, str], postgresql: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    app, bi = roles
    names = {"schema": load_settings().operational_schema, "app": app, "bi": bi}
    assert command("config", "secure", "--reader", app, "--row-security") == 0
    for loosened, says in LOOSENED:
        postgresql.execute(loosened.format(**names))
        found = readers_check(capsys)
        assert not found["ok"], loosened
        assert says.format(**names) in found["detail"], loosened
        assert command("config", "secure") == 0, loosened
        assert readers_check(capsys)["ok"], loosened


@pytest.mark.usefixtures("two_tenants")
def test_a_role_that_no_right_can_bind_is_found_and_refused(
    roles: tuple[str, str], postgresql: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    app, bi = roles
    names = {"app": app, "bi": bi}
    assert command("config", "secure", "--reader", app, "--row-security") == 0
    for given, says, taken in TOO_MIGHTY:
        postgresql.execute(given.format(**names))
        found = readers_check(capsys)
        assert not found["ok"], given
        assert says.format(**names) in found["detail"], given
        assert command("config", "secure") == 1, given
        assert "nothing was changed" in capsys.readouterr().err, given
        postgresql.execute(taken.format(**names))
        assert readers_check(capsys)["ok"], given


def test_a_reader_that_does_not_exist_is_named_and_nothing_is_changed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("config", "secure", "--reader", "missing_role") == 1
    assert "no role missing_role" in capsys.readouterr().err
    assert readers_check(capsys)["detail"] == "no role reads the latest tables"


def test_a_setting_that_was_never_secured_is_reported(
    monkeypatch: pytest.MonkeyPatch, roles: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    SyncService.open().close()
    monkeypatch.setenv("ELT_ASSETS_OPERATIONAL_READER", roles[0])
    found = readers_check(capsys)
    assert not found["ok"]
    assert "elt-assets config secure" in found["detail"]
