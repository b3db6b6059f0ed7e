"""What both operational databases promise alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib import resources

import adbc_driver_manager
import pyarrow as pa
import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import DatabaseBusy, DatabaseDamaged, DatabaseRefused
from elt_assets.storage.from_settings import operational_database
from elt_assets.storage.operational.database import OperationalDatabase, migrations
from elt_assets.sync.state.store_tables import OPERATIONAL_TABLES, operational_tables

TABLE = "CREATE TABLE IF NOT EXISTS people (id INTEGER PRIMARY KEY, name TEXT)"


@pytest.fixture
def database(backend: str) -> Iterator[OperationalDatabase]:
    made = operational_database(load_settings())
    made.migrate(also=[TABLE])
    yield made
    made.close()


def add(database: OperationalDatabase, *names: str | None) -> None:
    with database.transaction() as transaction:
        for name in names:
            transaction.execute(
                "INSERT INTO people SELECT 1 + coalesce(max(id), 0), CAST(? AS TEXT) FROM people",
                (name,),
            )


def fill(database: OperationalDatabase, count: int) -> None:
    """`name 0`, `name 1`, …"""
    rows = pa.table({"id": range(count), "name": [f"name {number}" for number in range(count)]})
    with database.transaction() as transaction, transaction.ingested("incoming", rows) as incoming:
        transaction.execute(f"INSERT INTO people SELECT id, name FROM {incoming}")


def names(database: OperationalDatabase) -> list[str | None]:
    return [row["name"] for row in database.rows("SELECT name FROM people ORDER BY id")]


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, DatabaseBusy])
def test_a_transaction_that_raises_leaves_nothing_behind(
    database: OperationalDatabase, error: type[BaseException]
) -> None:
    add(database, "Ada")

    def fail_inside() -> None:
        with database.transaction() as transaction:
            transaction.execute("CREATE TABLE more (x INTEGER)")
            transaction.execute("UPDATE people SET name = 'Grace'")
            with transaction.ingested("incoming", pa.table({"id": [1]})) as incoming:
                transaction.execute(f"DELETE FROM people WHERE id IN (SELECT id FROM {incoming})")
                raise error

    with pytest.raises(error):
        fail_inside()
    assert names(database) == ["Ada"]
    assert database.columns("more") == []
    add(database, "Grace")
    assert names(database) == ["Ada", "Grace"]


def test_a_statement_that_fails_takes_those_before_it_along(database: OperationalDatabase) -> None:
    def fail_inside() -> None:
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO people VALUES (1, 'Ada')")
            transaction.execute("INSERT INTO people VALUES (1, 'Grace')")

    with pytest.raises((adbc_driver_manager.Error, DatabaseRefused)):
        fail_inside()
    assert names(database) == []


def test_a_statement_tells_how_many_rows_it_changed(database: OperationalDatabase) -> None:
    add(database, "Ada", "Grace", "Edsger")
    with database.transaction() as transaction:
        assert transaction.execute("UPDATE people SET name = 'x' WHERE id > ?", (1,)) == 2
        assert transaction.execute("DELETE FROM people WHERE id = 9") == 0
        assert (
            transaction.execute("INSERT INTO people VALUES (1, 'Ada') ON CONFLICT DO NOTHING") == 0
        )


def test_a_bulk_load_is_there_for_its_block_only(database: OperationalDatabase) -> None:
    rows = pa.table({"id": range(5000), "name": [f"name {number}" for number in range(5000)]})
    for _ in range(2):
        with database.transaction() as transaction:
            with transaction.ingested("incoming", rows) as incoming:
                transaction.execute(
                    f"INSERT INTO people SELECT id, name FROM {incoming} WHERE true"
                    " ON CONFLICT (id) DO UPDATE SET name = excluded.name"
                )
            with transaction.ingested("incoming", rows.slice(0, 1)) as incoming:
                assert transaction.value(f"SELECT count(*) AS n FROM {incoming}") == 1
    assert len(names(database)) == 5000


def test_a_bulk_load_of_no_rows_is_a_table_without_rows(database: OperationalDatabase) -> None:
    empty = pa.table({"id": pa.array([], pa.int64()), "name": pa.array([], pa.string())})
    with database.transaction() as transaction, transaction.ingested("incoming", empty) as incoming:
        assert transaction.execute(f"INSERT INTO people SELECT id, name FROM {incoming}") == 0


def test_values_come_back_as_they_were_given(database: OperationalDatabase) -> None:
    given = ["", "ö\u2028😀", "a'b\"c;--", "\t\n\\", "x" * 100_000, None]
    add(database, *given)
    assert names(database) == given
    assert database.rows("SELECT ? AS most, ? AS least", (2**63 - 1, -(2**63))) == [
        {"most": 2**63 - 1, "least": -(2**63)}
    ]


def test_text_is_ordered_by_its_bytes_and_not_by_a_language(database: OperationalDatabase) -> None:
    add(database, "ä", "a", "Z", "_", "z", "😀", "\ufb01")
    rows = database.rows("SELECT name FROM people ORDER BY name")
    assert [row["name"] for row in rows] == ["Z", "_", "a", "z", "ä", "\ufb01", "😀"]


def test_a_query_without_rows_gives_none(database: OperationalDatabase) -> None:
    assert database.rows("SELECT * FROM people") == []
    with database.reader("SELECT * FROM people") as batches:
        assert batches.read_all().num_rows == 0


def test_a_column_that_is_null_for_long_and_then_text_is_text(
    database: OperationalDatabase,
) -> None:
    with database.transaction() as transaction:
        rows = pa.table({"id": range(3000), "name": pa.array([None] * 3000, pa.string())})
        with transaction.ingested("incoming", rows) as incoming:
            transaction.execute(f"INSERT INTO people SELECT id, name FROM {incoming}")
    add(database, "at last")
    assert names(database) == [*[None] * 3000, "at last"]


def test_a_large_result_is_streamed_in_small_batches_of_one_type(
    database: OperationalDatabase,
) -> None:
    fill(database, 25_000)
    with database.reader("SELECT id, name FROM people WHERE id >= ? ORDER BY id", (0,)) as batches:
        sizes, seen = [], []
        for batch in batches:
            assert batch.schema == pa.schema([("id", pa.int64()), ("name", pa.string())])
            sizes.append(batch.num_rows)
            seen += batch.column("name").to_pylist()
    assert seen == [f"name {number}" for number in range(25_000)]
    assert len(sizes) > 1
    assert max(sizes) <= 10_000


def test_a_stream_goes_on_seeing_what_it_began_with(database: OperationalDatabase) -> None:
    fill(database, 25_000)
    with database.reader("SELECT name FROM people") as batches:
        seen = batches.read_next_batch().num_rows
        with database.transaction() as transaction:
            transaction.execute("DELETE FROM people")
        seen += sum(batch.num_rows for batch in batches)
    assert seen == 25_000
    assert names(database) == []


def test_queries_of_one_snapshot_agree_with_each_other(database: OperationalDatabase) -> None:
    add(database, "Ada")
    with database.snapshot() as snapshot:
        before = snapshot.rows("SELECT name FROM people")
        add(database, "Grace")
        assert snapshot.rows("SELECT name FROM people") == before == [{"name": "Ada"}]
    assert names(database) == ["Ada", "Grace"]


@pytest.mark.parametrize("on", ["", "acme:main"])
def test_threads_that_write_about_one_thing_lose_nothing(
    database: OperationalDatabase, on: str
) -> None:
    add(database, "counter")
    start = threading.Barrier(8)

    def count() -> None:
        start.wait()
        for _ in range(5):
            with database.transaction(on) as transaction:
                # Reads and writes in two statements: nothing but the turn makes it right.
                value = transaction.value("SELECT id FROM people")
                transaction.execute("UPDATE people SET id = ?", (value + 1,))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.rows("SELECT id FROM people") == [{"id": 41}]


def test_migrating_again_changes_nothing(database: OperationalDatabase) -> None:
    add(database, "Ada")
    before = database.columns("syncs")
    database.migrate(also=[TABLE])
    assert database.columns("syncs") == before
    assert names(database) == ["Ada"]


def test_a_migration_happens_as_a_whole_or_not_at_all(backend: str) -> None:
    database = operational_database(load_settings())
    with pytest.raises(adbc_driver_manager.ProgrammingError):
        database.migrate(also=[TABLE, "CREATE TABLE ("])
    assert database.columns("syncs") == database.columns("people") == []
    database.migrate(also=[TABLE])
    assert names(database) == []
    database.close()


def test_a_database_of_a_later_release_is_refused_untouched(
    database: OperationalDatabase, backend: str
) -> None:
    later = {
        "sqlite": "PRAGMA user_version = 999",
        "postgresql": "UPDATE installed_schema SET version = 999",
    }
    with database.transaction() as transaction:
        transaction.execute(later[backend])
        transaction.execute("DROP TABLE people")
    with pytest.raises(DatabaseDamaged, match=r" has schema 999, this release knows \d+;"):
        database.migrate(also=[TABLE])
    assert database.columns("people") == []


def test_migrations_are_numbered_without_a_gap() -> None:
    folder = resources.files("elt_assets.storage.operational.migrations")
    scripts = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    assert [name.partition("_")[0] for name in scripts] == [
        f"{number:04}" for number in range(1, len(migrations()) + 1)
    ]


def test_both_databases_have_the_same_tables_columns_and_keys(
    own_home: object, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from elt_assets_tests.conftest import on_postgresql

    sqlite = operational_database(load_settings())
    on_postgresql(request.getfixturevalue("postgresql"), monkeypatch)
    postgresql = operational_database(load_settings())
    for database in (sqlite, postgresql):
        database.migrate(**operational_tables(database.dialect))
    for table in OPERATIONAL_TABLES:
        there = sqlite.columns(table)
        assert there, table
        for column, ours in zip(there, postgresql.columns(table), strict=True):
            # SQLite has no booleans, and says 0 and 1.
            kind = "integer" if ours.kind == "boolean" else ours.kind
            assert (ours.name, kind, ours.nullable, ours.key) == (
                column.name,
                column.kind,
                column.nullable,
                column.key,
            ), f"{table}.{column.name}"
    sqlite.close()
    postgresql.close()
