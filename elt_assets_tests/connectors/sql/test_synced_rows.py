"""A query through the whole engine: landed, counted, continued after a stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import SyncProgress
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.sql.conftest import SqliteFile

pytestmark = pytest.mark.slow

HR = IntegrationRef("acme", "hr")


@pytest.fixture
def database(tmp_path: Path) -> SqliteFile:
    database = SqliteFile(tmp_path / "hr.db")
    database.execute(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)"
        " INSERT INTO users SELECT i, 'Ann' FROM n",
    )
    return database


@pytest.fixture
def platform(tmp_path: Path, database: SqliteFile) -> Iterator[SyncService]:
    stream = {
        "query": "SELECT id, name FROM users",
        "key": "id",
        "page_size": 4,
        "fields": {"external_id": "id", "name": "name"},
    }
    with SyncService.open(load_settings(home=tmp_path / "home")) as platform:
        platform.registry.add(
            HR, "sql", {"connection": database.connection(), "streams": {"users": stream}}
        )
        list(platform.sync(USERS, [HR], sync_id="s0"))
        yield platform


def test_what_changed_in_the_database_changes_in_latest(
    platform: SyncService, database: SqliteFile
) -> None:
    database.execute(
        "DELETE FROM users WHERE id = 7",
        "UPDATE users SET name = 'Bea' WHERE id = 8",
        "INSERT INTO users VALUES (21, 'Cyd')",
    )
    (outcome,) = platform.sync(USERS, [HR], sync_id="s1")
    counts = outcome.counts
    assert (counts.inserts, counts.updates, counts.deletes) == (1, 1, 1)
    assert outcome.certificate.declared_total == 20


def test_a_sync_that_goes_on_in_a_database_that_changed_deletes_nobody_unasked(
    platform: SyncService, database: SqliteFile
) -> None:
    database.execute("DELETE FROM users WHERE id = 2", "UPDATE users SET name = 'Bea'")
    stopping = _Stop(after=2)
    with pytest.raises(KeyboardInterrupt):
        list(
            platform.sync(USERS, [HR], sync_id="s1", pages_per_batch=1, progress=stopping.progress)
        )
    database.execute("DELETE FROM users WHERE id = 20")
    (outcome,) = platform.sync(USERS, [HR], sync_id="s1", pages_per_batch=1)
    assert outcome.resumed_batches == 2
    assert outcome.status == "quarantined"
    assert outcome.certificate.reasons == ("the provider counts 19 records and listed 18",)
    assert outcome.counts.updates == 18
    assert len(platform.records(USERS, HR)) == 20


class _Stop:
    """Ends the process's work, as a signal would, after so many batches."""

    def __init__(self, after: int) -> None:
        self._left = after

    def progress(self, progress: SyncProgress) -> None:
        self._left -= progress.stage == "extract"
        if not self._left:
            raise KeyboardInterrupt
