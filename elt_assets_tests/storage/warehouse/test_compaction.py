"""Rewriting and copying warehouse files: smaller, whole, and nobody's write is lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from elt_assets.errors import WarehouseBusy
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse import database_file, warehouse_files
from elt_assets.storage.warehouse.database_file import identity, rewritten
from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses, one_row
from elt_assets_tests.storage.processes import another_process, wait_until_it_waits

ACME = IntegrationRef("acme", "main")

# Rewrites the file and dies at the moment it is told.
DIES = """
import os, signal, sys, threading
from pathlib import Path
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse import warehouse_files

root, moment = Path(sys.argv[1]), sys.argv[2]
ref = IntegrationRef("acme", "main")

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def around(function, before):
    def wrapped(*arguments):
        if before:
            die()
        function(*arguments)
        die()
    return wrapped

def die_while_copying():
    while not (root / "acme" / ".main.duckdb.rewritten").exists():
        pass
    die()

if moment == "before copying":
    warehouse_files._copy = around(warehouse_files._copy, True)
elif moment == "while copying":
    threading.Thread(target=die_while_copying, daemon=True).start()
elif moment == "after copying":
    warehouse_files._copy = around(warehouse_files._copy, False)
elif moment == "after replacing":
    os.replace = around(os.replace, False)
warehouse_files.FileWarehouses(root).compact(ref)
"""

# Writes a row and holds the file with the row in its write-ahead log.
WRITER = """
import sys
from pathlib import Path
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses
with FileWarehouses(Path(sys.argv[1]), lock_wait=60).open(IntegrationRef("acme", "main")) as held:
    held.execute("INSERT INTO numbers VALUES (-1, 'written')")
    print("written", flush=True)
    input()
"""


@pytest.fixture
def warehouses(tmp_path: Path) -> Iterator[FileWarehouses]:
    """One file of 100 rows in which 50,000 others once were."""
    made = FileWarehouses(tmp_path / "olap", lock_wait=0)
    with made.open(ACME) as connection:
        connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY, text VARCHAR)")
        connection.execute("CREATE VIEW odd AS SELECT number FROM numbers WHERE number % 2 = 1")
        connection.execute("INSERT INTO numbers SELECT i, md5(i::VARCHAR) FROM range(50100) t(i)")
    with made.open(ACME) as connection:
        connection.execute("DELETE FROM numbers WHERE number >= 100")
    yield made
    made.close()


def numbers(warehouses: FileWarehouses) -> tuple[int, int]:
    """How many rows there are, and how many the view shows."""
    with warehouses.open(ACME, read_only=True) as connection:
        rows = one_row(connection, "SELECT count(*), (SELECT count(*) FROM odd) FROM numbers", {})
    return rows[0], rows[1]


def test_a_rewritten_file_is_smaller_and_holds_the_same(warehouses: FileWarehouses) -> None:
    before, after = warehouses.compact(ACME)
    assert after < before / 2
    assert warehouses.path(ACME).stat().st_size == after
    assert numbers(warehouses) == (100, 50)
    with warehouses.open(ACME) as connection, pytest.raises(duckdb.ConstraintException):
        connection.execute("INSERT INTO numbers VALUES (1, 'twice')")


@pytest.mark.parametrize(
    "moment", ["before copying", "while copying", "after copying", "after replacing"]
)
def test_killed_at_any_moment_nothing_is_lost_and_the_next_one_tidies_up(
    warehouses: FileWarehouses, moment: str
) -> None:
    with another_process(DIES, warehouses.path(ACME).parents[1], moment) as process:
        assert process.end() == -9
    assert numbers(warehouses) == (100, 50)
    left_behind = moment in ("while copying", "after copying")
    assert rewritten(warehouses.path(ACME)).exists() == left_behind
    warehouses.compact(ACME)
    assert [path.name for path in warehouses.path(ACME).parent.iterdir()] == ["main.duckdb"]
    assert numbers(warehouses) == (100, 50)


def test_a_file_that_a_sync_holds_is_left_alone(warehouses: FileWarehouses) -> None:
    with warehouses.open(ACME), pytest.raises(WarehouseBusy):
        warehouses.compact(ACME)


def test_no_process_writes_to_the_new_file_before_the_old_one_is_closed(
    warehouses: FileWarehouses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing the old file would take the new one's write-ahead log along."""
    replace, other = os.replace, FileWarehouses(warehouses.path(ACME).parents[1], lock_wait=0)

    def replace_and_try_to_write(source: Path, target: Path) -> None:
        replace(source, target)
        with pytest.raises(WarehouseBusy), other.open(ACME):
            pass

    monkeypatch.setattr(os, "replace", replace_and_try_to_write)
    warehouses.compact(ACME)
    assert numbers(warehouses) == (100, 50)


