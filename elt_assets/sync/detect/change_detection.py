"""Change detection: compare one sync's staged records with the latest table.

This finds the changes, marks those that are kept or withheld, and writes the changes to the change
log. Whether changes may be applied is decided in `delete_guard`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.warehouse.warehouse import Warehouse, one_row
from elt_assets.sync.clock import ago
from elt_assets.sync.detect.baseline import forget_changes_of_form
from elt_assets.sync.detect.delete_guard import Harm
from elt_assets.sync.detect.log_repair import repair_log
from elt_assets.sync.extract.certificate import ListedKeys
from elt_assets.sync.extract.checkpoints import repeated_keys
from elt_assets.sync.extract.record_mapping import key_text
from elt_assets.sync.outcome import Counts, Mode
from elt_assets.sync.state import change_log
from elt_assets.sync.state.latest_images import LatestImages
from elt_assets.sync.streams import ColumnType, Stream, StreamKey

_CONTROLS = 1_000
"""The number of listed keys from which a source may choose the controls of its probes."""
_CLOCKS_DIFFER = timedelta(minutes=5)
"""How far ahead of ours a provider's clock may be before its times are reported."""
_POINTER = "replace(replace(name, '~', '~0'), '/', '~1')"
"""SQL for an attribute's name as a step of a JSON pointer (RFC 6901)."""


class DiffCounts(Counts, frozen=True, kw_only=True):
    """The counts of a comparison, with `missing` rows and the `newest` change time.

    `missing` counts the rows that are not listed, whether or not they are deleted; `newest` is by
    the provider's clock (ISO 8601, UTC).
    """

    missing: int = 0
    newest: str | None = None

    @classmethod
    def of(cls, **counted: Any) -> DiffCounts:
        """Make the counts, adding those that follow from the others."""
        found = cls(**counted)
        written = found.inserts + found.updates + found.withheld_inserts + found.withheld_updates
        return msgspec.structs.replace(
            found,
            duplicates=found.staged - found.unique,
            unchanged=found.unique - found.tombstones - written,
            latest=found.latest_before,
        )


@dataclass(frozen=True, slots=True)
class HarmfulUpdates:
    """Counts of updates that set `active` to false, and of those that set a guarded value to null.

    `losses` counts the latter by the name of the value, `losing` counts each update once.
    """

    deactivations: int = 0
    losing: int = 0
    losses: Mapping[str, int] = field(default_factory=dict)


