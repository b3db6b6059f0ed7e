"""A query as a source: every row once, in pages by key, from databases that only read."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import msgspec
import pytest

from elt_assets.connectors.own_places import OwnPlaces
from elt_assets.errors import PageUnreadable, PermanentError, ProviderRefused, ProviderUnavailable
from elt_assets_tests.connectors.sql.conftest import Database, SqliteFile, opened, read, records

pytestmark = pytest.mark.slow

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n"
IDS = [3, 1, 4, 15, 9, 2, 6, 53, 58, 97]


def people(database: Database, ids: list[int] = IDS) -> None:
    database.execute(
        "CREATE TABLE users (id INTEGER NOT NULL, name VARCHAR(50))",
        *(f"INSERT INTO users VALUES ({each}, 'Zoë {each}%')" for each in ids),
    )


def expected(ids: list[int] = IDS) -> list[dict[str, Any]]:
    return [{"id": each, "name": f"Zoë {each}%"} for each in sorted(ids)]


def test_every_row_is_a_record_in_the_order_of_the_key(database: Database) -> None:
    people(database)
    pages = list(opened(database).pages(None))
    assert records(pages) == expected()
    assert [page.count for page in pages] == [3, 3, 3, 1]
    assert {page.total for page in pages} == {10}
    assert pages[-1].next is None


def test_from_every_cursor_exactly_the_rest_is_read(database: Database) -> None:
    people(database)
    pages = list(opened(database).pages(None))
    for done, page in enumerate(pages[:-1], start=1):
        cursor = msgspec.json.decode(msgspec.json.encode(page.next))
        assert list(opened(database).pages(cursor)) == pages[done:]


def test_a_full_last_page_is_followed_by_an_empty_one_that_ends(database: Database) -> None:
    people(database, [1, 2, 3])
    assert read(opened(database)) == expected([1, 2, 3])
    database.execute("DELETE FROM users")
    assert read(opened(database)) == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM users WHERE name LIKE 'Zo%' -- all",
        "WITH found AS (SELECT id, name FROM users) SELECT * FROM found ORDER BY name DESC;",
    ],
)
def test_any_select_can_be_paged(database: Database, query: str) -> None:
    people(database)
    assert read(opened(database, query)) == expected()


KEYS = {
    "text": ("VARCHAR(20)", ["'b'", "'a''x'", "'é'", "'%'", "''", "'B2'", "'a%s'"]),
    "date": ("DATE", ["'2026-01-02'", "'2025-01-02'", "'1999-12-31'", "'2026-01-03'"]),
    "big": ("BIGINT", ["-5", "9223372036854775807", "0", "9007199254740993"]),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_other_types_page_too(database: Database, kind: str) -> None:
    type_, values = KEYS[kind]
    database.execute(
        f"CREATE TABLE users (id {type_})",
        *(f"INSERT INTO users VALUES ({value})" for value in values),
    )
    whole = read(opened(database, page_size=100))
    assert len(whole) == len(values)
    assert read(opened(database, page_size=1)) == whole


def test_a_key_that_is_not_unique_is_refused_before_a_row_is_lost(database: Database) -> None:
    people(database, [*IDS, 4])
    with pytest.raises(PermanentError, match="11 rows have 10 different 'id'; the key must be"):
        read(opened(database))


def test_keys_that_only_the_database_takes_for_equal_are_refused(database: Database) -> None:
    collation = {
        "sqlite": "COLLATE NOCASE",
        "mysql": "COLLATE utf8mb4_general_ci",
        "postgresql": "",
    }[database.type]
    database.execute(
        f"CREATE TABLE users (id VARCHAR(9) {collation})",
        "INSERT INTO users VALUES ('a')",
        "INSERT INTO users VALUES ('A')",
    )
    if collation:
        with pytest.raises(PermanentError, match="must be unique"):
            read(opened(database))
    else:
        assert len(read(opened(database, page_size=1))) == 2


def test_a_key_that_is_null_is_refused(database: Database) -> None:
    database.execute("CREATE TABLE users (id INTEGER)", "INSERT INTO users VALUES (NULL)")
    with pytest.raises(PermanentError, match="1 of 1 rows have no 'id'"):
        read(opened(database))


@pytest.mark.parametrize(
    ("query", "key", "named"),
    [
        ("SELECT * FROM nobody", "id", "nobody"),
        ("SELECT * FROM users", "uid", "uid"),
        ("SELECT id, nome FROM users", "id", "nome"),
    ],
)
def test_a_query_that_the_database_refuses_is_a_permanent_error_with_its_words(
    database: Database, query: str, key: str, named: str
) -> None:
    people(database)
    with pytest.raises(ProviderRefused, match=named):
        read(opened(database, query, key))


def test_a_position_of_another_kind_of_source_is_refused(database: Database) -> None:
    people(database)
    with pytest.raises(PermanentError, match="start a new sync"):
        next(opened(database).pages({"page": 2, "at": "x"}))


def test_the_page_limit_cuts_the_listing_short_and_says_so(database: Database) -> None:
    people(database)
    pages = list(opened(database, max_pages=2).pages(None))
    assert len(pages) == 2
    assert pages[-1].cut_short == "page limit of 2 reached (ELT_ASSETS_MAX_PAGES)"


def test_all_pages_show_one_moment(database: Database) -> None:
    """A server's snapshot; a file's writers are not kept waiting for it."""
    people(database)
    pages = opened(database).pages(None)
    first = next(pages)
    database.execute("INSERT INTO users VALUES (1000, 'Late')")
    found = records([first, *pages])
    late = [each for each in found if each["name"] == "Late"]
    assert bool(late) == (database.type == "sqlite")


def test_a_writer_is_never_kept_waiting(database: Database) -> None:
    people(database)
    pages = opened(database).pages(None)
    next(pages)
    database.execute("DELETE FROM users WHERE id = 97", "UPDATE users SET name = 'x'")
    pages.close()


def test_rows_of_a_foreign_file_may_hold_anything(tmp_path: Path) -> None:
    database = SqliteFile(tmp_path / "hr.db")
    database.execute(
        "CREATE TABLE users (id, v)",
        "INSERT INTO users VALUES (1, x'00ff'), (2, 1.5), ('a', NULL), ('b', CAST(x'ff' AS TEXT))",
    )
    *sound, damaged = read(opened(database, page_size=1))
    assert sound == [{"id": 1, "v": "00FF"}, {"id": 2, "v": 1.5}, {"id": "a", "v": None}]
    assert damaged["id"] == "b"
    assert "invalid UTF-8" in damaged["$unreadable"]


def test_the_platforms_own_database_is_no_source(tmp_path: Path) -> None:
    database = SqliteFile(tmp_path / "oltp.db")
    people(database)
    (tmp_path / "link.db").symlink_to(tmp_path / "oltp.db")
    for name in ("oltp.db", "link.db"):
        with pytest.raises(PermanentError, match="a file of the platform itself"):
            read(opened(SqliteFile(tmp_path / name), own=OwnPlaces(tmp_path)))


def test_a_missing_file_is_named_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="is not there"):
        read(opened(SqliteFile(tmp_path / "none.db")))
    assert not (tmp_path / "none.db").exists()


def test_a_locked_file_is_tried_again_later(tmp_path: Path) -> None:
    from adbc_driver_sqlite import dbapi

    database = SqliteFile(tmp_path / "hr.db")
    people(database)
    with dbapi.connect(str(database.path), autocommit=True) as other, other.cursor() as cursor:
        cursor.execute("BEGIN EXCLUSIVE")
        source = opened(database)
        source._limits = type(source._limits)(  # type: ignore[attr-defined]
            attempts=1, first_wait=0, timeout=0.01, page_bytes=1 << 20, max_pages=9
        )
        with pytest.raises(ProviderUnavailable, match="locked"):
            read(source)
        cursor.execute("ROLLBACK")


def test_a_query_on_a_file_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    database = SqliteFile(tmp_path / "hr.db")
    database.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")
    with pytest.raises(ProviderUnavailable, match="longer than statement_timeout"):
        read(opened(database, ENDLESS, statement_timeout=0.5))


@pytest.mark.parametrize(
    "row",
    [
        "hex(zeroblob(400000000))",
        "printf('%.*c', 900000000, 'x')",
        "printf('%.*c', 60000000, 'x')",
        "printf('%.*c', 3000000, 'x')",
    ],
)
def test_a_row_of_a_file_takes_no_more_than_a_page_may(tmp_path: Path, row: str) -> None:
    file = SqliteFile(tmp_path / "hr.db")
    people(file)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with pytest.raises(PageUnreadable, match="ELT_ASSETS_PAGE_BYTES allows"):
        read(opened(file, f"SELECT id, {row} AS text FROM users", page_size=10))
    taken = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert taken <= max(before, 256 * 1024)


def test_no_query_takes_longer_than_its_integration_may(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "hr.db")
    people(file)
    with pytest.raises(ProviderUnavailable, match="took longer than"):
        read(opened(file, ENDLESS, statement_timeout=3600, time_budget=0.3))


def test_a_large_row_of_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "hr.db")
    people(file, [1])
    (row,) = read(opened(file, "SELECT id, printf('%.*c', 1000000, 'x') AS text FROM users"))
    assert row["text"] == "x" * 1_000_000
