"""Change detection: what differs between one sync's staged records and the latest table.

Belongs here: the SQL that deduplicates, compares and writes the change log, and the counts
it returns. Does not: deciding whether deletes may pass (guard), or writing the operational
database (latest).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from elt_assets.errors import DatabaseDamaged
from elt_assets.identifiers import IntegrationRef
from elt_assets.stores.warehouse import one_row
from elt_assets.sync.guard import Verdict
from elt_assets.sync.stage import transaction
from elt_assets.sync.stream import Stream

SAMPLE = 10


@dataclass(frozen=True, slots=True)
class Found:
    """What the comparison found, before anybody decided about deletes."""

    staged: int
    unique: int
    inserts: int
    updates: int
    deletes: int
    shielded_deletes: int
    latest_before: int

    @property
    def duplicates(self) -> int:
        """Staged records that lost to a newer version of themselves."""
        return self.staged - self.unique


Judge = Callable[[Found], Verdict]


class Detection:
    """Detects one sync's changes against latest rows read at `base_version`."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        stream: Stream,
        ref: IntegrationRef,
        sync_id: str,
        base_version: int,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._ref = ref
        self._sync_id = sync_id
        self._base_version = base_version

    def run(self, images: pa.RecordBatchReader, judge: Judge, now: str) -> tuple[Found, Verdict]:
        """Compare, ask `judge` about the deletes, write the log: all or nothing.

        `images` are the integration's latest rows (id, content_hash, image).
        """
        self._load_latest(images)
        with transaction(self._connection):
            self._drop_unapplied()
            self._compare()
            found = self._count()
            verdict = judge(found)
            self._write(self._stream.cdc, "true" if verdict.deletes_pass else "NOT deletes", now)
            if not verdict.deletes_pass:
                self._write(self._stream.withheld, "deletes", now)
        return found, verdict

    def changes(self) -> pa.RecordBatchReader:
        """The written changes in the order in which they are best applied."""
        columns = ", ".join(column.name for column in self._stream.columns)
        return self._connection.sql(
            f"""
            SELECT
                id::VARCHAR AS id, {columns}, attributes::VARCHAR AS attributes,
                content_hash, change_type
            FROM {self._stream.cdc}
            WHERE sync_id = $sync_id AND version = $version
            ORDER BY id
            """,
            params=self._this,
        ).to_arrow_reader()

    def sample(self) -> tuple[dict[str, Any], ...]:
        """A few of the changes: type, key and names of changed fields, no values."""
        names = [column.name for column in self._stream.content]
        key = ", ".join(column.name for column in self._stream.key)
        rows = self._connection.execute(
            f"""
            SELECT change_type, [{key}], "before",
                json_object({_members(names)}, 'attributes', attributes)
            FROM {self._stream.cdc}
            WHERE sync_id = $sync_id AND version = $version
            ORDER BY change_type, sequence
            LIMIT {SAMPLE}
            """,
            self._this,
        ).fetchall()
        return tuple(
            {
                "change_type": change_type,
                "external_id": " / ".join(key_values),
                "fields": changed_fields(before, after) if change_type == "UPDATE" else [],
            }
            for change_type, key_values, before, after in rows
        )

    @property
    def _this(self) -> dict[str, object]:
        return {"sync_id": self._sync_id, "version": self._base_version + 1}

    def _load_latest(self, images: pa.RecordBatchReader) -> None:
        self._connection.register("latest_images", images)
        # The casts matter when there are no rows: SQLite's driver then types all as integers.
        self._connection.execute(
            """
            CREATE OR REPLACE TEMP TABLE latest_rows AS
            SELECT
                id::VARCHAR::UUID AS id,
                content_hash::VARCHAR AS content_hash,
                image::VARCHAR::JSON AS image
            FROM latest_images
            """
        )
        self._connection.unregister("latest_images")

    def _drop_unapplied(self) -> None:
        """Delete what earlier attempts wrote and never applied, so that the log tells the truth.

        A change is logged under the version it will make. Versions above the latest
        table's own were therefore never reached. At most one attempt can be pending; a
        log that is further ahead says that the operational database was set back.
        """
        (reached,) = one_row(
            self._connection, f"SELECT coalesce(max(version), 0) FROM {self._stream.cdc}", {}
        )
        if reached > self._base_version + 1:
            raise DatabaseDamaged(
                f"{self._ref}: the change log reaches version {reached} and the latest table "
                f"stands at {self._base_version}: the operational database was replaced or "
                f"restored from an older copy. Run `elt-assets rebuild {self._ref}` to bring it "
                "up to the log"
            )
        for table in (self._stream.cdc, self._stream.withheld):
            self._connection.execute(
                f"DELETE FROM {table} WHERE version > $version OR sync_id = $sync_id",
                {"version": self._base_version, "sync_id": self._sync_id},
            )

    def _compare(self) -> None:
        """Fill the temporary tables `current_records` (one row a key) and `found_changes`."""
        sync = {"sync_id": self._sync_id}
        # Newest by the provider's own time, then by arrival: (batch, seq) orders records as
        # they came, so the answer does not depend on where pages or batches were cut.
        self._connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE current_records AS
            SELECT id, content_hash, batch, seq
            FROM {self._stream.staging}
            WHERE sync_id = $sync_id
            QUALIFY row_number() OVER (
                PARTITION BY id
                ORDER BY source_updated_at DESC NULLS LAST, batch DESC, seq DESC
            ) = 1
            """,
            sync,
        )
        self._connection.execute(
            """
            CREATE OR REPLACE TEMP TABLE found_changes AS
            SELECT
                current.id,
                CASE WHEN latest.id IS NULL THEN 'INSERT' ELSE 'UPDATE' END AS change_type,
                current.batch,
                current.seq,
                latest.image AS "before"
            FROM current_records AS current
            LEFT JOIN latest_rows AS latest ON latest.id = current.id
            WHERE latest.id IS NULL OR latest.content_hash <> current.content_hash
            UNION ALL
            SELECT
                latest.id,
                -- A rejected record proves that its user still exists.
                CASE WHEN rejected.id IS NULL THEN 'DELETE' ELSE 'SHIELDED' END,
                NULL,
                NULL,
                latest.image
            FROM latest_rows AS latest
            ANTI JOIN current_records AS current ON current.id = latest.id
            LEFT JOIN (
                SELECT DISTINCT id
                FROM rejected_records
                WHERE stream = $stream AND sync_id = $sync_id AND id IS NOT NULL
            ) AS rejected ON rejected.id = latest.id
            """,
            sync | {"stream": self._stream.name},
        )

    def _count(self) -> Found:
        row = one_row(
            self._connection,
            f"""
            SELECT
                (SELECT count(*) FROM {self._stream.staging} WHERE sync_id = $sync_id),
                (SELECT count(*) FROM current_records),
                count(*) FILTER (change_type = 'INSERT'),
                count(*) FILTER (change_type = 'UPDATE'),
                count(*) FILTER (change_type = 'DELETE'),
                count(*) FILTER (change_type = 'SHIELDED'),
                (SELECT count(*) FROM latest_rows)
            FROM found_changes
            """,
            {"sync_id": self._sync_id},
        )
        return Found(*row)

    def _write(self, table: str, which: str, now: str) -> None:
        keys = ", ".join(
            f"coalesce(staged.{name}, found.\"before\" ->> '/{name}') AS {name}"
            for name in (column.name for column in self._stream.key)
        )
        content = ", ".join(f"staged.{column.name}" for column in self._stream.content)
        self._connection.execute(
            f"""
            INSERT INTO {table} BY NAME
            SELECT
                $version AS version,
                $sync_id AS sync_id,
                row_number() OVER (ORDER BY found.id) AS sequence,
                found.id,
                {keys},
                $organization_id AS organization_id,
                $integration_id AS connected_integration_id,
                found.change_type,
                {content},
                staged.attributes,
                staged.content_hash,
                found."before",
                $now::TIMESTAMP AS detected_at
            FROM (
                SELECT *, change_type = 'DELETE' AS deletes
                FROM found_changes
                WHERE change_type <> 'SHIELDED'
            ) AS found
            LEFT JOIN {self._stream.staging} AS staged
                ON staged.sync_id = $sync_id
                AND staged.batch = found.batch
                AND staged.seq = found.seq
            WHERE {which}
            """,
            self._this
            | {
                "organization_id": self._ref.organization_id,
                "integration_id": self._ref.integration_id,
                "now": now,
            },
        )


def changed_fields(before: str, after: str) -> list[str]:
    """Names of the fields in which two images differ; attributes by their own names."""
    old, new = msgspec.json.decode(before), msgspec.json.decode(after)
    old_attributes, new_attributes = old.pop("attributes") or {}, new.pop("attributes") or {}
    names = [name for name in new if old.get(name) != new[name]]
    attributes = sorted(old_attributes.keys() | new_attributes.keys())
    return names + [
        f"attributes.{name}"
        for name in attributes
        if old_attributes.get(name) != new_attributes.get(name)
    ]


def _members(names: list[str]) -> str:
    return ", ".join(f"'{name}', {name}" for name in names)
