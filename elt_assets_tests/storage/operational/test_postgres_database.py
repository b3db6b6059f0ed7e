"""The operational database on a server: its locks, its rights, and that it may go away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa
import pytest
from adbc_driver_postgresql import dbapi

from elt_assets.config.addresses import DatabaseAddress
from elt_assets.config.secret_refs import SecretRef
from elt_assets.config.settings import load_settings
from elt_assets.errors import (
    DatabaseBusy,
    DatabaseRefused,
    DatabaseUnavailable,
    StorageFull,
    SyncError,
    WriteInterrupted,
)
from elt_assets.storage.from_settings import operational_database
from elt_assets.storage.operational.postgres_database import PostgresDatabase
from elt_assets.sync.state.store_tables import operational_tables
from elt_assets_tests.conftest import on_postgresql
from elt_assets_tests.testbed.servers import PASSWORD, Server

TABLE = "CREATE TABLE IF NOT EXISTS people (id INTEGER PRIMARY KEY, name TEXT)"
Opener = Callable[..., PostgresDatabase]


@pytest.fixture
def opened(postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    """Opens databases on one empty schema; impatient ones unless told otherwise."""
    on_postgresql(postgresql, monkeypatch)
    settings = load_settings()
    assert settings.operational_address is not None
    made: list[PostgresDatabase] = []

    def open_one(**options: Any) -> PostgresDatabase:
        given: dict[str, Any] = {
            "address": settings.operational_address,
            "schema": settings.operational_schema,
            "attempts": 2,
            "first_wait": 0.001,
            "lock_timeout": 0.02,
        }
        made.append(PostgresDatabase(**given | options))
        return made[-1]

    yield open_one
    for database in made:
        database.close()


@pytest.fixture
def database(opened: Opener) -> PostgresDatabase:
    made = opened()
    made.migrate(also=[TABLE])
    return made


def end_sessions(database: PostgresDatabase, server: Server) -> None:
    """What a restart of the server does to whoever is connected."""
    server.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'elt_assets' AND pid <> pg_backend_pid()"
    )


def test_transactions_about_different_things_overlap_and_about_one_do_not(
    database: PostgresDatabase,
) -> None:
    with database.transaction("acme:one") as one:
        one.execute("INSERT INTO people VALUES (1, 'Ada')")
        with database.transaction("acme:two") as two:
            two.execute("INSERT INTO people VALUES (2, 'Grace')")
        with (
            pytest.raises(DatabaseBusy, match=r"^postgresql://.* is busy: another process kept"),
            database.transaction("acme:one"),
        ):
            pass
    assert len(database.rows("SELECT * FROM people")) == 2


def test_a_transaction_that_names_nothing_is_alone(database: PostgresDatabase) -> None:
    with database.transaction("acme:one"), pytest.raises(DatabaseBusy), database.transaction():
        pass
    with database.transaction(), pytest.raises(DatabaseBusy), database.transaction("acme:one"):
        pass


def test_installations_in_two_schemas_do_not_wait_for_each_other(opened: Opener) -> None:
    one, other = opened(), opened(schema="another")
    other.migrate()
    one.migrate()
    with one.transaction(), other.transaction():
        pass


def test_who_waits_sees_what_was_committed_meanwhile(
    database: PostgresDatabase, opened: Opener
) -> None:
    patient = opened(lock_timeout=30)
    begun, seen = threading.Event(), []

    def wait_and_look() -> None:
        begun.set()
        with patient.transaction("acme:one") as transaction:
            seen.extend(transaction.rows("SELECT name FROM people"))

    waiting = threading.Thread(target=wait_and_look)
    with database.transaction("acme:one") as transaction:
        waiting.start()
        begun.wait()
        while not database.rows("SELECT 1 AS x FROM pg_locks WHERE NOT granted"):
            pass
        transaction.execute("INSERT INTO people VALUES (1, 'Ada')")
    waiting.join()
    assert seen == [{"name": "Ada"}]


def test_opening_an_installation_waits_for_nobody_who_works(
    database: PostgresDatabase, opened: Opener
) -> None:
    with database.transaction("acme:one"):
        opened().migrate(also=[TABLE])


def test_sessions_that_ended_are_replaced_without_a_word(
    database: PostgresDatabase, postgresql: Server
) -> None:
    with database.reader("SELECT 1 AS x"):
        database.rows("SELECT 1 AS x")
    end_sessions(database, postgresql)
    assert database.rows("SELECT 1 AS x") == [{"x": 1}]
    end_sessions(database, postgresql)
    with database.transaction("acme:one") as transaction:
        transaction.execute("INSERT INTO people VALUES (1, 'Ada')")
    end_sessions(database, postgresql)
    with database.reader("SELECT name FROM people") as rows:
        assert rows.read_all().to_pylist() == [{"name": "Ada"}]


def test_a_transaction_that_lost_its_session_left_nothing_and_can_be_tried_again(
    database: PostgresDatabase, postgresql: Server
) -> None:
    def lose_it_inside() -> None:
        with database.transaction("acme:one") as transaction:
            transaction.execute("INSERT INTO people VALUES (1, 'Ada')")
            end_sessions(database, postgresql)
            transaction.execute("INSERT INTO people VALUES (2, 'Grace')")

    with pytest.raises(DatabaseUnavailable) as lost:
        lose_it_inside()
    assert lost.value.retryable
    assert len(str(lost.value).splitlines()) == 1
    assert database.rows("SELECT * FROM people") == []


def test_a_session_lost_with_the_commit_is_said_to_be_in_doubt(
    database: PostgresDatabase, postgresql: Server
) -> None:
    def lose_the_answer() -> None:
        with database.transaction("acme:one") as transaction:
            transaction.execute("INSERT INTO people VALUES (1, 'Ada')")
            end_sessions(database, postgresql)

    with pytest.raises(WriteInterrupted, match="was lost while it committed") as lost:
        lose_the_answer()
    assert lost.value.retryable


def test_a_stream_that_loses_its_session_says_so_whoever_reads_it(
    database: PostgresDatabase, postgresql: Server
) -> None:
    import duckdb

    def read_on() -> None:
        sql = "SELECT CAST(n AS text) AS n FROM generate_series(1, 100000) AS listed(n)"
        with database.reader(sql) as rows, closing(duckdb.connect()) as connection:
            rows.read_next_batch()
            end_sessions(database, postgresql)
            connection.execute("SELECT count(*) FROM rows").fetchall()

    with pytest.raises(DatabaseUnavailable, match=r"went away|cannot be reached"):
        read_on()


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("postgresql://owner@127.0.0.1:1/hr", DatabaseUnavailable, "cannot be reached"),
        ("postgresql://nobody@{}/hr", DatabaseRefused, "password authentication failed"),
        ("postgresql://owner@{}/nowhere", DatabaseRefused, 'database "nowhere" does not exist'),
    ],
)
def test_a_server_that_does_not_let_us_in_is_one_line_without_the_password(
    postgresql: Server,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    error: type[SyncError],
    says: str,
) -> None:
    monkeypatch.setenv("SECRET", PASSWORD)
    address = DatabaseAddress.parse(
        url.format(f"127.0.0.1:{postgresql.port}"), SecretRef(env="SECRET")
    )
    database = PostgresDatabase(address, attempts=1)
    with pytest.raises(error, match=says) as refused:
        database.rows("SELECT 1 AS x")
    text = str(refused.value)
    assert len(text.splitlines()) == 1
    assert text.startswith(str(address))
    assert "ELT_ASSETS_OPERATIONAL_URL" in text
    assert PASSWORD not in text
    assert PASSWORD.replace(" ", "%20") not in text


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("53100", StorageFull),
        ("53300", DatabaseBusy),
        ("40001", DatabaseBusy),
        ("40P01", DatabaseBusy),
        ("42501", DatabaseRefused),
        ("57P01", DatabaseUnavailable),
    ],
)
def test_what_the_server_reports_inside_is_one_of_our_errors(
    database: PostgresDatabase, state: str, error: type[SyncError]
) -> None:
    def fail_inside() -> None:
        with database.transaction("acme:one") as transaction:
            transaction.execute("INSERT INTO people VALUES (1, 'Ada')")
            transaction.execute(
                f"DO $$ BEGIN RAISE EXCEPTION 'it went wrong' USING ERRCODE = '{state}'; END $$"
            )

    with pytest.raises(error) as raised:
        fail_inside()
    assert len(str(raised.value).splitlines()) == 1
    assert database.rows("SELECT * FROM people") == []


def test_a_value_that_is_refused_is_not_quoted(database: PostgresDatabase) -> None:
    def write_it_twice() -> None:
        with database.transaction("acme:one") as transaction:
            transaction.execute("CREATE UNIQUE INDEX once ON people (name)")
            for number in (1, 2):
                transaction.execute("INSERT INTO people VALUES (?, 'Ada Lovelace')", (number,))

    with pytest.raises(DatabaseRefused, match="SQLSTATE 23505") as refused:
        write_it_twice()
    assert "Lovelace" not in str(refused.value)


def test_two_transactions_that_wait_for_each_other_end_as_busy(
    database: PostgresDatabase, opened: Opener
) -> None:
    with database.transaction("acme:one") as transaction:
        transaction.execute("INSERT INTO people VALUES (1, 'Ada'), (2, 'Grace')")
    patient, meet, errors = opened(lock_timeout=30), threading.Barrier(2), []

    def change(*ids: int) -> None:
        try:
            with patient.transaction(f"acme:{ids[0]}") as transaction:
                for place, number in enumerate(ids):
                    transaction.execute("UPDATE people SET name = 'x' WHERE id = ?", (number,))
                    if place == 0:
                        meet.wait()
        except DatabaseBusy as error:
            errors.append(error)

    threads = [threading.Thread(target=change, args=ids) for ids in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 1, "one of them goes through"


def test_the_character_nul_does_not_keep_a_user_out(database: PostgresDatabase) -> None:
    rows = pa.table({"id": [1, 2], "name": ["A\x00da", "\x00"]})
    with database.transaction("acme:one") as transaction:
        with transaction.ingested("incoming", rows) as incoming:
            transaction.execute(f"INSERT INTO people SELECT id, name FROM {incoming}")
        transaction.execute("INSERT INTO people VALUES (3, ?)", ("\x00",))
    found = database.rows("SELECT name FROM people ORDER BY id")
    assert [row["name"] for row in found] == ["A\ufffdda", "\ufffd", "\ufffd"]


def test_every_session_commits_to_the_disk_whatever_the_account_is_used_to(
    database: PostgresDatabase, postgresql: Server
) -> None:
    asked = (
        "SELECT current_setting('synchronous_commit') AS commits,"
        " current_setting('default_transaction_isolation') AS isolation"
    )
    try:
        for theirs, ours in (("off", "on"), ("remote_apply", "remote_apply")):
            postgresql.execute(
                f"ALTER ROLE owner SET synchronous_commit = '{theirs}'",
                "ALTER ROLE owner SET default_transaction_isolation = 'serializable'",
            )
            database.close()
            assert database.rows(asked) == [{"commits": ours, "isolation": "read committed"}]
    finally:
        postgresql.execute("ALTER ROLE owner RESET ALL")


def test_rows_are_matched_by_hash_in_a_table_that_nobody_has_analyzed(
    database: PostgresDatabase,
) -> None:
    """Row by row it would take hours for a million: the planner knows nothing of a new table."""
    database.migrate(**operational_tables(database.dialect))
    rows = pa.table({"id": [f"{number:05}" for number in range(2_000)]})
    with database.transaction() as transaction, transaction.ingested("incoming", rows) as incoming:
        transaction.execute(
            "INSERT INTO users_latest (organization_id, connected_integration_id, id, external_id,"
            " attributes, content_hash, first_seen, last_updated)"
            f" SELECT 'acme', 'main', id, id, '{{}}', '', '', '' FROM {incoming}"
        )
        plan = transaction.rows(
            "EXPLAIN DELETE FROM users_latest WHERE organization_id = ?"
            f" AND connected_integration_id = 'main' AND id IN (SELECT id FROM {incoming})",
            ("acme",),
        )
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "Nested Loop" not in text
    assert "Join" in text


def test_every_text_is_compared_by_its_bytes_whatever_the_databases_language(
    database: PostgresDatabase,
) -> None:
    database.migrate(**operational_tables(database.dialect))
    rows = database.rows(
        """
        SELECT table_name || '.' || column_name AS "column"
        FROM information_schema.columns
        WHERE table_schema = ? AND data_type = 'text' AND table_name <> 'installed_schema'
            AND collation_name IS DISTINCT FROM 'C'
        """,
        (database.schema,),
    )
    assert rows == []


READER_PASSWORD = "only reads"


@pytest.fixture
def reader(postgresql: Server) -> Iterator[str]:
    """A role that has no right yet."""
    name = f"reader_{threading.get_ident()}"
    postgresql.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{READER_PASSWORD}'")
    yield name
    postgresql.execute(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_a_server_that_has_no_connection_left_is_busy(
    postgresql: Server, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgresql.execute(f"ALTER ROLE {reader} CONNECTION LIMIT 0")
    monkeypatch.setenv("SECRET", READER_PASSWORD)
    address = DatabaseAddress.parse(
        f"postgresql://{reader}@127.0.0.1:{postgresql.port}/hr", SecretRef(env="SECRET")
    )
    database = PostgresDatabase(address, attempts=2, first_wait=0.001)
    with (
        pytest.raises(DatabaseBusy, match="no connection left; raise its max_connections"),
        database.transaction("acme:one"),
    ):
        pass


def as_reader(server: Server, reader: str, schema: str, *statements: str) -> list[Any]:
    """The last statement's rows, asked by that role in one session."""
    address = (
        f"postgresql://{reader}:{READER_PASSWORD.replace(' ', '%20')}@127.0.0.1:{server.port}/hr"
    )
    with (
        closing(dbapi.connect(f"{address}?sslmode=disable", autocommit=True)) as connection,
        closing(connection.cursor()) as cursor,
    ):
        cursor.execute(f"SET search_path = {schema}")
        for statement in statements:
            cursor.execute(statement)
        rows: list[Any] = cursor.fetch_arrow_table().to_pylist()
        return rows


