"""The three ways to load a table: twice is once, and killed in the middle is not at all."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from elt_assets.signin_events.warehouse.load_strategies import (
    Changes,
    delete_then_insert,
    refresh,
    upsert,
)
from elt_assets.storage.warehouse.warehouse import transaction

ROWS = "SELECT * FROM (VALUES (1, 1, 'a'), (1, 2, 'b'), (2, 3, 'c')) AS v (day, id, name)"

KILLED = """
import os, signal, sys
import duckdb
from elt_assets.signin_events.warehouse.load_strategies import delete_then_insert, refresh, upsert
from elt_assets.storage.warehouse.warehouse import transaction

connection = duckdb.connect(sys.argv[1])

def die() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0

new = "SELECT 1 AS day, i AS id, 'new' AS name FROM range(300000) AS t (i)"
match sys.argv[2]:
    case "delete_then_insert":
        with transaction(connection):
            delete_then_insert(connection, "target", {"day": 1}, new)
            die()
    case "upsert":
        connection.execute(f"CREATE TABLE incoming AS {new}")
        with transaction(connection):
            upsert(connection, "target", key=("id",), incoming="incoming", among="incoming",
                   observed="day")
            die()
    case "refresh":
        connection.create_function("die", die, side_effects=True)
        refresh(connection, "target", f"{new} UNION ALL SELECT 1, die(), 'x'")
"""


@pytest.fixture
def connection(tmp_path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(tmp_path / "tables.duckdb"))
    connection.execute("CREATE TABLE target (day INTEGER NOT NULL, id INTEGER, name VARCHAR)")
    connection.execute(f"INSERT INTO target {ROWS}")
    return connection


def rows(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, int, str]]:
    return connection.execute("FROM target ORDER BY day, id, name").fetchall()


def test_a_day_is_replaced_and_the_others_are_left_alone(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    for _ in range(2):
        with transaction(connection):
            count = delete_then_insert(
                connection, "target", {"day": 1}, "SELECT $id AS id, 1 AS day", {"id": 9}
            )
        assert count == 1
        assert rows(connection) == [(1, 9, None), (2, 3, "c")]


def test_rows_are_corrected_by_their_key_wherever_they_lie(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    connection.execute("CREATE TABLE incoming AS SELECT 5 AS day, 2 AS id, 'moved' AS name")
    connection.execute("INSERT INTO incoming VALUES (2, 3, 'c'), (7, 7, 'new')")
    connection.execute("CREATE TABLE among AS FROM (VALUES (1), (2), (3), (7)) AS v (id)")
    options = {"key": ("id",), "incoming": "incoming", "among": "among", "observed": "day"}
    with transaction(connection):
        changes = upsert(connection, "target", **options)  # type: ignore[arg-type]
    assert changes == Changes(inserted=1, updated=1, removed=1, unchanged=1, touched=(1, 5, 7))
    expected = [(2, 3, "c"), (5, 2, "moved"), (7, 7, "new")]
    assert rows(connection) == expected
    places = "SELECT rowid, id FROM target ORDER BY id"
    before = connection.execute(places).fetchall()
    with transaction(connection):
        again = upsert(connection, "target", **options)  # type: ignore[arg-type]
    assert again == Changes(unchanged=3)
    assert rows(connection) == expected
    # What is right already is not written again.
    assert connection.execute(places).fetchall() == before


def test_a_row_that_is_not_among_the_keys_stays(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("CREATE TABLE incoming AS FROM target LIMIT 0")
    connection.execute("CREATE TABLE among AS SELECT 1 AS id")
    with transaction(connection):
        upsert(
            connection, "target", key=("id",), incoming="incoming", among="among", observed="day"
        )
    assert [row[1] for row in rows(connection)] == [2, 3]


def test_a_swapped_table_keeps_its_constraints(connection: duckdb.DuckDBPyConnection) -> None:
    assert refresh(connection, "target", "SELECT 3 AS day, 1 AS id, 'x' AS name") == 1
    assert rows(connection) == [(3, 1, "x")]
    with pytest.raises(duckdb.ConstraintException):
        connection.execute("INSERT INTO target VALUES (NULL, 1, 'y')")


def test_readers_of_a_table_that_is_refreshed_never_see_it_empty(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    reader, ended = connection.cursor(), threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not ended.is_set():
            seen.update(row[0] for row in reader.execute("SELECT count(*) FROM target").fetchall())

    thread = threading.Thread(target=read)
    thread.start()
    for count in (1000, 2000, 1000):
        refresh(connection, "target", f"SELECT 1 AS day, i AS id FROM range({count}) AS t (i)")
    ended.set()
    thread.join()
    assert seen <= {3, 1000, 2000}
    assert seen


@pytest.mark.parametrize("strategy", ["delete_then_insert", "upsert", "refresh"])
def test_a_load_that_is_killed_in_the_middle_leaves_the_table_as_it_was(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, strategy: str
) -> None:
    before = rows(connection)
    connection.close()
    path = str(tmp_path / "tables.duckdb")
    killed = subprocess.run([sys.executable, "-c", KILLED, path, strategy], check=False)
    assert killed.returncode == -9
    with duckdb.connect(path) as survivor:
        assert rows(survivor) == before
        # And the next attempt is not hindered by what the killed one left.
        refresh(survivor, "target", ROWS)
        assert rows(survivor) == before