class _OpensTooEarly:
    """A connection whose first ATTACH gets the file that was there before the replacement."""

    def __init__(self, connection: Any, path: Path, old: Path) -> None:
        self._connection = connection
        self._paths = iter([(str(path), str(old))])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        if sql.startswith("ATTACH"):
            sql = sql.replace(*next(self._paths, ("", "")))
        return self._connection.execute(sql, *parameters)


def test_whoever_opened_the_old_file_before_it_was_replaced_opens_the_new_one(
    warehouses: FileWarehouses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It got the lock of a file that is no longer there; a write to it would be lost."""
    path = warehouses.path(ACME)
    old = path.with_name("old")
    os.link(path, old)
    found = [identity(path)]
    warehouses.compact(ACME)
    monkeypatch.setattr(
        database_file, "identity", lambda path: found.pop() if found else identity(path)
    )
    monkeypatch.setattr(
        duckdb.DuckDBPyConnection,
        "cursor",
        lambda instance: _OpensTooEarly(instance.duplicate(), path, old),
    )
    patient = FileWarehouses(path.parents[1], lock_wait=600)
    with patient.open(ACME) as connection:
        connection.execute("INSERT INTO numbers VALUES (-1, 'kept')")
    patient.close()
    monkeypatch.undo()
    assert numbers(warehouses) == (101, 50)


def test_a_rewriting_waits_for_the_sync_that_holds_the_file(warehouses: FileWarehouses) -> None:
    patient = FileWarehouses(warehouses.path(ACME).parents[1], lock_wait=600)
    rewriting = threading.Thread(target=patient.compact, args=(ACME,))
    with warehouses.open(ACME) as connection:
        rewriting.start()
        wait_until_it_waits(rewriting)
        connection.execute("INSERT INTO numbers VALUES (-1, 'late')")
    rewriting.join()
    patient.close()
    assert numbers(warehouses) == (101, 50)


def format_of(path: Path) -> str:
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{path}' AS found (READ_ONLY)")
        (tags,) = connection.execute(
            "SELECT tags FROM duckdb_databases() WHERE database_name = 'found'"
        ).fetchall()[0]
    return str(tags["storage_version"])


def test_a_file_has_duckdbs_newer_format_however_it_was_made(
    warehouses: FileWarehouses, tmp_path: Path
) -> None:
    path = warehouses.path(ACME)
    copied = tmp_path / "copy" / "acme.duckdb"
    warehouses.copy(ACME, copied)
    found = [format_of(path), format_of(copied)]
    warehouses.compact(ACME)
    assert {*found, format_of(path)} == {"v1.2.0+"}


def test_a_copy_is_a_file_of_its_own(warehouses: FileWarehouses, tmp_path: Path) -> None:
    warehouses.copy(ACME, tmp_path / "copy" / "acme" / "main.duckdb")
    copied = FileWarehouses(tmp_path / "copy")
    with copied.open(ACME) as connection:
        connection.execute("DELETE FROM numbers")
    assert numbers(copied) == (0, 0)
    assert numbers(warehouses) == (100, 50)
    copied.close()


def test_removing_takes_along_what_an_interrupted_rewriting_left(
    warehouses: FileWarehouses,
) -> None:
    with another_process(DIES, warehouses.path(ACME).parents[1], "after copying") as process:
        process.end()
    warehouses.remove(ACME)
    assert not warehouses.path(ACME).parent.exists()


def test_the_files_that_are_there_are_listed_and_nothing_else(warehouses: FileWarehouses) -> None:
    folder = warehouses.path(ACME).parent
    for name in ("two words.duckdb", "main.duckdb.wal", ".main.duckdb.rewritten"):
        (folder / name).touch()
    assert warehouses.refs() == [ACME]


def test_a_file_that_has_grown_is_rewritten_with_larger_blocks_and_goes_on_as_before(
    warehouses: FileWarehouses, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def outgrown() -> bool:
        return warehouses.reclaim(ACME, 0, dry_run=True) is not None

    warehouses.compact(ACME)
    assert not outgrown()
    monkeypatch.setattr("elt_assets.storage.warehouse.warehouse_files._LARGE", 1)
    assert outgrown()
    warehouses.copy(ACME, tmp_path / "copied.duckdb")
    warehouses.compact(ACME)
    assert not outgrown()
    with warehouses.open(ACME) as connection:
        connection.execute("INSERT INTO numbers VALUES (-1, 'written')")
    assert numbers(warehouses) == (101, 50)


def block_size(warehouses: FileWarehouses) -> int:
    with warehouses.open(ACME, read_only=True) as connection:
        (found,) = one_row(
            connection,
            "SELECT max(block_size) FROM pragma_database_size() WHERE database_name = 'warehouse'",
            {},
        )
    return int(found)


def test_a_file_that_outgrows_its_blocks_while_it_is_filled_gets_larger_ones(
    warehouses: FileWarehouses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse_files, "_LARGE", 10_000_000)
    with warehouses.open(ACME) as lent:
        lent.grow()
    assert block_size(warehouses) == warehouse_files.SMALL_BLOCKS
    monkeypatch.setattr(warehouse_files, "_LARGE", 100_000)
    with warehouses.open(ACME) as lent:
        lent.connection.execute("INSERT INTO numbers VALUES (-1, 'before')")
        lent.grow()
        identity = warehouses.path(ACME).stat().st_ino
        lent.connection.execute("INSERT INTO numbers VALUES (-3, 'after')")
        lent.grow()
        assert warehouses.path(ACME).stat().st_ino == identity, "once is enough"
        with (
            pytest.raises(WarehouseBusy),
            FileWarehouses(warehouses.path(ACME).parents[1], lock_wait=0).open(ACME),
        ):
            pass
    assert block_size(warehouses) == warehouse_files.LARGE_BLOCKS
    assert numbers(warehouses) == (102, 50)
    assert [path.name for path in warehouses.path(ACME).parent.iterdir()] == ["main.duckdb"]


def test_a_large_file_is_opened_anew_and_still_held(
    warehouses: FileWarehouses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warehouse_files, "_LARGE", 100_000)
    with warehouses.open(ACME) as lent:
        lent.connection.execute("INSERT INTO numbers VALUES (-1, 'before')")
        lent.connection.execute("CREATE TEMP TABLE kept AS SELECT 1 AS one")
        before = remembered(lent)
        lent.unload()
        assert remembered(lent) < before
        assert one_row(lent.connection, "SELECT one FROM kept", {}) == (1,)
        lent.connection.execute("INSERT INTO numbers VALUES (-3, 'after')")
        with (
            pytest.raises(WarehouseBusy),
            FileWarehouses(warehouses.path(ACME).parents[1], lock_wait=0).open(ACME),
        ):
            pass
    assert numbers(warehouses) == (102, 50)


def remembered(lent: Warehouse) -> int:
    (found,) = one_row(
        lent.connection,
        "SELECT memory_usage_bytes FROM duckdb_memory() WHERE tag = 'BASE_TABLE'",
        {},
    )
    return int(found)


@pytest.mark.parametrize("act", ["grow", "unload"])
def test_who_finds_that_another_wrote_while_the_file_was_let_go_of_begins_anew(
    warehouses: FileWarehouses, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """What a sync knows of its file would no longer be so."""
    monkeypatch.setattr(warehouse_files, "_LARGE", 100_000)
    attach = warehouses._attach

    def after_another_wrote(*arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(warehouses, "_attach", attach)
        # A program that heeds no lease.
        with duckdb.connect(str(warehouses.path(ACME))) as connection:
            connection.execute("INSERT INTO numbers VALUES (-1, 'written')")
        attach(*arguments, **named)

    with (  # noqa: PT012 - the file must be lent before its replacement fails
        pytest.raises(WarehouseBusy, match="was written to by another sync meanwhile"),
        warehouses.open(ACME) as lent,
    ):
        monkeypatch.setattr(warehouses, "_attach", after_another_wrote)
        getattr(lent, act)()
    assert numbers(warehouses) == (101, 50)


def test_room_for_a_large_batch_is_given_back(warehouses: FileWarehouses) -> None:
    def limit(connection: duckdb.DuckDBPyConnection) -> Any:
        return one_row(connection, "SELECT current_setting('memory_limit')", {})[0]

    with warehouses.open(ACME) as lent:
        usual = limit(lent.connection)
        lent.make_room(2**30)
        assert limit(lent.connection) != usual
    with warehouses.open(ACME) as connection:
        assert limit(connection) == usual
