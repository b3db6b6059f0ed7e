"""The original examples' table and operations, in DuckDB, as the examples combine them.

The module generates users, inserts a page, counts, and fails after the data is safe. Each test is
one of the patterns.
"""

from __future__ import annotations

import ctypes
import resource
import uuid
from pathlib import Path

import duckdb
from faker import Faker
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from elt_assets.storage.warehouse.warehouse import transaction

PAGE = 10
TABLE = """
    CREATE TABLE IF NOT EXISTS users (
        id          UUID,
        external_id VARCHAR,
        name        VARCHAR,
        workflow_id VARCHAR,
        analyzed_at TIMESTAMP,  -- when this execution of the workflow began
        created_at  TIMESTAMP DEFAULT get_current_timestamp(),
        {unique}
    )
"""
ONCE_PER_EXECUTION = "UNIQUE (id, workflow_id, analyzed_at)"
ONCE_PER_INSERT = "UNIQUE (id, workflow_id, analyzed_at, created_at)"

UNIQUE_USERS = """
    SELECT count(*)
    FROM (
        SELECT row_number() OVER (PARTITION BY id, workflow_id ORDER BY created_at DESC) AS age
        FROM users
        WHERE workflow_id = ?
    )
    WHERE age = 1
"""

User = tuple[uuid.UUID, str, str]


class LaterFailure(Exception):
    """A time-out, or memory that ran out, after the transaction was committed."""


def generate(page: int) -> list[User]:
    """The users of a page: always the same for the same page."""
    fake = Faker()
    fake.seed_instance(page)
    made = []
    for number in range(page * PAGE, (page + 1) * PAGE):
        name, external_id = fake.name(), f"user-{number}"
        made.append((uuid.uuid5(uuid.NAMESPACE_URL, f"{external_id}/{name}"), external_id, name))
    return made


def insert(
    connection: duckdb.DuckDBPyConnection, users: list[User], workflow_id: str, analyzed_at: str
) -> None:
    """Insert a page; committed when this returns."""
    with transaction(connection):
        connection.executemany(
            "INSERT INTO users (id, external_id, name, workflow_id, analyzed_at)"
            " VALUES (?, ?, ?, ?, ?)",
            [(*user, workflow_id, analyzed_at) for user in users],
        )


def retried(attempts: int = 3) -> Retrying:
    """Try a step again when it failed with `LaterFailure`."""
    return Retrying(
        retry=retry_if_exception_type(LaterFailure),
        stop=stop_after_attempt(attempts),
        reraise=True,
    )


def count(connection: duckdb.DuckDBPyConnection, sql: str, *parameters: object) -> int:
    """The one number that a query yields."""
    row = connection.execute(sql, parameters).fetchone()
    assert row is not None
    return int(row[0])


def land_with_checkpoints(path: Path, pages: int, crash_after: int | None = None) -> None:
    """Land pages, each in one transaction with the checkpoint that says so.

    The process dies by a segmentation fault after page `crash_after`: nothing cleans up.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS users (external_id VARCHAR, page INTEGER)")
        connection.execute("CREATE TABLE IF NOT EXISTS checkpoints (page INTEGER)")
        begin = count(connection, "SELECT coalesce(max(page) + 1, 0) FROM checkpoints")
        for page in range(begin, pages):
            with transaction(connection):
                connection.executemany(
                    "INSERT INTO users VALUES (?, ?)", [(user[1], page) for user in generate(page)]
                )
                connection.execute("INSERT INTO checkpoints VALUES (?)", [page])
            if page == crash_after:
                ctypes.string_at(0)
