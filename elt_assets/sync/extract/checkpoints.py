"""The checkpoints of extractions: the cursor of each, and the counts of its committed batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import msgspec

from elt_assets.connectors.source import Cursor
from elt_assets.storage.warehouse.warehouse import Warehouse, one_row, row_of
from elt_assets.sync.clock import ago, now
from elt_assets.sync.extract.sync_mode import EVERYTHING, SyncMode
from elt_assets.sync.outcome import Certificate, Mode
from elt_assets.sync.streams import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionState:
    """An extraction as its checkpoints record it.

    `run` is the number of this attempt, `landed_by` has the numbers of the attempts that committed
    a batch. `fetched_in` is the number of attempts that fetched the records, if they are mapped
    again. `resumable` says whether another attempt can continue from the cursor, `snapshot` whether
    the source lists one consistent state. `doubts` are the reasons that its pages gave against
    their completeness, `digests` the identities of its batches.

    `mark` is the source's place from which the next extraction of changes may begin.

    `cursor` continues the extraction. `ended` says that the last committed page was the last of
    all, or that the source stopped there (`cut_short` says why). `bare_end` says that the last page
    had no list.

    `unrecorded` is the row of an extraction that has committed nothing yet.
    """

    batches: int = 0
    pages: int = 0
    fetched: int = 0
    staged: int = 0
    rejected: int = 0
    unreadable_keys: int = 0
    unreadable_times: int = 0
    declared_totals: tuple[int, ...] = ()
    cut_short: str | None = None
    doubts: tuple[str, ...] = ()
    mark: str | None = None
    digests: tuple[str, ...] = ()
    cursor: Cursor | None = None
    sync_mode: SyncMode = EVERYTHING
    run: int = 1
    landed_by: frozenset[int] = frozenset()
    fetched_in: int | None = None
    resumable: bool = True
    snapshot: bool = False
    bare_end: bool = False
    certificate: Certificate | None = None
    unrecorded: Mapping[str, object] | None = None

    @property
    def runs(self) -> int:
        """The number of attempts that the records come from."""
        return self.fetched_in or max(1, len(self.landed_by))

    @property
    def ended(self) -> bool:
        """Whether no page remains to be fetched."""
        return self.batches > 0 and self.cursor is None


def begin_extraction(
    warehouse: Warehouse,
    stream: Stream,
    sync_id: str,
    *,
    fingerprint: str,
    max_resume: timedelta,
    choose_mode: Callable[[], SyncMode],
) -> ExtractionState:
    """Start an extraction in the mode of `choose_mode`, or find the state of an interrupted one.

    Pages that were fetched with another configuration (`fingerprint`), or belong to an unsealed
    extraction that began longer than `max_resume` ago, are dropped, and the extraction starts from
    the first page.

    An extraction that starts writes nothing: it is recorded together with its first batch.
    """
    known = {"stream": stream.name, "sync_id": sync_id}
    found = warehouse.execute(
        """
        SELECT
            certificate IS NOT NULL,
            fingerprint = $fingerprint
                AND (certificate IS NOT NULL OR started_at > $oldest::TIMESTAMP)
        FROM extractions
        WHERE stream = $stream AND sync_id = $sync_id
        """,
        known | {"fingerprint": fingerprint, "oldest": ago(max_resume)},
    ).fetchone()
    sealed, continues = found or (False, False)
    if not continues:
        if found is not None:
            with warehouse.transaction():
                forget_extractions(warehouse, stream, [sync_id])
        return new_extraction(stream, sync_id, fingerprint, choose_mode())
    if not sealed:
        with warehouse.transaction():
            warehouse.update(
                "extractions", "runs = runs + 1", "stream = $stream AND sync_id = $sync_id", known
            )
    return extraction_state(warehouse, stream, sync_id)


def new_extraction(
    stream: Stream, sync_id: str, fingerprint: str, chosen: SyncMode
) -> ExtractionState:
    """The state of an extraction that starts; nothing is written."""
    row = {
        "stream": stream.name,
        "sync_id": sync_id,
        "fingerprint": fingerprint,
        "runs": 1,
        "mode": str(chosen.mode),
        "since": chosen.since,
        "confirming": chosen.confirming,
        "started_at": now(),
    }
    return ExtractionState(sync_mode=chosen, unrecorded=row)


def record(
    warehouse: Warehouse, state: ExtractionState, sealed: Mapping[str, object] | None = None
) -> ExtractionState:
    """Record an extraction that has started, with the columns of its seal; return its state then.

    Call inside the transaction of its first batch.
    """
    if state.unrecorded is None:
        return state
    row = {**state.unrecorded, **(sealed or {})}
    warehouse.insert("extractions", row_of(row), row)
    return replace(state, unrecorded=None)


def begin_again(
    warehouse: Warehouse,
    stream: Stream,
    sync_id: str,
    state: ExtractionState,
    *,
    everything: bool = False,
) -> ExtractionState:
    """Drop the committed batches of an extraction that cannot be continued.

    The number of its runs stays, and so does its mode, unless it shall now read `everything`.
    `state` is the committed state.
    """
    full = {"mode": str(Mode.FULL), "since": None} if everything else {}
    if state.unrecorded is not None:
        mode = replace(state.sync_mode, mode=Mode.FULL, since=None)
        row = {**state.unrecorded, **full}
        return replace(state, sync_mode=mode if everything else state.sync_mode, unrecorded=row)
    with warehouse.transaction():
        _forget_landed(warehouse, stream, [sync_id])
        if everything:
            warehouse.update(
                "extractions",
                "mode = $mode, since = $since",
                "stream = $stream AND sync_id = $sync_id",
                full | {"stream": stream.name, "sync_id": sync_id},
            )
    return extraction_state(warehouse, stream, sync_id)


def extraction_state(warehouse: Warehouse, stream: Stream, sync_id: str) -> ExtractionState:
    """Read the state of an extraction from its checkpoints."""
    row = one_row(
        warehouse,
        """
        SELECT
            coalesce(b.batches, 0), coalesce(b.pages, 0), coalesce(b.fetched, 0),
            coalesce(b.staged, 0), coalesce(b.rejected, 0), coalesce(b.unreadable_keys, 0),
            coalesce(b.totals, []), b.cut_short, b.cursor,
            coalesce(b.landed_by, []), e.runs, e.certificate, e.mode, e.since,
            coalesce(b.doubts, []), coalesce(e.confirming, false),
            coalesce(b.unreadable_times, 0), b.mark, coalesce(b.digests, [])
        FROM extractions AS e
        LEFT JOIN (
            SELECT
                count(*) AS batches,
                sum(pages)::BIGINT AS pages,
                sum(fetched)::BIGINT AS fetched,
                sum(staged)::BIGINT AS staged,
                sum(rejected)::BIGINT AS rejected,
                sum(unreadable_keys)::BIGINT AS unreadable_keys,
                sum(unreadable_times)::BIGINT AS unreadable_times,
                list_distinct(flatten(list(declared_totals))) AS totals,
                flatten(list(doubts ORDER BY batch) FILTER (doubts IS NOT NULL)) AS doubts,
                arg_max(cut_short, batch) AS cut_short,
                arg_max(mark, batch) AS mark,
                list(digest ORDER BY batch) AS digests,
                -- arg_max would skip the NULL that marks the end.
                arg_max_null(cursor, batch) AS cursor,
                list(DISTINCT run) AS landed_by
            FROM extraction_batches
            WHERE stream = $stream AND sync_id = $sync_id
        ) AS b ON true
        WHERE e.stream = $stream AND e.sync_id = $sync_id
        """,
        {"stream": stream.name, "sync_id": sync_id},
    )
    return ExtractionState(
        batches=row[0],
        pages=row[1],
        fetched=row[2],
        staged=row[3],
        rejected=row[4],
        unreadable_keys=row[5],
        unreadable_times=row[16],
        declared_totals=tuple(sorted(row[6])),
        cut_short=row[7],
        mark=row[17],
        cursor=None if row[8] is None else msgspec.json.decode(row[8]),
        landed_by=frozenset(row[9]),
        run=row[10],
        certificate=None if row[11] is None else msgspec.json.decode(row[11], type=Certificate),
        sync_mode=SyncMode(Mode(row[12]), row[13], confirming=row[15]),
        doubts=tuple(dict.fromkeys(row[14])),
        digests=tuple(row[18]),
    )


def staged_and_unique(warehouse: Warehouse, stream: Stream, sync_id: str) -> tuple[int, int]:
    """The number of records that one sync staged, and the number of their distinct ids."""
    staged, unique = one_row(
        warehouse,
        f"SELECT count(*), count(DISTINCT id) FROM {stream.staging} WHERE sync_id = $sync_id",
        {"sync_id": sync_id},
    )
    return staged, unique


def repeated_keys(warehouse: Warehouse, stream: Stream, sync_id: str) -> int:
    """The number of keys that one sync listed on more than one page."""
    (repeated,) = one_row(
        warehouse,
        f"""
        SELECT count(*)
        FROM (
            SELECT staged.id
            FROM {stream.staging} AS staged
            JOIN extraction_batches AS b
                ON b.stream = $stream AND b.sync_id = $sync_id AND b.batch = staged.batch
            WHERE staged.sync_id = $sync_id
            GROUP BY staged.id
            HAVING count(DISTINCT (
                staged.batch,
                len(list_filter(b.page_starts, lambda start: start <= staged.seq))
            )) > 1
        )
        """,
        {"stream": stream.name, "sync_id": sync_id},
    )
    return int(repeated)


def forget_extractions(warehouse: Warehouse, stream: Stream, sync_ids: Collection[str]) -> None:
    """Delete the extractions of these syncs, with all records that only they refer to."""
    warehouse.delete(
        "extractions",
        "stream = $stream AND list_contains($old::VARCHAR[], sync_id)",
        {"stream": stream.name, "old": [*sync_ids]},
    )
    _forget_landed(warehouse, stream, sync_ids)


def _forget_landed(warehouse: Warehouse, stream: Stream, sync_ids: Collection[str]) -> None:
    known = {"stream": stream.name, "old": [*sync_ids]}
    for table in ("extraction_batches", "rejected_records"):
        warehouse.delete(
            table, "stream = $stream AND list_contains($old::VARCHAR[], sync_id)", known
        )
    # Also records that other syncs stored and that only these syncs still referred to.
    warehouse.delete(
        stream.landed,
        f"""
        NOT EXISTS (
            FROM extraction_batches AS b
            WHERE b.stream = $stream
                AND b.records_of = {stream.landed}.sync_id
                AND b.batch = {stream.landed}.batch
        )
        """,
        {"stream": stream.name},
    )
