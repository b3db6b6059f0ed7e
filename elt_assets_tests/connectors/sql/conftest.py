"""What the tests of SQL sources share: real servers, and sources that read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from adbc_driver_sqlite import dbapi

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.own_places import OwnPlaces
from elt_assets.connectors.source import Page, Source
from elt_assets_tests.connectors.sql.measuring import Measuring, measuring
from elt_assets_tests.testbed import servers

OpenSql = Callable[..., Source]


class SqliteFile:
    """A database file with the face of a server."""

    type = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path

    def connection(self) -> dict[str, Any]:
        return {"type": "sqlite", "path": str(self.path)}

    def execute(self, *statements: str) -> None:
        with (
            dbapi.connect(str(self.path), autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)


Database = servers.Server | SqliteFile


@pytest.fixture(scope="session")
def mariadb() -> Iterator[servers.Server]:
    with servers.mariadb() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Database:
    """Each kind of database in turn, without a table `users`."""
    monkeypatch.setenv("HR_PASSWORD", servers.PASSWORD)
    if request.param == "sqlite":
        return SqliteFile(tmp_path / "hr.db")
    server: servers.Server = request.getfixturevalue(request.param)
    server.execute("DROP TABLE IF EXISTS users")
    return server


def opened(
    database: Database,
    query: str = "SELECT * FROM users",
    key: str = "id",
    *,
    own: OwnPlaces | None = None,
    max_pages: int = 1000,
    page_size: int = 3,
    page_bytes: int = 1 << 20,
    record_bytes: int = 16 << 20,
    timeout: float = 10,
    time_budget: float = 7200,
    **data: Any,
) -> Source:
    """A source of the stream `users`, which is that query."""
    stream = {
        "query": query,
        "key": key,
        "page_size": page_size,
        "fields": {"external_id": "id"},
    }
    return catalog.open_source(
        "sql",
        {"connection": database.connection(), "streams": {"users": stream}, **data},
        "users",
        secrets=Secrets(),
        limits=FetchLimits(
            attempts=1,
            first_wait=0,
            timeout=timeout,
            time_budget=time_budget,
            page_bytes=page_bytes,
            record_bytes=record_bytes,
            max_pages=max_pages,
            own=own,
        ),
    )


def records(pages: list[Page]) -> list[dict[str, Any]]:
    """The records of all pages; each page's count must be true."""
    found = []
    for page in pages:
        listed = msgspec.json.decode(page.body)
        assert len(listed) == page.count
        found += listed
    return found


def read(source: Source) -> list[dict[str, Any]]:
    """Everything a source yields, whose last page must say so."""
    pages = list(source.pages(None))
    assert [page.next is None for page in pages] == [False] * (len(pages) - 1) + [True]
    return records(pages)


@pytest.fixture(scope="module")
def measured(request: pytest.FixtureRequest) -> Iterator[Measuring]:
    """Measures the first page of what `source_at` of the test's module opens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HR_PASSWORD", servers.PASSWORD)
        with measuring(request.module.__name__) as measured:
            yield measured
