"""Change detection: what differs between one sync's staged records and the latest table.

Belongs here: the SQL that deduplicates and compares, confirmation by absence, and handing
the result to the change log. Does not: deciding whether deletes may pass (guard), asking a
provider (confirm) or writing the operational database (latest).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.warehouse.warehouse import Warehouse, one_row
from elt_assets.sync.detect.baseline import forget_changes_of_form
from elt_assets.sync.detect.log_repair import catch_up
from elt_assets.sync.extract.record_mapping import key_text
from elt_assets.sync.outcome import Mode
from elt_assets.sync.state import change_log
from elt_assets.sync.state.latest_images import LatestImages
from elt_assets.sync.streams import Stream

_CONTROLS = 1_000
"""Listed keys that a source may choose the control of its probes from."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the comparison found.

    `deletes` are rows that the provider does not list, or says are deleted (`tombstones`);
    `shielded` ones are proven to exist by a rejected record or by the provider's own word,
    `pending` ones wait for a second complete extraction. `newest` is the latest change
    among the records, by the provider's time (ISO 8601, UTC).
    """

    staged: int
    unique: int
    tombstones: int
    inserts: int
    updates: int
    deletes: int
    shielded: int
    pending: int
    latest_before: int
    newest: str | None

    @property
    def duplicates(self) -> int:
        """Staged records that lost to a newer version of themselves."""
        return self.staged - self.unique

    @property
    def changed(self) -> bool:
        """Whether there is anything to log."""
        return self.inserts + self.updates + self.deletes > 0

    @property
    def unchanged(self) -> int:
        """Records that are in the latest table as they are."""
        return self.unique - self.tombstones - self.inserts - self.updates


class Detection:
    """One sync's comparison against latest rows read at `base_version`.

    `compare`, then decide, then `write`; between them nothing is written but temporary
    tables.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        database: OperationalDatabase,
        stream: Stream,
        ref: IntegrationRef,
        sync_id: str,
        base_version: int,
    ) -> None:
        self._warehouse = warehouse
        self._latest = LatestImages(warehouse, database, stream, ref)
        self._stream = stream
        self._ref = ref
        self._sync_id = sync_id
        self._base_version = base_version

    @property
    def version(self) -> int:
        """The latest table's version once these changes are applied."""
        return self._base_version + 1

    def compare(self, mode: Mode) -> Found:
        """Find the changes.

        In an incremental extraction a row that is not listed has not changed; only a
        tombstone deletes. Raises `RetryableError` when the latest table changes meanwhile.
        """
        # All of the integration's records are gone through now, which takes memory by itself.
        self._warehouse.unload()
        self._latest.load_hashes()
        sync = {"sync_id": self._sync_id}
        # Newest by the provider's own time, then by arrival: (batch, seq) orders records as
        # they came, so the answer does not depend on where pages or batches were cut.
        self._warehouse.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE current_records AS
            SELECT
                id, content_hash, batch, seq, tombstone, source_updated_at,
                count(*) OVER (PARTITION BY id) AS versions
            FROM {self._stream.staging}
            WHERE sync_id = $sync_id
            QUALIFY row_number() OVER (
                PARTITION BY id
                ORDER BY source_updated_at DESC NULLS LAST, batch DESC, seq DESC
            ) = 1
            """,
            sync,
        )
        absent = "true" if mode is Mode.FULL else "false"
        self._warehouse.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE found_changes AS
            SELECT
                current.id,
                CASE WHEN latest.id IS NULL THEN 'INSERT' ELSE 'UPDATE' END AS change_type,
                current.batch,
                current.seq,
                false AS said
            FROM current_records AS current
            LEFT JOIN latest_rows AS latest ON latest.id = current.id
            WHERE NOT current.tombstone
                AND (latest.id IS NULL OR latest.content_hash <> current.content_hash)
            UNION ALL
            SELECT
                latest.id,
                -- A rejected record proves that its user still exists.
                CASE WHEN rejected.id IS NULL THEN 'DELETE' ELSE 'SHIELDED' END,
                NULL,
                NULL,
                current.id IS NOT NULL
            FROM latest_rows AS latest
            LEFT JOIN current_records AS current ON current.id = latest.id
            LEFT JOIN (
                SELECT DISTINCT id
                FROM rejected_records
                WHERE stream = $stream AND sync_id = $sync_id AND id IS NOT NULL
            ) AS rejected ON rejected.id = latest.id
            WHERE current.tombstone OR (current.id IS NULL AND {absent})
            """,
            sync | {"stream": self._stream.name},
        )
        self._latest.load_of("SELECT id FROM found_changes WHERE change_type <> 'INSERT'")
        forget_changes_of_form(self._warehouse, self._stream)
        return self.found()

    def found(self) -> Found:
        """The counts as they stand."""
        return Found(
            *one_row(
                self._warehouse,
                """
                SELECT
                    staged, "unique", tombstones, inserts, updates, deletes, shielded, pending,
                    (SELECT count(*) FROM latest_rows), newest
                FROM (
                    SELECT
                        coalesce(sum(versions), 0)::BIGINT AS staged,
                        count(*) AS "unique",
                        count(*) FILTER (tombstone) AS tombstones,
                        strftime(max(source_updated_at), '%Y-%m-%dT%H:%M:%S.%fZ') AS newest
                    FROM current_records
                )
                CROSS JOIN (
                    SELECT
                        count(*) FILTER (change_type = 'INSERT') AS inserts,
                        count(*) FILTER (change_type = 'UPDATE') AS updates,
                        count(*) FILTER (change_type = 'DELETE') AS deletes,
                        count(*) FILTER (change_type = 'SHIELDED') AS shielded,
                        count(*) FILTER (change_type = 'PENDING') AS pending
                    FROM found_changes
                )
                """,
                {},
            )
        )

    def candidates(self) -> list[tuple[str, str]]:
        """(id, key) of the rows that would be deleted for not being listed.

        A key of several columns is the JSON list of them.
        """
        key = key_text([f"image ->> '/{column.name}'" for column in self._stream.key])
        rows = self._warehouse.execute(
            f"""
            SELECT id::VARCHAR, {key}
            FROM found_changes
            JOIN latest_images USING (id)
            WHERE change_type = 'DELETE' AND NOT said
            ORDER BY id
            """
        ).fetchall()
        return [(row[0], row[1]) for row in rows]

    def listed(self) -> list[str]:
        """Some keys that this sync listed, those that need escaping in an address first."""
        key = key_text([f"staged.{column.name}" for column in self._stream.key])
        rows = self._warehouse.execute(
            f"""
            SELECT {key} AS key
            FROM current_records AS current
            JOIN {self._stream.staging} AS staged
                ON staged.sync_id = $sync_id
                AND staged.batch = current.batch
                AND staged.seq = current.seq
                AND staged.id = current.id
            WHERE NOT current.tombstone
            ORDER BY regexp_full_match(key, '[A-Za-z0-9_-]*'), key
            LIMIT {_CONTROLS}
            """,
            {"sync_id": self._sync_id},
        ).fetchall()
        return [row[0] for row in rows]

    def shield(self, ids: Iterable[str]) -> None:
        """Keep these rows: the provider says that they exist."""
        self._mark(ids, "SHIELDED")

    def hold_back(self, ids: Iterable[str]) -> None:
        """Keep these rows for now: the provider could not say."""
        self._mark(ids, "PENDING")

    def hold_back_newly_missing(self, repeated: int | None) -> None:
        """Keep rows that are missing for the first time; a second complete extraction decides.

        Records that are looked at once more say nothing new about whom the sync that fetched
        them found missing, at version `repeated`.
        """
        self._warehouse.execute(
            """
            UPDATE found_changes
            SET change_type = 'PENDING'
            WHERE change_type = 'DELETE' AND NOT said AND id NOT IN (
                SELECT id
                FROM missing_records
                WHERE stream = $stream
                    AND version <= $base
                    AND version IS DISTINCT FROM $repeated
                    AND (until IS NULL OR until > $base)
            )
            """,
            {"stream": self._stream.name, "base": self._base_version, "repeated": repeated},
        )

    def write(self, found: Found, *, deletes_pass: bool, complete: bool, now: str) -> None:
        """Log the changes, or the deletes as withheld, and remember who is missing.

        Only a `complete` extraction says anything about who is missing.
        """
        with self._warehouse.transaction():
            behind = change_log.drop_unapplied(
                self._warehouse, self._stream, self._ref, self._base_version
            )
            if behind:
                self._latest.load()
                catch_up(self._warehouse, self._stream, self._base_version, now)
            kept = "true" if deletes_pass else "change_type <> 'DELETE'"
            if found.changed:
                changes = found.inserts + found.updates + found.deletes
                self._append(self._stream.cdc, kept, changes, now)
            if not deletes_pass:
                self._append(self._stream.withheld, "change_type = 'DELETE'", found.deletes, now)
            if deletes_pass and complete:
                self._remember_missing(found)
            else:
                self._forget_seen()

    def _append(self, table: str, which: str, count: int, now: str) -> None:
        keys = ", ".join(
            f"coalesce(staged.{name}, latest.image ->> '/{name}') AS {name}"
            for name in (column.name for column in self._stream.key)
        )
        content = ", ".join(f"staged.{column.name}" for column in self._stream.content)
        change_log.append(
            self._warehouse,
            self._stream,
            table=table,
            sync_id=self._sync_id,
            version=self.version,
            select=f"""
                SELECT
                    found.id, {keys}, {content}, staged.attributes, staged.content_hash,
                    found.change_type, latest.image AS "before"
                FROM found_changes AS found
                LEFT JOIN latest_images AS latest ON latest.id = found.id
                LEFT JOIN {self._stream.staging} AS staged
                    ON staged.sync_id = $sync_id
                    AND staged.batch = found.batch
                    AND staged.seq = found.seq
                    -- Not needed to find it, but carries a range of ids over to this side.
                    AND staged.id = found.id
                WHERE change_type IN ('INSERT', 'UPDATE', 'DELETE') AND {which}
            """,
            parameters={},
            now=now,
            count=count,
        )

    def _remember_missing(self, found: Found) -> None:
        """Make the rows held back the ones that a next complete extraction may delete.

        Like the log, what is written here holds only once this version is reached: rows of
        later versions are left-overs of attempts that were never applied.
        """
        known = {"stream": self._stream.name, "version": self.version}
        self._warehouse.update("missing_records", "until = $version", "stream = $stream", known)
        if found.pending:
            self._warehouse.insert(
                "missing_records",
                "SELECT $stream AS stream, id, $version AS version"
                " FROM found_changes WHERE change_type = 'PENDING'",
                known,
            )

    def _forget_seen(self) -> None:
        """Let those start anew whom an extraction lists that says nothing about the others.

        That somebody was missing before is disproved by seeing them, however incompletely.
        """
        self._warehouse.update(
            "missing_records",
            "until = $version",
            "stream = $stream AND until IS NULL AND id IN ("
            "SELECT id FROM current_records WHERE NOT tombstone)",
            {"stream": self._stream.name, "version": self.version},
        )

    def _mark(self, ids: Iterable[str], change_type: str) -> None:
        self._warehouse.execute(
            """
            UPDATE found_changes
            SET change_type = $change_type
            WHERE id IN (SELECT unnest($ids::VARCHAR[])::UUID)
            """,
            {"ids": list(ids), "change_type": change_type},
        )
