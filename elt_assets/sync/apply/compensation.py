"""Compensating syncs: changes made from the change log itself, without a provider.

Approving withheld changes and undoing a sync add new entries to the log and the ledger, which are
applied like any others. `rebuild` rebuilds the latest table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from elt_assets.config.safeguards import DeleteMode
from elt_assets.errors import InvalidInput
from elt_assets.storage.operational.database import OperationalDatabase, Transaction
from elt_assets.storage.warehouse.warehouse import Warehouse, one_row
from elt_assets.sync.apply.apply_transaction import Application, VersionMoved
from elt_assets.sync.clock import now
from elt_assets.sync.detect.log_repair import repair_log
from elt_assets.sync.outcome import Certificate, Counts, Mode, Outcome, Stage, Status
from elt_assets.sync.state import change_log, ledger, rejections, sync_history, versions
from elt_assets.sync.state.fencing import raise_fence
from elt_assets.sync.state.latest_images import LatestImages
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.state.registry import gone, registered
from elt_assets.sync.state.rejections import Rejection
from elt_assets.sync.state.versions import Reading, Version
from elt_assets.sync.streams import StreamKey


@dataclass(frozen=True, slots=True)
class Compensation:
    """Approve, reject and undo for one stream, whose open warehouse is held exclusively."""

    database: OperationalDatabase
    warehouse: Warehouse
    key: StreamKey
    delete_mode: DeleteMode

    def approve(self, quarantined: SyncRow, decided_by: str) -> Outcome:
        """Apply exactly the changes that `quarantined` withheld and that still apply.

        A row that has changed or disappeared since is left alone. Raises `InvalidInput` when a
        newer sync has settled or a person has already decided.
        """
        self._still_open(quarantined)
        return self._run(
            f"approve-{quarantined.sync_id}",
            select=f"""
                SELECT
                    withheld.id, {self._columns("withheld")},
                    withheld.change_type, current.image AS "before"
                FROM {self.key.stream.withheld} AS withheld
                LEFT JOIN latest_rows AS current ON current.id = withheld.id
                WHERE withheld.sync_id = $withheld_by
                    AND CASE withheld.change_type
                        WHEN 'INSERT' THEN current.id IS NULL
                        ELSE {self._hash_of('withheld."before"')} = current.content_hash
                    END
            """,
            parameters={"withheld_by": quarantined.sync_id},
            also=lambda applying: self._decide(applying, quarantined, "approved", decided_by),
        )

    def reject(self, quarantined: SyncRow, decision: Rejection) -> None:
        """Reject the withheld changes; their rows stay as they are while the rejection lasts.

        Raises `InvalidInput` like `approve`.
        """
        self._still_open(quarantined)
        changes = self.warehouse.execute(
            f"SELECT id::VARCHAR, change_type FROM {self.key.stream.withheld}"
            " WHERE sync_id = $sync_id AND version = $version",
            {"sync_id": quarantined.sync_id, "version": quarantined.version},
        ).fetchall()
        with self.database.transaction(self.key.ref.partition_key) as deciding:
            rejections.add(deciding, self.key, changes, decision)
            self._decide(deciding, quarantined, "rejected", decision.by)

    def undo(self, undone: SyncRow, *, force: bool) -> Outcome:
        """Reverse the changes of the sync `undone`.

        Raises `InvalidInput` when later syncs changed some of the same records, unless `force`
        is set: the later changes of those records are then lost too.
        """
        recorded = ledger.find(self.database, self.key, f"undo-{undone.sync_id}")
        if recorded is not None and recorded.status.settled:
            return recorded.outcome()
        begins = change_log.beginning(self.warehouse, self.key.stream)
        if begins is not None and undone.version is not None and undone.version <= begins[0]:
            raise InvalidInput(
                f"{self.key.ref}: sync {undone.sync_id} can no longer be undone: the change log is "
                f"kept since {begins[1]} (ELT_ASSETS_KEEP_CHANGES_DAYS)"
            )
        if undone.version is None or not self._changed(undone):
            raise InvalidInput(
                f"{self.key.ref}: sync {undone.sync_id} changed nothing that could be undone"
            )
        touched = self._touched_later(undone)
        if touched and not force:
            raise InvalidInput(
                f"{self.key.ref}: {touched} of the records that sync {undone.sync_id} changed were "
                "changed again by later syncs; undo those first, or pass --force to restore "
                "the earlier records"
            )
        image = change_log.columns_of_image(self.key.stream.content, '"before"')
        columns = ", ".join(column.name for column in self.key.stream.content)
        keys = ", ".join(column.name for column in self.key.stream.key)
        return self._run(
            f"undo-{undone.sync_id}",
            select=f"""
                SELECT
                    restored.id, {keys}, {columns}, attributes,
                    CASE WHEN restored."before" IS NOT NULL
                        THEN {change_log.content_hash(self.key.stream)} END AS content_hash,
                    CASE
                        WHEN restored."before" IS NULL THEN 'DELETE'
                        WHEN current.id IS NULL THEN 'INSERT'
                        ELSE 'UPDATE'
                    END AS change_type,
                    current.image AS "before"
                FROM (
                    SELECT id, {keys}, "before", {image}
                    FROM {self.key.stream.cdc}
                    WHERE sync_id = $undone
                ) AS restored
                LEFT JOIN latest_rows AS current ON current.id = restored.id
                WHERE restored."before" IS NOT NULL OR current.id IS NOT NULL
            """,
            parameters={"undone": undone.sync_id},
        )

    def _run(
        self,
        sync_id: str,
        *,
        select: str,
        parameters: Mapping[str, object],
        also: Callable[[Transaction], None] = lambda _: None,
    ) -> Outcome:
        with self.database.transaction(self.key.ref.partition_key) as opening:
            if not registered(opening, self.key.ref):
                raise gone(self.key.ref, "nothing was changed")
            raise_fence(opening, self.key.ref, self.warehouse.fencing_token)
            row = ledger.begin(opening, self.key, sync_id, None)
        if row.status.settled:
            return row.outcome()
        base = versions.current(self.database, self.key)
        LatestImages(self.warehouse, self.database, self.key).load()
        with self.warehouse.transaction():
            if change_log.drop_unapplied(self.warehouse, self.key, base.version).behind:
                repair_log(self.warehouse, self.key.stream, base.version, now())
            changes = change_log.NewChanges(sync_id, base.version + 1, select, parameters)
            change_log.append(self.warehouse, self.key.stream, changes, now())
        counts = self._counts(base)
        application = Application(
            database=self.database,
            warehouse=self.warehouse,
            key=self.key,
            row=row,
            base=base,
            counts=counts,
            delete_mode=self.delete_mode,
            reading=Reading(full_at=base.full_at, mark=base.mark),
        )
        try:
            return application.run(
                lambda after: self._outcome(sync_id, counts, after, base), also=also
            )
        except VersionMoved:
            raise InvalidInput(
                f"{self.key.ref}: the latest table changed meanwhile; nothing was applied. See "
                f"`elt-assets changes {self.key.ref}`, then run the command again"
            ) from None

    def _outcome(self, sync_id: str, counts: Counts, after: int, base: Version) -> Outcome:
        return Outcome(
            partition=self.key.ref.partition_key,
            stream=self.key.stream.name,
            sync_id=sync_id,
            status=Status.APPLIED,
            mode=Mode.COMPENSATING,
            counts=msgspec.structs.replace(counts, latest=after),
            certificate=Certificate(reasons=("made from the change log",)),
            version=base.version + 1,
            reached=Stage.LATEST,
        )

    def _counts(self, base: Version) -> Counts:
        inserts, updates, deletes, before = one_row(
            self.warehouse,
            f"""
            SELECT
                count(*) FILTER (change_type = 'INSERT'),
                count(*) FILTER (change_type = 'UPDATE'),
                count(*) FILTER (change_type = 'DELETE'),
                (SELECT count(*) FROM latest_rows)
            FROM {self.key.stream.cdc}
            WHERE version = $version
            """,
            {"version": base.version + 1},
        )
        return Counts(inserts=inserts, updates=updates, deletes=deletes, latest_before=before)

    def _touched_later(self, undone: SyncRow) -> int:
        applied = versions.current(self.database, self.key).version
        (touched,) = one_row(
            self.warehouse,
            f"""
            SELECT count(DISTINCT id)
            FROM {self.key.stream.cdc}
            WHERE version > $version AND version <= $applied
                AND id IN (SELECT id FROM {self.key.stream.cdc} WHERE sync_id = $undone)
            """,
            {"version": undone.version, "applied": applied, "undone": undone.sync_id},
        )
        return int(touched)

    def _changed(self, undone: SyncRow) -> bool:
        (changed,) = one_row(
            self.warehouse,
            # By sync, not by version: a baseline shares its version with the sync it stands for.
            f"SELECT count(*) > 0 FROM {self.key.stream.cdc} WHERE sync_id = $undone",
            {"undone": undone.sync_id},
        )
        return bool(changed)

    def _still_open(self, quarantined: SyncRow) -> None:
        waiting = {
            (row.stream, row.sync_id)
            for row in sync_history.quarantined(self.database, self.key.ref)
        }
        if (self.key.stream.name, quarantined.sync_id) not in waiting:
            raise InvalidInput(
                f"{self.key.ref}: sync {quarantined.sync_id} no longer waits for a decision; "
                "`elt-assets quarantine list` shows what does"
            )

    def _decide(
        self, deciding: Transaction, quarantined: SyncRow, decision: str, decided_by: str
    ) -> None:
        ledger.decide(deciding, quarantined, decision, decided_by)

    def _columns(self, table: str) -> str:
        names = [column.name for column in self.key.stream.columns]
        return ", ".join(f"{table}.{name}" for name in [*names, "attributes", "content_hash"])

    def _hash_of(self, image: str) -> str:
        columns = change_log.columns_of_image(self.key.stream.content, image)
        return f"(SELECT {change_log.content_hash(self.key.stream)} FROM (SELECT {columns}))"
