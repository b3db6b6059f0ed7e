from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import adbc_driver_manager
import pyarrow as pa
import pytest

from elt_assets.errors import DatabaseBusy, DatabaseDamaged, StorageFull
from elt_assets.stores.sqlite import SqliteDatabase
from elt_assets_tests.stores.processes import (
    another_process,
    fill,
    small_disk,
    wait_until_it_waits,
)

TABLE = "CREATE TABLE IF NOT EXISTS people (id INTEGER PRIMARY KEY, name TEXT)"

# Changes every name in a transaction that stays open until it is told to commit.
HOLDER = """
import sys
from pathlib import Path
from elt_assets.stores.sqlite import SqliteDatabase
database = SqliteDatabase(Path(sys.argv[1]))
with database.transaction() as transaction:
    transaction.execute("UPDATE people SET name = 'held'")
    print("holding", flush=True)
    input()
database.close()
"""

# Adds one to a counter 25 times, reading it first each time.
COUNTER = """
import sys
from pathlib import Path
from elt_assets.stores.sqlite import SqliteDatabase
database = SqliteDatabase(Path(sys.argv[1]))
print("ready", flush=True)
input()
for _ in range(25):
    with database.transaction() as transaction:
        value = transaction.value("SELECT id FROM people")
        transaction.execute("UPDATE people SET id = ?", (value + 1,))
database.close()
"""

