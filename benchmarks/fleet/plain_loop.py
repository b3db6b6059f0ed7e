"""A plain loop over tenants: batches into a staging table, comparison in SQL, rows applied.

This is the pipeline that an engineer writes first from this platform's original description. A
batch is ten pages, inserted and committed with its checkpoint. A window function resolves
duplicates, joins find inserts, updates and deletes, and rows are applied one by one. It has no
certificate, safeguards, dead letters or ledger, and uses no code of the platform.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from typing import Any

import duckdb
import urllib3

from benchmarks.extract.provider import TOKEN

BATCH = 10

_STAGING = """
CREATE TABLE IF NOT EXISTS users_staging (
    id VARCHAR, external_id VARCHAR, name VARCHAR, email VARCHAR, tenant VARCHAR,
    content_hash VARCHAR, sync_id VARCHAR, created_at TIMESTAMP DEFAULT current_timestamp
)
"""
_CDC = """
CREATE TABLE IF NOT EXISTS users_cdc (
    sync_id VARCHAR, tenant VARCHAR, change VARCHAR, id VARCHAR, external_id VARCHAR,
    name VARCHAR, email VARCHAR, content_hash VARCHAR
)
"""
_LATEST = """
CREATE TABLE IF NOT EXISTS users_latest (
    id TEXT PRIMARY KEY, external_id TEXT, name TEXT, email TEXT, tenant TEXT, content_hash TEXT
)
"""
_UNIQUE = """
SELECT * FROM (
    SELECT *, row_number() OVER (PARTITION BY id ORDER BY created_at DESC) AS newest
    FROM users_staging
    WHERE tenant = $tenant AND sync_id = $sync_id
)
WHERE newest = 1
"""


class PlainLoop:
    """One DuckDB and one SQLite file for all tenants."""

    def __init__(self, url: str, page_size: int) -> None:
        self._url = url
        self._page_size = page_size
        self._http = urllib3.PoolManager(headers={"Authorization": f"Bearer {TOKEN}"})
        self._olap = duckdb.connect("data_olap.db")
        self._oltp = sqlite3.connect("data.db")
        for statement in (_STAGING, _CDC, "CREATE TABLE checkpoints (sync_id TEXT, cursor TEXT)"):
            self._olap.execute(statement)
        self._oltp.execute(_LATEST)

    def sync(self, tenant: str, users: int) -> int:
        """Sync one tenant and return how many users it has."""
        sync_id = uuid.uuid4().hex
        self._extract(tenant, users, sync_id)
        self._detect(tenant, sync_id)
        self._apply(tenant, sync_id)
        (rows,) = self._oltp.execute(
            "SELECT count(*) FROM users_latest WHERE tenant = ?", [tenant]
        ).fetchone()
        return int(rows)

    def _extract(self, tenant: str, users: int, sync_id: str) -> None:
        cursor: str | None = "0"
        while cursor is not None:
            rows: list[Any] = []
            for _ in range(BATCH):
                if cursor is None:
                    break
                answer = self._http.request(
                    "GET",
                    f"{self._url}/cursor",
                    fields={"size": str(self._page_size), "of": str(users), "after": cursor},
                ).json()
                rows += [self._row(tenant, sync_id, record) for record in answer["items"]]
                cursor = answer["next"]
            self._olap.execute("BEGIN")
            self._olap.executemany(
                "INSERT INTO users_staging VALUES (?, ?, ?, ?, ?, ?, ?, current_timestamp)", rows
            )
            self._olap.execute("INSERT INTO checkpoints VALUES (?, ?)", [sync_id, cursor])
            self._olap.execute("COMMIT")

    def _row(self, tenant: str, sync_id: str, record: dict[str, Any]) -> list[Any]:
        profile = record["profile"]
        content = json.dumps(record, sort_keys=True).encode()
        return [
            str(uuid.uuid5(uuid.NAMESPACE_URL, f"{tenant}:{record['id']}")),
            record["id"],
            profile["displayName"],
            profile["email"],
            tenant,
            hashlib.sha256(content).hexdigest(),
            sync_id,
        ]

    def _detect(self, tenant: str, sync_id: str) -> None:
        latest = self._oltp.execute(
            "SELECT id, content_hash FROM users_latest WHERE tenant = ?", [tenant]
        ).fetchall()
        self._olap.execute("CREATE OR REPLACE TEMP TABLE latest (id VARCHAR, content_hash VARCHAR)")
        if latest:
            self._olap.executemany("INSERT INTO latest VALUES (?, ?)", latest)
        known = {"tenant": tenant, "sync_id": sync_id}
        self._olap.execute(
            f"""
            INSERT INTO users_cdc
            SELECT $sync_id, $tenant, CASE WHEN l.id IS NULL THEN 'INSERT' ELSE 'UPDATE' END,
                s.id, s.external_id, s.name, s.email, s.content_hash
            FROM ({_UNIQUE}) AS s LEFT JOIN latest AS l ON l.id = s.id
            WHERE l.id IS NULL OR l.content_hash <> s.content_hash
            UNION ALL
            SELECT $sync_id, $tenant, 'DELETE', l.id, NULL, NULL, NULL, NULL
            FROM latest AS l LEFT JOIN ({_UNIQUE}) AS s ON s.id = l.id
            WHERE s.id IS NULL
            """,
            known,
        )

    def _apply(self, tenant: str, sync_id: str) -> None:
        changes = self._olap.execute(
            "SELECT change, id, external_id, name, email, content_hash FROM users_cdc"
            " WHERE sync_id = ?",
            [sync_id],
        ).fetchall()
        for change, key, external_id, name, email, content_hash in changes:
            if change == "DELETE":
                self._oltp.execute("DELETE FROM users_latest WHERE id = ?", [key])
            else:
                self._oltp.execute(
                    "INSERT OR REPLACE INTO users_latest VALUES (?, ?, ?, ?, ?, ?)",
                    [key, external_id, name, email, tenant, content_hash],
                )
        self._oltp.commit()
