from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets.errors import DatabaseBusy, DatabaseDamaged, DatabaseRefused, StorageFull
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
from elt_assets_tests.storage.processes import (
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
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
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
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
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
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
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


def test_a_database_of_a_later_release_is_refused_untouched(
    database: SqliteDatabase, path: Path
) -> None:
    with database.transaction() as transaction:
        transaction.execute("PRAGMA user_version = 999")
        transaction.execute("DROP TABLE people")
    with pytest.raises(DatabaseDamaged, match=rf"^{path} has schema 999, this release knows \d+;"):
        database.migrate(also=[TABLE])
    assert database.rows("SELECT name FROM sqlite_schema WHERE name = 'people'") == []


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
    with pytest.raises(DatabaseRefused, match=rf"^{tmp_path} cannot be opened"):
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