MIGRATOR = """
import sys
from pathlib import Path
from elt_assets.stores.sqlite import SqliteDatabase
database = SqliteDatabase(Path(sys.argv[1]))
print("ready", flush=True)
input()
database.migrate(also=["CREATE TABLE IF NOT EXISTS people (id INTEGER PRIMARY KEY, name TEXT)"])
print("migrated", flush=True)
database.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "oltp.db"


@pytest.fixture
def database(path: Path) -> Iterator[SqliteDatabase]:
    """A database that tries three times, at once."""
    made = SqliteDatabase(path, attempts=3, first_wait=0.001, busy_timeout=0.01)
    made.migrate(also=[TABLE])
    yield made
    made.close()


@pytest.fixture
def patient(path: Path) -> Iterator[SqliteDatabase]:
    """The same database for one who tries as long as it takes."""
    made = SqliteDatabase(path, attempts=100_000, first_wait=0.001, busy_timeout=0.01)
    yield made
    made.close()


def add(database: SqliteDatabase, *names: str | None) -> None:
    with database.transaction() as transaction:
        for name in names:
            transaction.execute("INSERT INTO people (name) VALUES (?)", (name,))


def names(database: SqliteDatabase) -> list[str | None]:
    return [row["name"] for row in database.rows("SELECT name FROM people ORDER BY id")]


def test_a_transaction_that_ends_well_is_kept_when_everything_is_closed(
    database: SqliteDatabase, path: Path
) -> None:
    add(database, "Ada", "Grace")
    database.close()
    assert not path.with_name("oltp.db-wal").exists()
    assert names(database) == ["Ada", "Grace"]


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, DatabaseBusy])
def test_a_transaction_that_raises_leaves_nothing_behind(
    database: SqliteDatabase, error: type[BaseException]
) -> None:
    add(database, "Ada")

    def fail_inside() -> None:
        with database.transaction() as transaction:
            transaction.execute("CREATE TABLE more (x)")
            transaction.execute("UPDATE people SET name = 'Grace'")
            with transaction.ingested("incoming", pa.table({"id": [1]})) as incoming:
                transaction.execute(f"DELETE FROM people WHERE id IN (SELECT id FROM {incoming})")
                raise error

    with pytest.raises(error):
        fail_inside()
    assert names(database) == ["Ada"]
    assert database.rows("SELECT name FROM sqlite_schema WHERE name = 'more'") == []
    add(database, "Grace")
    assert names(database) == ["Ada", "Grace"]


def test_a_statement_that_fails_takes_those_before_it_along(database: SqliteDatabase) -> None:
    def fail_inside() -> None:
        with database.transaction() as transaction:
            transaction.execute("INSERT INTO people VALUES (1, 'Ada')")
            transaction.execute("INSERT INTO people VALUES (1, 'Grace')")

    with pytest.raises(adbc_driver_manager.Error):
        fail_inside()
    assert names(database) == []


def test_a_statement_tells_how_many_rows_it_changed(database: SqliteDatabase) -> None:
    add(database, "Ada", "Grace", "Edsger")
    with database.transaction() as transaction:
        assert transaction.execute("UPDATE people SET name = 'x' WHERE id > ?", (1,)) == 2
        assert transaction.execute("DELETE FROM people WHERE id = 9") == 0
        assert (
            transaction.execute("INSERT INTO people VALUES (1, 'Ada') ON CONFLICT DO NOTHING") == 0
        )


def test_a_bulk_load_is_there_for_its_block_only(database: SqliteDatabase) -> None:
    rows = pa.table({"id": range(5000), "name": [f"name {number}" for number in range(5000)]})
    for _ in range(2):
        with database.transaction() as transaction:
            with transaction.ingested("incoming", rows) as incoming:
                transaction.execute(f"INSERT OR REPLACE INTO people SELECT * FROM {incoming}")
            assert transaction.rows("SELECT name FROM sqlite_temp_schema") == []
    assert len(names(database)) == 5000


def test_a_bulk_load_of_no_rows_is_a_table_without_rows(database: SqliteDatabase) -> None:
    empty = pa.table({"id": pa.array([], pa.int64()), "name": pa.array([], pa.string())})
    with database.transaction() as transaction, transaction.ingested("incoming", empty) as incoming:
        assert transaction.execute(f"INSERT INTO people SELECT id, name FROM {incoming}") == 0


def test_values_come_back_as_they_were_given(database: SqliteDatabase) -> None:
    given = ["", "ö\u2028😀", "a'b\"c;--", "\t\n", "x" * 100_000, None]
    add(database, *given)
    assert names(database) == given
    assert database.rows("SELECT ? AS most, ? AS least", (2**63 - 1, -(2**63))) == [
        {"most": 2**63 - 1, "least": -(2**63)}
    ]


def test_a_query_without_rows_gives_none(database: SqliteDatabase) -> None:
    assert database.rows("SELECT * FROM people") == []
    with database.reader("SELECT * FROM people") as batches:
        assert batches.read_all().num_rows == 0


def test_a_column_that_is_null_for_long_and_then_text_is_text(
    database: SqliteDatabase,
) -> None:
    add(database, *[None] * 3000, "at last")
    assert names(database) == [*[None] * 3000, "at last"]


def test_a_large_result_is_streamed_in_small_batches_of_one_type(
    database: SqliteDatabase,
) -> None:
    add(database, *(f"name {number}" for number in range(5000)))
    with database.reader("SELECT id, name FROM people ORDER BY id") as batches:
        sizes, seen = [], []
        for batch in batches:
            assert batch.schema == pa.schema([("id", pa.int64()), ("name", pa.string())])
            sizes.append(batch.num_rows)
            seen += batch.column("name").to_pylist()
    assert seen == [f"name {number}" for number in range(5000)]
    assert len(sizes) > 1
    assert max(sizes) <= 1024


def test_a_stream_goes_on_seeing_what_it_began_with(database: SqliteDatabase) -> None:
    add(database, *(f"name {number}" for number in range(3000)))
    with database.reader("SELECT name FROM people") as batches:
        seen = batches.read_next_batch().num_rows
        with database.transaction() as transaction:
            transaction.execute("DELETE FROM people")
        seen += sum(batch.num_rows for batch in batches)
    assert seen == 3000
    assert names(database) == []


def test_a_stream_broken_off_gives_its_snapshot_back(database: SqliteDatabase) -> None:
    add(database, *(f"name {number}" for number in range(3000)))

    def break_off() -> None:
        with database.reader("SELECT name FROM people") as batches:
            batches.read_next_batch()
            raise LookupError

    with pytest.raises(LookupError):
        break_off()
    with database.reader("SELECT name FROM people") as batches:
        batches.read_next_batch()
    add(database, "one more")
    (checkpoint,) = database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert checkpoint["busy"] == 0


def test_every_connection_commits_to_the_disk_and_lets_readers_be(
    database: SqliteDatabase,
) -> None:
    pragmas = ("journal_mode", "synchronous", "foreign_keys")
    with database.reader("SELECT 1") as _:
        # The reader keeps one connection, so that these questions go to another.
        for _ in range(2):
            values = [
                next(iter(database.rows(f"PRAGMA {pragma}")[0].values())) for pragma in pragmas
            ]
            assert values == ["wal", 2, 1]


def test_a_lock_that_another_process_keeps_is_busy_after_the_last_try(
    database: SqliteDatabase, path: Path
) -> None:
    add(database, "Ada")
    with another_process(HOLDER, path) as holder:
        assert holder.hears() == "holding"
        with pytest.raises(DatabaseBusy, match=rf"^{path} stayed locked by another process"):
            add(database, "Grace")
        assert names(database) == ["Ada"]
        holder.go_on()
        assert holder.end() == 0
    add(database, "Grace")
    assert names(database) == ["held", "Grace"]


def test_a_lock_that_another_process_lets_go_is_waited_for(
    database: SqliteDatabase, patient: SqliteDatabase, path: Path
) -> None:
    add(database, "Ada")
    waiting = threading.Thread(target=add, args=(patient, "Grace"))
    with another_process(HOLDER, path) as holder:
        assert holder.hears() == "holding"
        waiting.start()
        wait_until_it_waits(waiting)
        holder.go_on()
        waiting.join()
    assert names(database) == ["held", "Grace"]


def test_a_writer_that_is_killed_leaves_neither_change_nor_lock(
    database: SqliteDatabase, path: Path
) -> None:
    add(database, "Ada")
    with another_process(HOLDER, path) as holder:
        assert holder.hears() == "holding"
        holder.kill()
    add(database, "Grace")
    assert names(database) == ["Ada", "Grace"]


def test_threads_that_write_at_once_lose_nothing(database: SqliteDatabase) -> None:
    add(database, "counter")
    start = threading.Barrier(8)

    def count() -> None:
        start.wait()
        for _ in range(10):
            with database.transaction() as transaction:
                value = transaction.value("SELECT id FROM people")
                transaction.execute("UPDATE people SET id = ?", (value + 1,))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.rows("SELECT id FROM people") == [{"id": 81}]


def test_processes_that_write_at_once_lose_nothing(database: SqliteDatabase, path: Path) -> None:
    add(database, "counter")
    with (
        another_process(COUNTER, path) as one,
        another_process(COUNTER, path) as two,
        another_process(COUNTER, path) as three,
    ):
        counters = (one, two, three)
        for counter in counters:
            assert counter.hears() == "ready"
        for counter in counters:
            counter.go_on()
        assert [counter.end() for counter in counters] == [0, 0, 0]
    assert database.rows("SELECT id FROM people") == [{"id": 76}]


def test_processes_that_open_a_new_database_at_once_all_find_it_complete(path: Path) -> None:
    path.parent.mkdir()
    with (
        another_process(MIGRATOR, path) as one,
        another_process(MIGRATOR, path) as two,
        another_process(MIGRATOR, path) as three,
    ):
        migrators = (one, two, three)
        for migrator in migrators:
            assert migrator.hears() == "ready"
        for migrator in migrators:
            migrator.go_on()
        assert [migrator.hears() for migrator in migrators] == ["migrated"] * 3


def test_migrating_again_changes_nothing(database: SqliteDatabase) -> None:
    schema = "SELECT sql FROM sqlite_schema ORDER BY name"
    before = database.rows(schema)
    add(database, "Ada")
    database.migrate(also=[TABLE])
    assert database.rows(schema) == before
    assert names(database) == ["Ada"]


def test_a_migration_happens_as_a_whole_or_not_at_all(path: Path) -> None:
    database = SqliteDatabase(path)
    with pytest.raises(adbc_driver_manager.ProgrammingError):
        database.migrate(also=[TABLE, "CREATE TABLE ("])
    assert database.rows("SELECT name FROM sqlite_schema") == []
    assert database.rows("PRAGMA user_version") == [{"user_version": 0}]
    database.migrate(also=[TABLE])
    assert names(database) == []
    database.close()


def test_a_database_of_a_later_release_is_refused_untouched(
    database: SqliteDatabase, path: Path
) -> None:
    with database.transaction() as transaction:
        transaction.execute("PRAGMA user_version = 999")
        transaction.execute("DROP TABLE people")
    with pytest.raises(DatabaseDamaged, match=rf"^{path} has schema 999, this release knows \d+;"):
        database.migrate(also=[TABLE])
    assert database.rows("SELECT name FROM sqlite_schema WHERE name = 'people'") == []


def test_migrations_are_numbered_without_a_gap() -> None:
    folder = resources.files("elt_assets.stores.migrations")
    scripts = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    assert [name.partition("_")[0] for name in scripts] == [
        f"{number:04}" for number in range(1, len(scripts) + 1)
    ]


@pytest.mark.parametrize("damage", ["garbage", "no header", "cut short", "pages of noise"])
def test_a_damaged_database_is_named(database: SqliteDatabase, path: Path, damage: str) -> None:
    add(database, *("x" * 500 for _ in range(100)))
    database.close()
    whole = path.read_bytes()
    path.write_bytes(
        {
            "garbage": b"garbage" * 5000,
            "no header": b"X" * 50 + whole[50:],
            "cut short": whole[: len(whole) // 2],
            "pages of noise": whole[:4096] + b"\xff" * (len(whole) - 4096),
        }[damage]
    )
    with pytest.raises(DatabaseDamaged) as damaged:
        names(database)
    assert str(damaged.value).startswith(f"{path} cannot be read")
    assert len(str(damaged.value).splitlines()) == 1
    with pytest.raises(DatabaseDamaged, match=rf"^{path} cannot be read"):
        add(database, "Grace")


def test_a_folder_in_the_place_of_the_database_is_named(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path)
    with pytest.raises(DatabaseDamaged, match=rf"^{tmp_path} cannot be opened"):
        database.migrate()


def test_a_full_disk_rolls_back_and_works_again_with_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        database = SqliteDatabase(disk / "oltp.db")
        database.migrate(also=[TABLE])
        add(database, "Ada")
        filler = fill(disk)
        with pytest.raises(StorageFull, match=rf"^no space left for {disk}/oltp.db;"):
            add(database, *("x" * 10_000 for _ in range(100)))
        assert names(database) == ["Ada"]
        filler.unlink()
        add(database, "Grace")
        assert names(database) == ["Ada", "Grace"]
        assert database.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
        database.close()


def in_the_files(path: Path, text: str) -> list[str]:
    """Which of the database's files have `text` in them, the log included."""
    return [
        file.name
        for file in sorted(path.parent.glob(path.name + "*"))
        if text.encode() in file.read_bytes()
    ]


