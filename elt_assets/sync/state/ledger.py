"""The ledger: one row for every sync, from its beginning to how it settled.

The state of the latest table is in `versions`, queries about past syncs in `sync_history`.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Row, Transaction
from elt_assets.sync.clock import now
from elt_assets.sync.outcome import Certificate, Counts, Outcome, Status
from elt_assets.sync.streams import STREAMS, StreamKey

STAGES = ("extract", "stage", "detect", "apply")
"""The stages whose time is measured; the ledger has a column for each."""

ONE_STREAM = "organization_id = ? AND connected_integration_id = ? AND stream = ?"
"""SQL for the rows of one stream; its parameters are the `values` of a `StreamKey`."""
ONE_SYNC = f"{ONE_STREAM} AND sync_id = ?"
_ALWAYS_KEPT = 10
"""Syncs of a stream that stay in the ledger however old they are."""


class SyncRow(Outcome, frozen=True, kw_only=True):
    """A row of the ledger: the recorded outcome of a sync, its attempts and any decision on it."""

    organization_id: str
    connected_integration_id: str
    ordinal: int
    attempts: int
    recorded: bool = True
    started_at: str = ""
    finished_at: str | None = None
    decision: str | None = None
    decided_by: str | None = None
    decided_at: str | None = None
    again_of: str | None = None
    """The sync whose kept records this one maps again instead of fetching."""

    @property
    def ref(self) -> IntegrationRef:
        """The integration."""
        return IntegrationRef(self.organization_id, self.connected_integration_id)

    @property
    def key(self) -> StreamKey:
        """The stream of the integration."""
        return StreamKey(STREAMS[self.stream], self.ref)

    def outcome(self) -> Outcome:
        """Only the recorded outcome: what repeating the sync returns."""
        return Outcome(**{name: getattr(self, name) for name in Outcome.__struct_fields__})


def find(source: OperationalDatabase | Transaction, key: StreamKey, sync_id: str) -> SyncRow | None:
    """The sync's row, if it was ever begun."""
    one = (*key.values, sync_id)
    # Mostly there is none, and the driver takes seven times as long to find no row of all columns.
    if not source.rows(f"SELECT 1 AS one FROM syncs WHERE {ONE_SYNC}", one):
        return None
    rows = source.rows(f"SELECT * FROM syncs WHERE {ONE_SYNC}", one)
    return sync_row(rows[0]) if rows else None


def begin(
    transaction: Transaction,
    key: StreamKey,
    sync_id: str,
    run_id: str | None,
    again_of: str | None = None,
) -> SyncRow:
    """Open the sync, or continue it if it was begun before; a settled one stays as it is.

    Whether the sync maps the records of another sync again (`again_of`) is decided when it is
    first opened. The order of extractions (`ordinal`) is a counter, because clocks can go
    backwards.
    """
    row = find(transaction, key, sync_id)
    if row is None:
        return _begin_first(transaction, key, sync_id, run_id, again_of)
    if row.status.settled:
        return row
    transaction.execute(
        "UPDATE syncs SET status = ?, attempts = attempts + 1, run_id = ?,"
        f" error = NULL, retryable = 0, finished_at = NULL WHERE {ONE_SYNC}",
        (str(Status.EXTRACTING), run_id, *key.values, sync_id),
    )
    return msgspec.structs.replace(
        row, status=Status.EXTRACTING, attempts=row.attempts + 1, run_id=run_id, error=None
    )


def _begin_first(
    transaction: Transaction,
    key: StreamKey,
    sync_id: str,
    run_id: str | None,
    again_of: str | None,
) -> SyncRow:
    ordinal = transaction.value(
        f"""
        SELECT 1 + coalesce(max(ordinal), 0) AS ordinal
        FROM (
            SELECT ordinal FROM syncs WHERE {ONE_STREAM}
            UNION ALL
            SELECT ordinal FROM integration_versions WHERE {ONE_STREAM}
        ) AS known
        """,
        (*key.values, *key.values),
    )
    row = SyncRow(
        partition=key.ref.partition_key,
        organization_id=key.ref.organization_id,
        connected_integration_id=key.ref.integration_id,
        stream=key.stream.name,
        sync_id=sync_id,
        ordinal=ordinal,
        status=Status.EXTRACTING,
        attempts=1,
        run_id=run_id,
        started_at=now(),
        again_of=again_of,
    )
    transaction.execute(
        """
        INSERT INTO syncs (
            organization_id, connected_integration_id, stream, sync_id, ordinal, status,
            attempts, run_id, started_at, again_of
        )
        VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?)
        """,
        (*key.values, sync_id, ordinal, str(row.status), run_id, row.started_at, again_of),
    )
    return row


