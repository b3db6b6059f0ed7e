"""The ledger: one row for every sync, and the version that an apply compares and sets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Row, Transaction
from elt_assets.sync.clock import now
from elt_assets.sync.outcome import Certificate, Counts, Mode, Outcome, RecentHarm, Status
from elt_assets.sync.streams import Stream

STAGES = ("extract", "stage", "detect", "apply")
"""What a sync's time is spent on; the ledger has a column for each."""

_ONE_STREAM = "organization_id = ? AND connected_integration_id = ? AND stream = ?"
_LOOKED_BACK = 10
"""Syncs of a stream that stay in the ledger however old they are."""
_ONE_SYNC = f"{_ONE_STREAM} AND sync_id = ?"
ENABLED_AND_NEWEST_SETTLED = """
    FROM connected_integrations AS c
    LEFT JOIN integration_versions AS v
        ON v.organization_id = c.organization_id
        AND v.connected_integration_id = c.id
        AND v.stream = ?
    LEFT JOIN syncs AS s
        ON s.organization_id = v.organization_id
        AND s.connected_integration_id = v.connected_integration_id
        AND s.stream = v.stream
        AND s.sync_id = v.sync_id
    WHERE c.enabled = 1
"""
"""Every enabled integration (`c`), the state of its latest table of a stream (`v`), and the sync
that made it (`s`); NULL where there is none yet. Its one parameter is the stream."""


class SyncRow(msgspec.Struct, frozen=True):
    """A row of the ledger."""

    organization_id: str
    connected_integration_id: str
    stream: str
    sync_id: str
    ordinal: int
    status: Status
    attempts: int
    run_id: str | None
    mode: Mode = Mode.FULL
    counts: Counts = Counts()
    certificate: Certificate = Certificate()
    resumed_batches: int = 0
    batches: int = 0
    version: int | None = None
    reasons: tuple[str, ...] = ()
    error: str | None = None
    retryable: bool = False
    started_at: str = ""
    finished_at: str | None = None
    decision: str | None = None
    decided_by: str | None = None
    decided_at: str | None = None
    again_of: str | None = None
    """The sync whose kept records this one maps again instead of fetching."""
    withheld_digest: str = ""
    """See `Outcome`."""

    @property
    def partition(self) -> str:
        """The integration's partition key."""
        return f"{self.organization_id}:{self.connected_integration_id}"

    def outcome(self) -> Outcome:
        """The recorded result, as repeating the sync returns it."""
        return Outcome(
            partition=self.partition,
            stream=self.stream,
            sync_id=self.sync_id,
            status=self.status,
            mode=self.mode,
            counts=self.counts,
            certificate=self.certificate,
            resumed_batches=self.resumed_batches,
            batches=self.batches,
            version=self.version,
            reasons=self.reasons,
            error=self.error,
            retryable=self.retryable,
            recorded=True,
            run_id=self.run_id,
        )


@dataclass(frozen=True, slots=True)
class Version:
    """State of one integration's latest table.

    `version` counts the syncs that settled; `ordinal` is that of the newest of them.
    `watermark` is the newest change seen, by the provider's time, and `full_at` when
    everything was last read completely; None asks for it to be read next.
    """

    version: int = 0
    ordinal: int = 0
    watermark: str | None = None
    full_at: str | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """The sync that made the latest table what it is, and the version it made."""

    sync_id: str
    version: int


def find(
    database: OperationalDatabase, stream: Stream, ref: IntegrationRef, sync_id: str
) -> SyncRow | None:
    """The sync's row, if it was ever begun."""
    rows = database.rows(f"SELECT * FROM syncs WHERE {_ONE_SYNC}", (*_key(stream, ref), sync_id))
    return _sync_row(rows[0]) if rows else None


def recent(database: OperationalDatabase, ref: IntegrationRef | None, limit: int) -> list[SyncRow]:
    """The newest syncs, of one integration or of all, newest first."""
    order = "ORDER BY started_at DESC, ordinal DESC LIMIT ?"
    if ref is None:
        rows = database.rows(f"SELECT * FROM syncs {order}", (limit,))
    else:
        rows = database.rows(
            "SELECT * FROM syncs WHERE organization_id = ? AND connected_integration_id = ? "
            + order,
            (ref.organization_id, ref.integration_id, limit),
        )
    return [_sync_row(row) for row in rows]


