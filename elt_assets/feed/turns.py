"""Turns: one process at a time delivers to a consumer, so that messages keep their order.

A turn ends with the process that has it, however the process ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.operational.postgres_database import PostgresDatabase


@contextmanager
def turn(database: OperationalDatabase, home: Path, name: str) -> Iterator[bool]:
    """Exclude other deliveries to the consumer during the block; yield False if one is running."""
    if isinstance(database, PostgresDatabase):
        with database.session() as session:
            rows = session.rows(
                "SELECT pg_try_advisory_lock(hashtextextended(?, 2)) AS got",
                (f"{database.schema}\n{name}",),
            )
            try:
                yield bool(rows[0]["got"])
            finally:
                session.unlock()
        return
    folder = home / "feed"
    folder.mkdir(parents=True, exist_ok=True, mode=0o770)
    descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o660)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