def test_what_was_deleted_is_in_no_file_once_the_log_is_empty(
    database: SqliteDatabase,
) -> None:
    with database.transaction() as transaction:
        transaction.execute(TABLE)
        for number in range(500):
            transaction.execute("INSERT INTO people VALUES (?, 'Forgotten Person')", (number,))
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM people")
    assert in_the_files(database.path, "Forgotten Person")
    assert database.empty_log()
    assert in_the_files(database.path, "Forgotten Person") == []


def test_the_log_is_not_emptied_under_somebody_who_reads_it(
    database: SqliteDatabase,
) -> None:
    with database.transaction() as transaction:
        transaction.execute(TABLE)
        transaction.execute(
            "INSERT INTO people WITH RECURSIVE numbers(n) AS"
            " (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 200000)"
            " SELECT n, 'Ada' FROM numbers"
        )
    with database.reader("SELECT name FROM people"):
        with database.transaction() as transaction:
            transaction.execute("DELETE FROM people")
        assert not database.empty_log()
    assert database.empty_log()


def test_vacuuming_gives_back_what_deleted_rows_took(database: SqliteDatabase) -> None:
    with database.transaction() as transaction:
        transaction.execute(TABLE)
        for number in range(2000):
            transaction.execute("INSERT INTO people VALUES (?, ?)", (number, "x" * 100))
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM people WHERE id > 10")
    free = database.free_bytes()
    assert free > 100_000
    database.vacuum()
    assert database.free_bytes() == 0
    assert database.rows("SELECT count(*) AS n FROM people") == [{"n": 11}]


def test_a_copy_is_made_while_another_writes(database: SqliteDatabase, tmp_path: Path) -> None:
    with database.transaction() as transaction:
        transaction.execute(TABLE)
        transaction.execute("INSERT INTO people VALUES (1, 'Ada')")
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM people")
        database.copy(tmp_path / "copy.db")
    copied = SqliteDatabase(tmp_path / "copy.db")
    assert copied.rows("SELECT name FROM people") == [{"name": "Ada"}]
    copied.close()