def settle(transaction: Transaction, key: StreamKey, outcome: Outcome) -> bool:
    """Record how the sync ended; False if the ledger has no open row of it.

    A sync that has already settled is left as it is.
    """
    counts = msgspec.structs.asdict(outcome.counts)
    values: dict[str, object] = {
        "status": str(outcome.status),
        "mode": str(outcome.mode),
        "run_id": outcome.run_id,
        "certificate": msgspec.json.encode(outcome.certificate).decode(),
        "complete": int(outcome.certificate.complete),
        "withheld_digest": outcome.withheld_digest,
        "reasons": msgspec.json.encode(outcome.reasons).decode(),
        "resumed_batches": outcome.resumed_batches,
        "batches": outcome.batches,
        "version": outcome.version,
        "error": outcome.error,
        "retryable": int(outcome.retryable),
        "finished_at": now(),
        **{f'"{name}"': value for name, value in counts.items()},
    }
    added = {f"seconds_{stage}": outcome.seconds.get(stage, 0.0) for stage in STAGES}
    assignments = ", ".join(
        [*(f"{name} = ?" for name in values), *(f"{name} = {name} + ?" for name in added)]
    )
    open_statuses = str(Status.EXTRACTING), str(Status.FAILED)
    changed = transaction.execute(
        f"UPDATE syncs SET {assignments} WHERE {ONE_SYNC} AND status IN (?, ?)",
        (*values.values(), *added.values(), *key.values, outcome.sync_id, *open_statuses),
    )
    return changed == 1


def add_error(transaction: Transaction, key: StreamKey, sync_id: str, error: str) -> None:
    """Keep the error of the sync's current attempt; a later success does not erase it."""
    transaction.execute(
        f"""
        INSERT INTO sync_errors
        SELECT organization_id, connected_integration_id, stream, sync_id, attempts, ?, ?
        FROM syncs
        WHERE {ONE_SYNC}
        ON CONFLICT (organization_id, connected_integration_id, stream, sync_id, attempt)
        DO UPDATE SET error = excluded.error, failed_at = excluded.failed_at
        """,
        (error, now(), *key.values, sync_id),
    )


def errors(database: OperationalDatabase, key: StreamKey, sync_id: str) -> list[Row]:
    """Every failed attempt of the sync: attempt, error, failed_at."""
    return database.rows(
        f"SELECT attempt, error, failed_at FROM sync_errors WHERE {ONE_SYNC} ORDER BY attempt",
        (*key.values, sync_id),
    )


def decide(transaction: Transaction, row: SyncRow, decision: str, decided_by: str) -> None:
    """Record what a person decided about the sync's withheld changes."""
    transaction.execute(
        f"UPDATE syncs SET decision = ?, decided_by = ?, decided_at = ? WHERE {ONE_SYNC}",
        (decision, decided_by, now(), *row.key.values, row.sync_id),
    )


def old(
    database: OperationalDatabase, key: StreamKey, before: str, keep: Collection[str]
) -> list[str]:
    """Syncs begun before `before` that may be dropped from the ledger.

    Excluded are the newest few, the sync that made the latest table, and those in `keep`.
    """
    rows = database.rows(
        f"""
        SELECT sync_id
        FROM syncs
        WHERE {ONE_STREAM}
            AND started_at < ?
            AND sync_id NOT IN ({database.dialect.texts})
            AND sync_id NOT IN (SELECT sync_id FROM integration_versions WHERE {ONE_STREAM})
            AND ordinal NOT IN (
                SELECT ordinal FROM syncs WHERE {ONE_STREAM}
                ORDER BY ordinal DESC LIMIT {_ALWAYS_KEPT}
            )
        """,
        (*key.values, before, msgspec.json.encode([*keep]).decode(), *key.values, *key.values),
    )
    return [row["sync_id"] for row in rows]


def drop(transaction: Transaction, key: StreamKey, sync_ids: Collection[str]) -> None:
    """Delete these syncs and their errors."""
    gone = msgspec.json.encode([*sync_ids]).decode()
    for table in ("sync_errors", "syncs"):
        transaction.execute(
            f"DELETE FROM {table} WHERE {ONE_STREAM} AND sync_id IN ({transaction.dialect.texts})",
            (*key.values, gone),
        )


def forget(transaction: Transaction, ref: IntegrationRef) -> None:
    """Delete every row of the integration; only offboarding does this."""
    for table in (
        "syncs",
        "sync_errors",
        "integration_versions",
        "rejected_changes",
        "checked_warehouses",
    ):
        transaction.execute(
            f"DELETE FROM {table} WHERE organization_id = ? AND connected_integration_id = ?",
            ref.values,
        )


def sync_row(row: Row) -> SyncRow:
    """A row of the table `syncs` as an object."""
    known = {name: row[name] for name in SyncRow.__struct_fields__ if name in row}
    return msgspec.convert(
        known
        | {
            "partition": f"{row['organization_id']}:{row['connected_integration_id']}",
            "counts": Counts(**{name: row[name] for name in Counts.__struct_fields__}),
            "certificate": certificate_of(row),
            "reasons": msgspec.json.decode(row["reasons"] or "[]"),
            "retryable": bool(row["retryable"]),
        },
        SyncRow,
    )


def certificate_of(row: Row) -> Certificate:
    """The certificate in a row of `syncs`; an empty one before the sync has settled."""
    text = row["certificate"]
    return Certificate() if text is None else msgspec.json.decode(text, type=Certificate)