def last_finished(database: OperationalDatabase) -> str | None:
    """When a sync ended last, well or not."""
    rows = database.rows(
        "SELECT finished_at FROM syncs WHERE finished_at IS NOT NULL"
        " ORDER BY finished_at DESC LIMIT 1"
    )
    return str(rows[0]["finished_at"]) if rows else None


def newest(
    database: OperationalDatabase, stream: Stream, ref: IntegrationRef, statuses: tuple[Status, ...]
) -> SyncRow | None:
    """The newest sync of the stream in one of `statuses`."""
    marks = ", ".join("?" for _ in statuses)
    rows = database.rows(
        f"SELECT * FROM syncs WHERE {_ONE_STREAM} AND status IN ({marks})"
        " ORDER BY ordinal DESC LIMIT 1",
        (*_key(stream, ref), *map(str, statuses)),
    )
    return _sync_row(rows[0]) if rows else None


def begin(
    transaction: Transaction,
    stream: Stream,
    ref: IntegrationRef,
    sync_id: str,
    run_id: str | None,
    again_of: str | None = None,
) -> SyncRow:
    """Open the sync, or continue it if it was begun before; a settled one stays as it is.

    Whether it maps the records of another one again (`again_of`) is decided when it is
    opened. The order of extractions (`ordinal`) is a counter, not a clock: clocks go backwards.
    """
    key = _key(stream, ref)
    rows = transaction.rows(f"SELECT * FROM syncs WHERE {_ONE_SYNC}", (*key, sync_id))
    if not rows:
        return _begin_first(transaction, key, sync_id, run_id, again_of)
    row = _sync_row(rows[0])
    if row.status.settled:
        return row
    transaction.execute(
        "UPDATE syncs SET status = ?, attempts = attempts + 1, run_id = ?,"
        f" error = NULL, retryable = 0, finished_at = NULL WHERE {_ONE_SYNC}",
        (str(Status.EXTRACTING), run_id, *key, sync_id),
    )
    return msgspec.structs.replace(
        row, status=Status.EXTRACTING, attempts=row.attempts + 1, run_id=run_id, error=None
    )


