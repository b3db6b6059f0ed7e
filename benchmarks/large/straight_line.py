"""A straight line: the speed of the same libraries where no failure is provided for.

Pages are fetched concurrently, decoded into columns, compared in SQL and applied in bulk;
everything stays in memory until the last step. There is no checkpoint, certificate, safeguard, log,
dead letter or resumption, so the difference to the platform is what those cost. It uses no code of
the platform.
"""

from __future__ import annotations

import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import adbc_driver_sqlite.dbapi as sqlite
import duckdb
import msgspec
import pyarrow as pa
import urllib3

from benchmarks.extract.provider import TOKEN

_CONNECTIONS = 8
_LATEST = """
CREATE TABLE users_latest (
    id TEXT PRIMARY KEY, external_id TEXT, name TEXT, email TEXT, active INTEGER,
    department TEXT, title TEXT, content_hash TEXT
) WITHOUT ROWID
"""
_COLUMNS = "id, external_id, name, email, active, department, title, content_hash"
_UPSERT = f"""
INSERT INTO users_latest ({_COLUMNS})
SELECT {_COLUMNS} FROM changes WHERE change <> 'DELETE' ORDER BY id
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, email = excluded.email, active = excluded.active,
    department = excluded.department, title = excluded.title,
    content_hash = excluded.content_hash
"""
_COMPARE = """
SELECT s.*, CASE WHEN l.id IS NULL THEN 'INSERT' ELSE 'UPDATE' END AS change
FROM (
    SELECT * FROM staged
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY updated DESC) = 1
) AS s LEFT JOIN latest AS l ON l.id = s.id
WHERE l.id IS NULL OR l.content_hash <> s.content_hash
UNION ALL BY NAME
SELECT l.id, l.content_hash, 'DELETE' AS change
FROM latest AS l ANTI JOIN staged AS s ON s.id = l.id
ORDER BY id
"""


class _Profile(msgspec.Struct):
    email: str
    displayName: str
    department: str
    title: str


class _Record(msgspec.Struct):
    id: str
    status: str
    lastUpdated: str
    profile: _Profile


class _Page(msgspec.Struct):
    items: list[_Record]


class StraightLine:
    """One tenant of `users` users in a SQLite file in the working folder."""

    def __init__(self, url: str, users: int, page_size: int) -> None:
        self._url, self._users, self._page_size = url, users, page_size
        self._http = urllib3.PoolManager(
            maxsize=_CONNECTIONS, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        self._duckdb = duckdb.connect(config={"threads": 2})
        with (
            sqlite.connect("latest.db", autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute(_LATEST)
        self._sqlite = sqlite.connect("latest.db")

    def sync(self) -> int:
        """Bring the file up to date; return the number of its users."""
        numbers = range(1, -(-self._users // self._page_size) + 1)
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            batches = list(pool.map(self._page, numbers))
        self.apply(pa.Table.from_batches(batches))
        return self.count()

    def count(self) -> int:
        """Return the number of users in the file."""
        with self._sqlite.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM users_latest")
            (count,) = cursor.fetchone() or (0,)
        return int(count)

    def apply(self, staged: pa.Table) -> None:
        """Compare `staged` with the table and write what differs."""
        with self._sqlite.cursor() as cursor:
            cursor.execute("SELECT id, content_hash FROM users_latest")
            # Without rows SQLite's driver types every column as integer.
            text = pa.schema([("id", pa.string()), ("content_hash", pa.string())])
            latest = cursor.fetch_arrow_table().cast(text)
        self._duckdb.register("latest", latest)
        self._duckdb.register("staged", staged)
        changes = self._duckdb.execute(_COMPARE).to_arrow_table()
        with self._sqlite.cursor() as cursor:
            if changes.num_rows:
                cursor.adbc_ingest("changes", changes, mode="replace", temporary=True)
                cursor.execute(_UPSERT)
                cursor.execute(
                    "DELETE FROM users_latest"
                    " WHERE id IN (SELECT id FROM changes WHERE change = 'DELETE')"
                )
                cursor.execute("DROP TABLE temp.changes")
        self._sqlite.commit()

    def _page(self, number: int) -> pa.RecordBatch:
        answer = self._http.request(
            "GET",
            f"{self._url}/page",
            fields={"size": str(self._page_size), "of": str(self._users), "page": str(number)},
        )
        return batch_of(msgspec.json.decode(answer.data, type=_Page).items)


def decoded(record: dict[str, Any]) -> _Record:
    """A record as it is after the decoding of a page."""
    return msgspec.convert(record, _Record)


def batch_of(records: list[_Record]) -> pa.RecordBatch:
    """Decoded records as columns."""
    columns: dict[str, list[Any]] = {
        "id": [str(uuid.uuid5(uuid.NAMESPACE_URL, one.id)) for one in records],
        "external_id": [one.id for one in records],
        "name": [one.profile.displayName for one in records],
        "email": [one.profile.email for one in records],
        "active": [int(one.status == "ACTIVE") for one in records],
        "department": [one.profile.department for one in records],
        "title": [one.profile.title for one in records],
        "updated": [one.lastUpdated for one in records],
    }
    content = zip(*(columns[name] for name in list(columns)[1:7]), strict=True)
    columns["content_hash"] = [
        hashlib.md5(repr(values).encode(), usedforsecurity=False).hexdigest() for values in content
    ]
    return pa.RecordBatch.from_pydict(columns)