def two_tenants(database: PostgresDatabase) -> None:
    database.migrate(**operational_tables(database.dialect))
    with database.transaction() as transaction:
        for organization in ("acme", "beta"):
            transaction.execute(
                "INSERT INTO users_latest VALUES"
                " (?, 'main', 'id', 'u-1', 'Ada', NULL, true, '{}', 'hash', '', '', NULL)",
                (organization,),
            )


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("URL", "mysql://me@db/app", "ELT_ASSETS_OPERATIONAL_URL: not a database address"),
        ("URL", "postgresql://me:hunter2@db/app", "a password does not belong in the address"),
        ("URL", "postgresql://me@db/app?password=hunter2", "a password does not belong"),
        ("URL", "postgresql://me@db", "names no database"),
        ("URL", "postgresql://me@db:high/app", "not a database address"),
        ("PASSWORD", "hunter2", "write env:NAME or file:PATH, never the password"),
    ],
)
def test_settings_that_cannot_be_meant_are_named_without_the_password(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    from elt_assets.errors import InvalidInput

    monkeypatch.setenv(f"ELT_ASSETS_OPERATIONAL_{name}", value)
    with pytest.raises(InvalidInput) as wrong:
        load_settings()
    assert says in str(wrong.value)
    assert "hunter2" not in str(wrong.value)


def test_the_password_is_read_where_the_setting_says_and_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "p@ss/word")
    monkeypatch.setenv("ELT_ASSETS_OPERATIONAL_URL", "postgresql://me@db:5433/app?sslmode=require")
    monkeypatch.setenv("ELT_ASSETS_OPERATIONAL_PASSWORD", "env:SECRET")
    settings = load_settings()
    assert str(operational_database(settings)) == "postgresql://me@db:5433/app"
    assert "p@ss" not in repr(settings)