class Detection:
    """One sync's comparison with the latest rows, read at `base_version`.

    Call `compare`, then the methods that mark changes, then `write`; only `write` writes anything
    but temporary tables.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        database: OperationalDatabase,
        key: StreamKey,
        sync_id: str,
        base_version: int,
    ) -> None:
        self._warehouse = warehouse
        self._latest = LatestImages(warehouse, database, key)
        self._key = key
        self._stream = key.stream
        self._sync_id = sync_id
        self._base_version = base_version

    @property
    def version(self) -> int:
        """The latest table's version once these changes are applied."""
        return self._base_version + 1

    def compare(self, mode: Mode) -> DiffCounts:
        """Find the changes.

        In an incremental extraction, a row that is not listed has not changed, and only a
        tombstone deletes. Raises `RetryableError` when the latest table changes meanwhile.
        """
        # The queries below read all of the integration's records, which takes much memory.
        self._warehouse.unload()
        rows = self._latest.load_hashes()
        sync = {"sync_id": self._sync_id}
        self._find_current()
        absent = "true" if mode is Mode.FULL else "false"
        self._warehouse.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE found_changes AS
            SELECT
                current.id,
                CASE WHEN latest.id IS NULL THEN 'INSERT' ELSE 'UPDATE' END AS change_type,
                current.batch,
                current.seq,
                false AS said,
                false AS withheld,
                false AS deactivates,
                []::VARCHAR[] AS loses
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
                current.id IS NOT NULL,
                false,
                false,
                []
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
        if not rows:
            self._latest.load_none()
        elif self._latest.load_of("SELECT id FROM found_changes WHERE change_type <> 'INSERT'"):
            forget_changes_of_form(self._warehouse, self._stream)
        return self.found()

    def _find_current(self) -> None:
        """Fill current_records: the current record for each id, and how many records it had.

        The current record is the newest by the provider's own time, then by arrival. (batch, seq)
        orders records as they arrived, so that the result does not depend on where pages or batches
        end.
        """
        self._warehouse.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE current_records AS
            SELECT id, content_hash, batch, seq, tombstone, source_updated_at, 1::BIGINT AS versions
            FROM {self._stream.staging}
            WHERE sync_id = $sync_id
            """,
            {"sync_id": self._sync_id},
        )
        # Window functions take several times as long as this count, which mostly avoids them.
        (repeated,) = one_row(
            self._warehouse, "SELECT count(*) > count(DISTINCT id) FROM current_records", {}
        )
        if repeated:
            self._warehouse.execute(
                """
                CREATE OR REPLACE TEMP TABLE current_records AS
                SELECT * REPLACE (count(*) OVER (PARTITION BY id) AS versions)
                FROM current_records
                QUALIFY row_number() OVER (
                    PARTITION BY id
                    ORDER BY source_updated_at DESC NULLS LAST, batch DESC, seq DESC
                ) = 1
                """
            )

    def found(self) -> DiffCounts:
        """The current counts."""
        answer = self._warehouse.execute(
            """
            SELECT *, (SELECT count(*) FROM latest_rows) AS latest_before
            FROM (
                SELECT
                    coalesce(sum(versions), 0)::BIGINT AS staged,
                    count(*) AS "unique",
                    count(*) FILTER (tombstone) AS tombstones,
                    strftime(max(source_updated_at), '%Y-%m-%dT%H:%M:%S.%fZ') AS newest,
                    count(*) FILTER (source_updated_at > $soon::TIMESTAMP) AS future_times
                FROM current_records
            )
            CROSS JOIN (
                SELECT
                    count(*) FILTER (change_type = 'INSERT' AND NOT withheld) AS inserts,
                    count(*) FILTER (change_type = 'UPDATE' AND NOT withheld) AS updates,
                    count(*) FILTER (change_type = 'DELETE' AND NOT withheld) AS deletes,
                    count(*) FILTER (change_type = 'SHIELDED') AS shielded_deletes,
                    count(*) FILTER (change_type = 'PENDING') AS pending_deletes,
                    count(*) FILTER (change_type LIKE 'KEPT%') AS kept_rows,
                    count(*) FILTER (change_type = 'INSERT' AND withheld) AS withheld_inserts,
                    count(*) FILTER (change_type = 'UPDATE' AND withheld) AS withheld_updates,
                    count(*) FILTER (change_type = 'DELETE' AND withheld) AS withheld_deletes,
                    count(*) FILTER (
                        change_type IN ('DELETE', 'SHIELDED', 'PENDING', 'KEPT DELETE')
                        AND NOT said
                    ) AS missing
                FROM found_changes
            )
            """,
            {"soon": ago(-_CLOCKS_DIFFER)},
        )
        names = [name for name, *_ in answer.description]
        (values,) = answer.fetchall()
        return DiffCounts.of(**dict(zip(names, values, strict=True)))

    def keys(self, found: DiffCounts, rejected: int) -> ListedKeys:
        """The number of distinct keys listed, and of keys that came on more than one page."""
        (only_rejected,) = (
            one_row(
                self._warehouse,
                """
                SELECT count(DISTINCT id) + count(*) FILTER (id IS NULL)
                FROM rejected_records
                WHERE stream = $stream AND sync_id = $sync_id
                    AND (id IS NULL OR id NOT IN (SELECT id FROM current_records))
                """,
                {"stream": self._stream.name, "sync_id": self._sync_id},
            )
            if rejected
            else (0,)
        )
        repeated = 0
        if found.duplicates:
            repeated = repeated_keys(self._warehouse, self._stream, self._sync_id)
        return ListedKeys(found.unique + only_rejected, repeated)

    def assess(self, *, attributes: Sequence[str], everything: bool) -> HarmfulUpdates:
        """Find the updates that deactivate or lose a guarded value.

        `attributes` are guarded in addition to the stream's own columns; with `everything`, all
        columns and attributes are guarded, as after a change of the configuration.
        """
        guarded = [
            column.name
            for column in self._stream.content
            if column.kind is ColumnType.TEXT and (column.guarded or everything)
        ]
        activating = [
            f"((image ->> '/{column.name}')::BOOLEAN AND staged.{column.name} IS NOT TRUE)"
            for column in self._stream.content
            if column.activates
        ]
        lost = [
            f"CASE WHEN nullif(image ->> '/{name}', '') IS NOT NULL AND staged.{name} IS NULL"
            f" THEN '{name}' END"
            for name in guarded
        ]
        which = "true" if everything else "list_contains($attributes::VARCHAR[], name)"
        self._warehouse.execute(
            f"""
            UPDATE found_changes
            SET deactivates = harm.deactivates, loses = harm.loses
            FROM (
                SELECT
                    found.id,
                    coalesce({" OR ".join(activating) or "false"}, false) AS deactivates,
                    list_concat(
                        list_filter([{", ".join(lost) or "NULL"}]::VARCHAR[],
                            lambda name: name IS NOT NULL),
                        list_filter(
                            coalesce(json_keys(image, '/attributes'), []),
                            lambda name: {which}
                                AND nullif(image ->> ('/attributes/' || {_POINTER}), '') IS NOT NULL
                                AND (staged.attributes ->> ('/' || {_POINTER})) IS NULL
                        )
                    ) AS loses
                FROM found_changes AS found
                JOIN latest_images ON latest_images.id = found.id
                JOIN {self._stream.staging} AS staged
                    ON staged.sync_id = $sync_id
                    AND staged.batch = found.batch
                    AND staged.seq = found.seq
                    AND staged.id = found.id
                WHERE found.change_type = 'UPDATE'
            ) AS harm
            WHERE found_changes.id = harm.id AND (harm.deactivates OR len(harm.loses) > 0)
            """,
            {"sync_id": self._sync_id} | ({} if everything else {"attributes": [*attributes]}),
        )
        return self.harmful_updates()

    def harmful_updates(self) -> HarmfulUpdates:
        """Count the updates that `assess` found and that are neither kept nor withheld."""
        applied = "change_type = 'UPDATE' AND NOT withheld"
        deactivations, losing = one_row(
            self._warehouse,
            f"""
            SELECT count(*) FILTER (deactivates), count(*) FILTER (len(loses) > 0)
            FROM found_changes
            WHERE {applied}
            """,
            {},
        )
        losses = self._warehouse.execute(
            f"""
            SELECT name, count(*)
            FROM (SELECT unnest(loses) AS name FROM found_changes WHERE {applied})
            GROUP BY name
            """
        ).fetchall()
        return HarmfulUpdates(deactivations, losing, dict(losses))

    def orphaned(self, parents: Collection[str]) -> tuple[int, int]:
        """The number of deletes whose parent has no row in this listing, and of such parents.

        Only parents in `parents` count.
        """
        column = self._stream.key[0].name
        rows, emptied = one_row(
            self._warehouse,
            f"""
            SELECT count(*), count(DISTINCT parent)
            FROM (
                SELECT image ->> '/{column}' AS parent
                FROM found_changes
                JOIN latest_images USING (id)
                WHERE change_type = 'DELETE' AND NOT said
            )
            WHERE list_contains($parents::VARCHAR[], parent) AND parent NOT IN (
                SELECT {column} FROM {self._stream.staging} WHERE sync_id = $sync_id
            )
            """,
            {"parents": [*parents], "sync_id": self._sync_id},
        )
        return int(rows), int(emptied)

    def same_configuration(self, sync_id: str) -> bool:
        """Whether this sync and `sync_id` are known to have been fetched with one configuration."""
        (different,) = one_row(
            self._warehouse,
            """
            SELECT count(*) < 2 OR count(DISTINCT fingerprint) > 1
            FROM extractions
            WHERE stream = $stream AND sync_id IN ($sync_id, $other)
            """,
            {"stream": self._stream.name, "sync_id": self._sync_id, "other": sync_id},
        )
        return not different

    def keep_rejected(self, rejected: Sequence[tuple[str, str]]) -> list[str]:
        """Keep the rows whose change a person has rejected; `rejected` has (id, change_type).

        An update is kept only if it is harmful, so call this after `assess`. Returns the ids
        of rejected deletes whose rows the sync lists again: for these, the rejection has ended.
        """
        self._warehouse.execute(
            "CREATE OR REPLACE TEMP TABLE rejected_ids AS"
            " SELECT unnest($ids::VARCHAR[])::UUID AS id, unnest($types::VARCHAR[]) AS change_type",
            {"ids": [one[0] for one in rejected], "types": [one[1] for one in rejected]},
        )
        self._warehouse.execute(
            """
            UPDATE found_changes
            SET change_type = 'KEPT ' || found_changes.change_type
            FROM rejected_ids
            WHERE rejected_ids.id = found_changes.id
                AND rejected_ids.change_type = found_changes.change_type
                AND (
                    found_changes.change_type <> 'UPDATE'
                    OR found_changes.deactivates
                    OR len(found_changes.loses) > 0
                )
            """
        )
        back = self._warehouse.execute(
            """
            SELECT id::VARCHAR
            FROM rejected_ids
            JOIN current_records USING (id)
            WHERE change_type = 'DELETE' AND NOT tombstone
            """
        ).fetchall()
        return [row[0] for row in back]

    def withhold(self, harms: Collection[Harm]) -> None:
        """Withhold the changes with these kinds of harm until a person decides."""
        which = {
            Harm.DELETE: "change_type = 'DELETE'",
            Harm.DEACTIVATION: "change_type = 'UPDATE' AND deactivates",
            Harm.LOSS: "change_type = 'UPDATE' AND len(loses) > 0",
            Harm.IDENTITY: "change_type = 'INSERT' OR (change_type = 'DELETE' AND NOT said)",
        }
        conditions = " OR ".join(f"({which[harm]})" for harm in sorted(harms))
        self._warehouse.execute(f"UPDATE found_changes SET withheld = true WHERE {conditions}")

    def candidates(self) -> list[tuple[str, str]]:
        """(id, key) of the rows that would be deleted because they are not listed.

        A key of several columns is given as the JSON list of them.
        """
        key = key_text([f"image ->> '/{column.name}'" for column in self._stream.key])
        rows = self._warehouse.execute(
            f"""
            SELECT id::VARCHAR, {key}
            FROM found_changes
            JOIN latest_images USING (id)
            WHERE change_type = 'DELETE' AND NOT withheld AND NOT said
            ORDER BY id
            """
        ).fetchall()
        return [(row[0], row[1]) for row in rows]

    def listed(self) -> list[str]:
        """Some keys that this sync listed; keys that need escaping in a URL come first."""
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
        """Keep these rows, because the provider says that they exist."""
        self._mark(ids, "SHIELDED")

    def hold_back(self, ids: Iterable[str]) -> None:
        """Keep these rows for now, because the provider gave no clear answer."""
        self._mark(ids, "PENDING")

    def hold_back_newly_missing(
        self, repeated: int | None, *, ids: Iterable[str] | None = None, missed_before: str
    ) -> None:
        """Hold back deletes of rows that no earlier complete extraction lacked.

        With `ids`, only deletes of these rows are held back. The earlier extraction must have
        lacked the row at the moment `missed_before` or earlier. `repeated` is the version of a sync
        whose records are now mapped again: they are no new evidence about the rows that this sync
        found missing, so its findings do not count.
        """
        self._warehouse.execute(
            """
            UPDATE found_changes
            SET change_type = 'PENDING'
            WHERE change_type = 'DELETE' AND NOT said AND NOT withheld
                AND ($ids IS NULL OR list_contains($ids::VARCHAR[], id::VARCHAR))
                AND id NOT IN (
                    SELECT id
                    FROM missing_records
                    WHERE stream = $stream
                        AND version <= $base
                        AND version IS DISTINCT FROM $repeated
                        AND (until IS NULL OR until > $base)
                        AND (since IS NULL OR since <= $missed_before::TIMESTAMP)
                )
            """,
            {
                "stream": self._stream.name,
                "base": self._base_version,
                "repeated": repeated,
                "ids": None if ids is None else [*ids],
                "missed_before": missed_before,
            },
        )

    def write(self, found: DiffCounts, *, complete: bool, now: str) -> None:
        """Log the applied and the withheld changes, and record which rows are missing.

        Only a `complete` extraction shows which rows are missing.
        """
        with self._warehouse.transaction():
            log = change_log.drop_unapplied(self._warehouse, self._key, self._base_version)
            if log.behind:
                self._latest.load()
                repair_log(self._warehouse, self._stream, self._base_version, now)
            if found.changes:
                self._append(self._stream.cdc, "NOT withheld", found.changes, now)
            if found.withheld:
                self._append(self._stream.withheld, "withheld", found.withheld, now)
            if complete and not found.withheld_deletes:
                self._remember_missing(found, now, known=log.missing)
            elif log.missing:
                self._forget_seen()

    def _append(self, table: str, which: str, count: int, now: str) -> None:
        keys = ", ".join(
            f"coalesce(staged.{name}, latest.image ->> '/{name}') AS {name}"
            for name in (column.name for column in self._stream.key)
        )
        content = ", ".join(f"staged.{column.name}" for column in self._stream.content)
        changes = change_log.NewChanges(
            self._sync_id,
            self.version,
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
            count=count,
        )
        change_log.append(self._warehouse, self._stream, changes, now, table=table)

    def _remember_missing(self, found: DiffCounts, now: str, *, known: int) -> None:
        """Record the rows held back, which the next complete extraction may delete.

        They replace the `known` rows recorded so far. Like the log, they are valid only once this
        version is applied: rows of later versions come from attempts that were never applied.
        """
        of_version = {"stream": self._stream.name, "version": self.version}
        if found.pending_deletes:
            self._warehouse.execute(
                """
                CREATE OR REPLACE TEMP TABLE pending_rows AS
                SELECT found.id, coalesce(min(missed.since), $now::TIMESTAMP) AS since
                FROM found_changes AS found
                LEFT JOIN missing_records AS missed
                    ON missed.id = found.id AND missed.stream = $stream AND missed.until IS NULL
                WHERE found.change_type = 'PENDING'
                GROUP BY found.id
                """,
                {"stream": self._stream.name, "now": now},
            )
        if known:
            self._warehouse.update(
                "missing_records", "until = $version", "stream = $stream", of_version
            )
        if found.pending_deletes:
            self._warehouse.insert(
                "missing_records",
                "SELECT $stream AS stream, id, $version AS version, since FROM pending_rows",
                of_version,
            )

    def _forget_seen(self) -> None:
        """Remove rows that exist from the missing rows, even if this extraction is incomplete.

        A row exists if it is listed, found by a probe, or its record was rejected.
        """
        self._warehouse.update(
            "missing_records",
            "until = $version",
            "stream = $stream AND until IS NULL AND ("
            "id IN (SELECT id FROM current_records WHERE NOT tombstone)"
            " OR id IN (SELECT id FROM found_changes WHERE change_type = 'SHIELDED'))",
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


def has_missing(warehouse: Warehouse, stream: Stream) -> bool:
    """Whether missing rows wait for a second complete listing to confirm their deletion."""
    (waiting,) = one_row(
        warehouse,
        "SELECT count(*) FROM missing_records WHERE stream = $stream AND until IS NULL",
        {"stream": stream.name},
    )
    return bool(waiting)