def _begin_first(
    transaction: Transaction,
    key: tuple[str, str, str],
    sync_id: str,
    run_id: str | None,
    again_of: str | None,
) -> SyncRow:
    ordinal = transaction.value(
        f"""
        SELECT 1 + coalesce(max(ordinal), 0) AS ordinal
        FROM (
            SELECT ordinal FROM syncs WHERE {_ONE_STREAM}
            UNION ALL
            SELECT ordinal FROM integration_versions WHERE {_ONE_STREAM}
        ) AS known
        """,
        (*key, *key),
    )
    row = SyncRow(
        *key,
        sync_id,
        ordinal,
        Status.EXTRACTING,
        1,
        run_id,
        started_at=now(),
        again_of=again_of,
    )
    transaction.execute(
        """
        INSERT INTO syncs (
            organization_id, connected_integration_id, stream, sync_id, ordinal, status,
            attempts, run_id, started_at, again_of
        )
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (*key, sync_id, ordinal, str(row.status), row.attempts, run_id, row.started_at, again_of),
    )
    return row


def settle(transaction: Transaction, stream: Stream, ref: IntegrationRef, outcome: Outcome) -> bool:
    """Record how the sync ended; False if it is not there to be settled.

    A sync that settled before is left as it is.
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
    assignments = ", ".join(
        [
            *(f"{name} = ?" for name in values),
            *(f"seconds_{stage} = seconds_{stage} + ?" for stage in STAGES),
        ]
    )
    changed = transaction.execute(
        f"UPDATE syncs SET {assignments} WHERE {_ONE_SYNC} AND status IN (?, ?)",
        (
            *values.values(),
            *(outcome.seconds.get(stage, 0.0) for stage in STAGES),
            *_key(stream, ref),
            outcome.sync_id,
            str(Status.EXTRACTING),
            str(Status.FAILED),
        ),
    )
    return changed == 1


def add_error(
    transaction: Transaction, stream: Stream, ref: IntegrationRef, sync_id: str, error: str
) -> None:
    """Keep the error of the sync's current attempt; a later success does not erase it."""
    transaction.execute(
        f"""
        INSERT INTO sync_errors
        SELECT organization_id, connected_integration_id, stream, sync_id, attempts, ?, ?
        FROM syncs
        WHERE {_ONE_SYNC}
        ON CONFLICT (organization_id, connected_integration_id, stream, sync_id, attempt)
        DO UPDATE SET error = excluded.error, failed_at = excluded.failed_at
        """,
        (error, now(), *_key(stream, ref), sync_id),
    )


def errors(
    database: OperationalDatabase, stream: Stream, ref: IntegrationRef, sync_id: str
) -> list[Row]:
    """Every failed attempt of the sync: attempt, error, failed_at."""
    return database.rows(
        f"SELECT attempt, error, failed_at FROM sync_errors WHERE {_ONE_SYNC} ORDER BY attempt",
        (*_key(stream, ref), sync_id),
    )


def listed_before(
    database: OperationalDatabase, stream: Stream, ref: IntegrationRef, limit: int = 3
) -> tuple[int, ...]:
    """How many valid records the newest settled extractions found, newest first."""
    rows = database.rows(
        f'SELECT "unique" AS n FROM syncs WHERE {_ONE_STREAM} AND fetched > 0'
        " AND status IN (?, ?, ?) ORDER BY ordinal DESC LIMIT ?",
        (
            *_key(stream, ref),
            str(Status.APPLIED),
            str(Status.UNCHANGED),
            str(Status.QUARANTINED),
            limit,
        ),
    )
    return tuple(row["n"] for row in rows)


def begun(
    database: OperationalDatabase, stream: Stream, refs: Iterable[IntegrationRef]
) -> set[IntegrationRef]:
    """Those of `refs` of which a sync of `stream` was ever begun."""
    rows = database.rows(
        f"""
        SELECT first AS organization_id, second AS connected_integration_id
        FROM ({database.dialect.pairs}) AS asked
        WHERE EXISTS (
            SELECT 1
            FROM syncs AS s
            WHERE s.organization_id = asked.first
                AND s.connected_integration_id = asked.second
                AND s.stream = ?
        )
        """,
        (_asked(refs), stream.name),
    )
    return {_ref(row) for row in rows}


def standing(
    database: OperationalDatabase, stream: Stream, sync_id: str, refs: Iterable[IntegrationRef]
) -> dict[IntegrationRef, Status]:
    """How that sync stands of those of `refs` that began it."""
    rows = database.rows(
        f"""
        SELECT s.organization_id, s.connected_integration_id, s.status
        FROM ({database.dialect.pairs}) AS asked
        JOIN syncs AS s
            ON s.organization_id = asked.first
            AND s.connected_integration_id = asked.second
            AND s.stream = ?
            AND s.sync_id = ?
        """,
        (_asked(refs), stream.name, sync_id),
    )
    return {_ref(row): Status(row["status"]) for row in rows}


def newest_of_each(
    database: OperationalDatabase, stream: Stream, statuses: Collection[Status] = tuple(Status)
) -> list[SyncRow]:
    """The newest sync of every integration, where that is in one of `statuses`."""
    marks = ", ".join("?" for _ in statuses)
    rows = database.rows(
        f"""
        SELECT s.*
        FROM connected_integrations AS c
        JOIN syncs AS s
            ON s.organization_id = c.organization_id
            AND s.connected_integration_id = c.id
            AND s.stream = ?
            AND s.ordinal = (
                SELECT max(newest.ordinal)
                FROM syncs AS newest
                WHERE newest.organization_id = c.organization_id
                    AND newest.connected_integration_id = c.id
                    AND newest.stream = ?
            )
        WHERE s.status IN ({marks})
        """,
        (stream.name, stream.name, *map(str, statuses)),
    )
    return [_sync_row(row) for row in rows]


def unsettled(database: OperationalDatabase) -> list[SyncRow]:
    """Syncs that were begun, have not settled, can go on, and are the newest of their stream."""
    rows = database.rows(
        f"""
        SELECT s.*
        FROM syncs AS s
        WHERE s.status IN ('extracting', 'failed')
            AND (s.status = '{Status.EXTRACTING}' OR s.retryable = 1)
            AND NOT EXISTS (
                SELECT 1
                FROM syncs AS newer
                WHERE newer.organization_id = s.organization_id
                    AND newer.connected_integration_id = s.connected_integration_id
                    AND newer.stream = s.stream
                    AND newer.ordinal > s.ordinal
            )
        ORDER BY s.started_at
        """
    )
    return [_sync_row(row) for row in rows]


def quarantined(database: OperationalDatabase, ref: IntegrationRef | None = None) -> list[SyncRow]:
    """Syncs whose withheld changes wait for a decision: the newest settled one of a stream."""
    condition = (
        "" if ref is None else "AND s.organization_id = ? AND s.connected_integration_id = ?"
    )
    rows = database.rows(
        f"""
        SELECT s.*
        FROM syncs AS s
        JOIN integration_versions AS v
            ON v.organization_id = s.organization_id
            AND v.connected_integration_id = s.connected_integration_id
            AND v.stream = s.stream
            AND v.sync_id = s.sync_id
        WHERE s.status = '{Status.QUARANTINED}' AND s.decision IS NULL {condition}
        ORDER BY s.finished_at DESC
        """,
        () if ref is None else (ref.organization_id, ref.integration_id),
    )
    return [_sync_row(row) for row in rows]


def quarantined_since(database: OperationalDatabase, row: SyncRow) -> str:
    """When the first of the syncs in a row settled that withheld the same changes as `row`."""
    rows = database.rows(
        f"""
        SELECT min(finished_at) AS since
        FROM syncs
        WHERE {_ONE_STREAM} AND status = '{Status.QUARANTINED}' AND ordinal <= ? AND ordinal > (
            SELECT coalesce(max(ordinal), 0)
            FROM syncs
            WHERE {_ONE_STREAM}
                AND ordinal < ?
                AND mode <> '{Mode.COMPENSATING}'
                AND status IN ('{Status.APPLIED}', '{Status.UNCHANGED}', '{Status.QUARANTINED}')
                AND NOT (
                    status = '{Status.QUARANTINED}'
                    AND decision IS NULL
                    AND withheld_digest = ?
                )
        )
        """,
        (
            *(row.organization_id, row.connected_integration_id, row.stream, row.ordinal),
            *(row.organization_id, row.connected_integration_id, row.stream, row.ordinal),
            row.withheld_digest,
        ),
    )
    return str(rows[0]["since"] or row.finished_at)


def decide(
    transaction: Transaction,
    stream: Stream,
    ref: IntegrationRef,
    sync_id: str,
    decision: str,
    decided_by: str,
) -> None:
    """Record what a person decided about the sync's withheld changes."""
    transaction.execute(
        f"UPDATE syncs SET decision = ?, decided_by = ?, decided_at = ? WHERE {_ONE_SYNC}",
        (decision, decided_by, now(), *_key(stream, ref), sync_id),
    )


def set_version(
    transaction: Transaction, stream: Stream, ref: IntegrationRef, version: int, sync_id: str
) -> None:
    """State the latest table's version outright; only rebuilding from the log does this."""
    transaction.execute(
        """
        INSERT INTO integration_versions VALUES (?, ?, ?, ?, 0, ?, ?, NULL, NULL)
        ON CONFLICT (organization_id, connected_integration_id, stream) DO UPDATE
        SET version = excluded.version, settled_at = excluded.settled_at
        """,
        (*_key(stream, ref), version, sync_id, now()),
    )


def applied(database: OperationalDatabase, stream: Stream, ref: IntegrationRef) -> Applied | None:
    """What the latest table of the integration was made by; None before the first sync."""
    rows = database.rows(
        f"SELECT sync_id, version FROM integration_versions WHERE {_ONE_STREAM}",
        _key(stream, ref),
    )
    return Applied(**rows[0]) if rows else None


def version(
    source: Transaction | OperationalDatabase, stream: Stream, ref: IntegrationRef
) -> Version:
    """The latest table's version and newest ordinal now."""
    rows = source.rows(
        "SELECT version, ordinal, watermark, full_at FROM integration_versions"
        f" WHERE {_ONE_STREAM}",
        _key(stream, ref),
    )
    return Version(**rows[0]) if rows else Version()


def changes_of(
    database: OperationalDatabase, stream: Stream, ref: IntegrationRef, version: int
) -> int | None:
    """How many changes the sync that made `version` applied; None if no such sync is known."""
    rows = database.rows(
        f"SELECT inserts + updates + deletes AS n FROM syncs WHERE {_ONE_STREAM} AND version = ?"
        " AND status IN (?, ?, ?)",
        (
            *_key(stream, ref),
            version,
            str(Status.APPLIED),
            str(Status.UNCHANGED),
            str(Status.QUARANTINED),
        ),
    )
    return rows[0]["n"] if rows else None


def advance(
    transaction: Transaction,
    stream: Stream,
    ref: IntegrationRef,
    expected: Version,
    row: SyncRow,
    *,
    watermark: str | None = None,
    full_at: str | None = None,
) -> bool:
    """Compare and set: make `row` the newest settled sync if the version is still `expected`.

    A watermark only rises, and stays where it is None; one that lies behind the beginning of
    `row` was a provider's mistake and is forgotten. `full_at` becomes what is given.
    """
    key = _key(stream, ref)
    if expected.version == 0:
        changed = transaction.execute(
            """
            INSERT INTO integration_versions VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?)
            ON CONFLICT DO NOTHING
            """,
            (*key, row.ordinal, row.sync_id, now(), watermark, full_at),
        )
    else:
        known = expected.watermark if (expected.watermark or "") <= row.started_at else None
        risen = max(filter(None, (watermark, known)), default=None)
        changed = transaction.execute(
            f"""
            UPDATE integration_versions
            SET version = version + 1, ordinal = ?, sync_id = ?, settled_at = ?,
                watermark = ?, full_at = ?
            WHERE {_ONE_STREAM} AND version = ?
            """,
            (
                row.ordinal,
                row.sync_id,
                now(),
                risen,
                full_at,
                *key,
                expected.version,
            ),
        )
    return changed == 1


def newest_plain(database: OperationalDatabase, stream: Stream, ref: IntegrationRef) -> str | None:
    """The newest extraction that was applied with nothing withheld; None if there is none."""
    rows = database.rows(
        f"SELECT sync_id FROM syncs WHERE {_ONE_STREAM} AND status IN (?, ?) AND mode <> ?"
        " ORDER BY ordinal DESC LIMIT 1",
        (
            *_key(stream, ref),
            str(Status.APPLIED),
            str(Status.UNCHANGED),
            str(Mode.COMPENSATING),
        ),
    )
    return str(rows[0]["sync_id"]) if rows else None


def certificate_before(
    database: OperationalDatabase,
    stream: Stream,
    ref: IntegrationRef,
    sync_id: str,
    statuses: tuple[Status, ...],
) -> Certificate | None:
    """The certificate of the extraction in one of `statuses` before `sync_id`, if there is one."""
    marks = ", ".join("?" for _ in statuses)
    rows = database.rows(
        f"""
        SELECT certificate
        FROM syncs
        WHERE {_ONE_STREAM} AND status IN ({marks}) AND mode <> ? AND ordinal < (
            SELECT ordinal FROM syncs WHERE {_ONE_SYNC}
        )
        ORDER BY ordinal DESC
        LIMIT 1
        """,
        (
            *_key(stream, ref),
            *map(str, statuses),
            str(Mode.COMPENSATING),
            *_key(stream, ref),
            sync_id,
        ),
    )
    if not rows or rows[0]["certificate"] is None:
        return None
    return msgspec.json.decode(rows[0]["certificate"], type=Certificate)


def recent_harm(
    database: OperationalDatabase, stream: Stream, ref: IntegrationRef, since: str
) -> RecentHarm:
    """What extractions that settled after `since` did that can harm; decisions do not count."""
    rows = database.rows(
        f"""
        SELECT coalesce(sum(deletes), 0) AS deletes,
            coalesce(sum(deactivations), 0) AS deactivations,
            coalesce(sum(losses), 0) AS losses,
            coalesce(max(latest_before), 0) AS latest
        FROM syncs
        WHERE {_ONE_STREAM} AND finished_at > ? AND mode <> ? AND status IN (?, ?, ?)
        """,
        (
            *_key(stream, ref),
            since,
            str(Mode.COMPENSATING),
            str(Status.APPLIED),
            str(Status.UNCHANGED),
            str(Status.QUARANTINED),
        ),
    )
    found = rows[0]
    return RecentHarm(
        latest=int(found["latest"]),
        deletes=int(found["deletes"]),
        deactivations=int(found["deactivations"]),
        losses=int(found["losses"]),
    )


def old(
    database: OperationalDatabase,
    stream: Stream,
    ref: IntegrationRef,
    before: str,
    keep: Collection[str],
) -> list[str]:
    """Syncs begun before `before`, but the newest few, the settled one and those in `keep`."""
    key = _key(stream, ref)
    rows = database.rows(
        f"""
        SELECT sync_id
        FROM syncs
        WHERE {_ONE_STREAM}
            AND started_at < ?
            AND sync_id NOT IN ({database.dialect.texts})
            AND sync_id NOT IN (SELECT sync_id FROM integration_versions WHERE {_ONE_STREAM})
            AND ordinal NOT IN (
                SELECT ordinal FROM syncs WHERE {_ONE_STREAM} ORDER BY ordinal DESC LIMIT ?
            )
        """,
        (*key, before, msgspec.json.encode([*keep]).decode(), *key, *key, _LOOKED_BACK),
    )
    return [row["sync_id"] for row in rows]


def drop(
    transaction: Transaction, stream: Stream, ref: IntegrationRef, sync_ids: Collection[str]
) -> None:
    """Delete these syncs and their errors."""
    gone = msgspec.json.encode([*sync_ids]).decode()
    for table in ("sync_errors", "syncs"):
        transaction.execute(
            f"DELETE FROM {table} WHERE {_ONE_STREAM} AND sync_id IN ({transaction.dialect.texts})",
            (*_key(stream, ref), gone),
        )


def forget(transaction: Transaction, ref: IntegrationRef) -> None:
    """Delete every row of the integration; only offboarding does this."""
    for table in ("syncs", "sync_errors", "integration_versions", "rejected_changes"):
        transaction.execute(
            f"DELETE FROM {table} WHERE organization_id = ? AND connected_integration_id = ?",
            (ref.organization_id, ref.integration_id),
        )


def _key(stream: Stream, ref: IntegrationRef) -> tuple[str, str, str]:
    return ref.organization_id, ref.integration_id, stream.name


def _asked(refs: Iterable[IntegrationRef]) -> str:
    names = [[ref.organization_id, ref.integration_id] for ref in refs]
    return msgspec.json.encode(names).decode()


def _ref(row: Row) -> IntegrationRef:
    return IntegrationRef(row["organization_id"], row["connected_integration_id"])


def _sync_row(row: Row) -> SyncRow:
    counts = Counts(**{name: row[name] for name in Counts.__struct_fields__})
    certificate = (
        Certificate()
        if row["certificate"] is None
        else msgspec.json.decode(row["certificate"], type=Certificate)
    )
    plain: Mapping[str, object] = {
        name: row[name] for name in SyncRow.__struct_fields__ if name in row
    }
    return msgspec.convert(
        {
            **plain,
            "counts": counts,
            "certificate": certificate,
            "reasons": msgspec.json.decode(row["reasons"] or "[]"),
            "retryable": bool(row["retryable"]),
        },
        SyncRow,
    )
