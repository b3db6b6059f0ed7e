"""Land a batch: staged records, dead letters and the checkpoint, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import accumulate

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from elt_assets.connectors.source import Cursor, FieldMap, KnownPage, Page
from elt_assets.errors import BooksUnbalanced, PageUnreadable
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse import Warehouse, one_row
from elt_assets.sync.clock import ago, now
from elt_assets.sync.extract import page_reuse
from elt_assets.sync.extract.page_reuse import Before
from elt_assets.sync.extract.record_mapping import mapping_query, sql_literal
from elt_assets.sync.extract.sync_mode import EVERYTHING, Plan
from elt_assets.sync.outcome import Certificate, Mode
from elt_assets.sync.streams import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionState:
    """An extraction as the checkpoints tell it.

    `run` is the number of this attempt, `landed_by` those of the attempts that landed a batch,
    `resumable` whether another attempt could go on from there, `snapshot` whether the source
    lists one consistent state. `doubts` are what its pages gave against their completeness.

    `cursor` continues it; `ended` says that the last landed page was the last of all, or
    that the source stopped there (`cut_short` says why).
    """

    batches: int = 0
    pages: int = 0
    fetched: int = 0
    staged: int = 0
    rejected: int = 0
    unreadable_keys: int = 0
    declared_totals: tuple[int, ...] = ()
    cut_short: str | None = None
    doubts: tuple[str, ...] = ()
    cursor: Cursor | None = None
    plan: Plan = EVERYTHING
    run: int = 1
    landed_by: frozenset[int] = frozenset()
    resumable: bool = True
    snapshot: bool = False
    certificate: Certificate | None = None

    @property
    def runs(self) -> int:
        """How many attempts the records come from; more than one is stitched."""
        return max(1, len(self.landed_by))

    @property
    def ended(self) -> bool:
        """Whether nothing is left to fetch."""
        return self.batches > 0 and self.cursor is None


def begin_extraction(
    warehouse: Warehouse,
    stream: Stream,
    sync_id: str,
    *,
    fingerprint: str,
    max_resume: timedelta,
    plan: Callable[[], Plan],
) -> ExtractionState:
    """Start an extraction by `plan`, or find where an interrupted one of the sync stands.

    Pages fetched under another configuration (`fingerprint`), or begun longer than
    `max_resume` ago and not sealed, do not belong to the same extraction: they are dropped
    and it starts from the first page.
    """
    known = {"stream": stream.name, "sync_id": sync_id}
    with warehouse.transaction():
        row = warehouse.execute(
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
        sealed, continues = row or (False, False)
        if not continues:
            if row is not None:
                forget_extractions(warehouse, stream, [sync_id])
            chosen = plan()
            warehouse.insert(
                "extractions",
                """
                SELECT
                    $stream AS stream, $sync_id AS sync_id, $fingerprint AS fingerprint,
                    1 AS runs, $mode AS mode, $since AS since, $confirming AS confirming,
                    $now::TIMESTAMP AS started_at
                """,
                known
                | {
                    "fingerprint": fingerprint,
                    "mode": str(chosen.mode),
                    "since": chosen.since,
                    "confirming": chosen.confirming,
                    "now": now(),
                },
            )
            return ExtractionState(plan=chosen)
        if not sealed:
            warehouse.update(
                "extractions", "runs = runs + 1", "stream = $stream AND sync_id = $sync_id", known
            )
    return extraction_state(warehouse, stream, sync_id)


def begin_again(warehouse: Warehouse, stream: Stream, sync_id: str) -> ExtractionState:
    """Drop what an extraction has landed and cannot go on from; its plan and its runs stay."""
    with warehouse.transaction():
        _forget_landed(warehouse, stream, [sync_id])
    return extraction_state(warehouse, stream, sync_id)


def extraction_state(warehouse: Warehouse, stream: Stream, sync_id: str) -> ExtractionState:
    """Read an extraction's checkpoints."""
    row = one_row(
        warehouse,
        """
        SELECT
            coalesce(b.batches, 0), coalesce(b.pages, 0), coalesce(b.fetched, 0),
            coalesce(b.staged, 0), coalesce(b.rejected, 0), coalesce(b.unreadable_keys, 0),
            coalesce(b.totals, []), b.cut_short, b.cursor,
            coalesce(b.landed_by, []), e.runs, e.certificate, e.mode, e.since,
            coalesce(b.doubts, []), coalesce(e.confirming, false)
        FROM extractions AS e
        LEFT JOIN (
            SELECT
                count(*) AS batches,
                sum(pages)::BIGINT AS pages,
                sum(fetched)::BIGINT AS fetched,
                sum(staged)::BIGINT AS staged,
                sum(rejected)::BIGINT AS rejected,
                sum(unreadable_keys)::BIGINT AS unreadable_keys,
                list_distinct(flatten(list(declared_totals))) AS totals,
                flatten(list(doubts ORDER BY batch) FILTER (doubts IS NOT NULL)) AS doubts,
                arg_max(cut_short, batch) AS cut_short,
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
        declared_totals=tuple(sorted(row[6])),
        cut_short=row[7],
        cursor=None if row[8] is None else msgspec.json.decode(row[8]),
        landed_by=frozenset(row[9]),
        run=row[10],
        certificate=None if row[11] is None else msgspec.json.decode(row[11], type=Certificate),
        plan=Plan(Mode(row[12]), row[13], confirming=row[15]),
        doubts=tuple(dict.fromkeys(row[14])),
    )


def staged_and_unique(warehouse: Warehouse, stream: Stream, sync_id: str) -> tuple[int, int]:
    """How many records one sync staged, and how many of them differ in id."""
    staged, unique = one_row(
        warehouse,
        f"SELECT count(*), count(DISTINCT id) FROM {stream.staging} WHERE sync_id = $sync_id",
        {"sync_id": sync_id},
    )
    return staged, unique


def repeated_keys(warehouse: Warehouse, stream: Stream, sync_id: str) -> int:
    """How many keys one sync listed on more than one page."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Pages worked out and not yet written; `last` is the last of them.

    `mapped` are the records, rejected ones with their reason; None if `records_of`, an earlier
    sync, has stored the same ones.
    """

    number: int
    last: Page
    pages: int
    fetched: int
    staged: int
    rejected: int = 0
    unreadable_keys: int = 0
    declared_totals: frozenset[int]
    doubts: tuple[str, ...] = ()
    page_starts: tuple[int, ...] = ()
    digest: str
    records_of: str
    known_pages: str | None
    mapped: pa.Table | None = None


class Landing:
    """Lands the batches of one extraction."""

    def __init__(
        self,
        warehouse: Warehouse,
        stream: Stream,
        ref: IntegrationRef,
        sync_id: str,
        *,
        fields: FieldMap,
        records: Sequence[str],
        before: Before | None = None,
    ) -> None:
        """`before` is an extraction whose batches, where they come again, are not mapped again."""
        self._warehouse = warehouse
        self._prepared = warehouse.prepared
        self._make_room = warehouse.make_room
        self._stream = stream
        self._ref = ref
        self._sync_id = sync_id
        self._list_names = tuple(records)
        self._query = mapping_query(stream, fields, incoming(records))
        self._mapping = page_reuse.identity(self._query)
        self._before = before

    def known_pages(self) -> list[KnownPage]:
        """Pages landed before as they would be now, unless the provider has changed them."""
        batches = () if self._before is None else self._before.batches.values()
        return [page for one in batches if one.mapping == self._mapping for page in one.pages]

    def work_out(self, number: int, pages: Sequence[Page], again: Callable[[Page], Page]) -> Batch:
        """The content of batch `number` (from 0). Writes nothing, so it may run during `land`.

        `again` gives a page in full that is known to be unchanged; it is asked where the
        batch is not what it was.

        Raises `PageUnreadable` for a page of which it is not clear where its list is, and
        `BooksUnbalanced` when the records found in SQL are not as many as were counted.
        """
        digests = [page_reuse.page_digest(page) for page in pages]
        digest = page_reuse.digest(self._mapping, digests)
        known = self._before.batches.get(number) if self._before else None
        repeated = known is not None and known.digest == digest
        if not repeated and any(page.known is not None for page in pages):
            pages = [again(page) for page in pages]
            digests = [page_reuse.page_digest(page) for page in pages]
            digest = page_reuse.digest(self._mapping, digests)
        fetched = sum(page.count for page in pages)
        totals = {page.total for page in pages if page.total is not None}
        batch = Batch(
            number=number,
            last=pages[-1],
            pages=len(pages),
            fetched=fetched,
            staged=fetched,
            declared_totals=frozenset(totals),
            doubts=tuple(dict.fromkeys(doubt for page in pages for doubt in page.doubts)),
            page_starts=first_positions(pages),
            digest=digest,
            records_of=self._sync_id,
            known_pages=page_reuse.recorded(self._mapping, pages, digests),
        )
        if known is not None and repeated:
            return replace(batch, records_of=known.records_of)
        return self._mapped(batch, pages)

    def _mapped(self, batch: Batch, pages: Sequence[Page]) -> Batch:
        size = sum(len(page.body) for page in pages)
        if size > _LARGE_BATCH:
            self._make_room(_ROOM + _ROOM_BY_SIZE * size)
        table = pages_table(self._ref, pages)
        if any(self._may_have_two_lists(page.body) for page in pages):
            self._refuse_two_lists(table)
        mapped = self._prepared.run(self._query, PAGES, table)
        bad = pc.is_valid(mapped["reason"])
        rejected: int = pc.sum(bad, min_count=0).as_py()
        staged = mapped.num_rows - rejected
        if staged + rejected != batch.fetched:
            raise BooksUnbalanced(
                f"{self._ref}: batch {batch.number} holds {batch.fetched} records by its pages "
                f"and {staged + rejected} by the warehouse; nothing of it was kept. "
                "This is a defect of the platform: report it with `elt-assets integrations show`"
            )
        return replace(
            batch,
            staged=staged,
            rejected=rejected,
            unreadable_keys=pc.sum(pc.and_(bad, pc.is_null(mapped["id"])), min_count=0).as_py(),
            mapped=mapped,
        )

    def land(self, state: ExtractionState, batch: Batch, moment: str) -> ExtractionState:
        """Write the batch that follows `state` and return the state after it.

        Call inside a transaction; the new state is true once that is committed.
        """
        if batch.mapped is not None:
            self._store(batch, batch.mapped, moment)
        cursor = batch.last.next
        self._warehouse.insert(
            "extraction_batches",
            """
            SELECT
                $stream AS stream, $sync_id AS sync_id, $batch AS batch, $cursor AS cursor,
                $pages AS pages, $fetched AS fetched, $staged AS staged, $rejected AS rejected,
                $unreadable_keys AS unreadable_keys,
                $declared_totals::BIGINT[] AS declared_totals, $cut_short AS cut_short,
                $doubts::VARCHAR[] AS doubts, $page_starts::BIGINT[] AS page_starts,
                $run AS run, $digest AS digest, $records_of AS records_of,
                $known_pages AS known_pages, $now::TIMESTAMP AS created_at
            """,
            {
                "sync_id": self._sync_id,
                "batch": batch.number,
                "now": moment,
                "digest": batch.digest,
                "records_of": batch.records_of,
                "known_pages": batch.known_pages,
                "stream": self._stream.name,
                "cursor": None if cursor is None else msgspec.json.encode(cursor).decode(),
                "pages": batch.pages,
                "fetched": batch.fetched,
                "staged": batch.staged,
                "rejected": batch.rejected,
                "unreadable_keys": batch.unreadable_keys,
                "declared_totals": sorted(batch.declared_totals),
                "cut_short": batch.last.cut_short,
                "doubts": [*batch.doubts],
                "page_starts": [*batch.page_starts],
                "run": state.run,
            },
        )
        return replace(
            state,
            batches=batch.number + 1,
            pages=state.pages + batch.pages,
            fetched=state.fetched + batch.fetched,
            staged=state.staged + batch.staged,
            rejected=state.rejected + batch.rejected,
            unreadable_keys=state.unreadable_keys + batch.unreadable_keys,
            declared_totals=tuple(sorted({*state.declared_totals, *batch.declared_totals})),
            cut_short=batch.last.cut_short,
            doubts=tuple(dict.fromkeys((*state.doubts, *batch.doubts))),
            cursor=cursor,
            landed_by=state.landed_by | {state.run},
        )

    def _store(self, batch: Batch, mapped: pa.Table, moment: str) -> None:
        self._warehouse.connection.register("mapped", mapped)
        where = {"sync_id": self._sync_id, "batch": batch.number, "now": moment}
        columns = ", ".join(column.name for column in self._stream.columns)
        self._warehouse.add(
            self._stream.landed,
            f"""
            SELECT
                $sync_id AS sync_id, $batch AS batch, seq, parent, id, {columns}, attributes,
                source_updated_at, tombstone, content_hash, raw, $now::TIMESTAMP AS created_at
            FROM mapped
            WHERE reason IS NULL
            """,
            where,
        )
        if batch.rejected:
            self._warehouse.add(
                "rejected_records",
                """
                SELECT
                    $stream AS stream, $sync_id AS sync_id, $batch AS batch, seq, parent,
                    id, key_text AS key, reason, raw, $now::TIMESTAMP AS created_at
                FROM mapped
                WHERE reason IS NOT NULL
                """,
                where | {"stream": self._stream.name},
            )
        self._warehouse.connection.unregister("mapped")

    def _may_have_two_lists(self, body: bytes) -> bool:
        """Whether a name on the way to the list may stand in `body` more than once.

        Told by counting bytes, a tenth of the time that parsing takes. A name can be spelled
        otherwise only with a backslash.
        """
        return bool(self._list_names) and (
            b"\\" in body or any(body.count(f'"{name}"'.encode()) > 1 for name in self._list_names)
        )

    def _refuse_two_lists(self, table: pa.Table) -> None:
        """Raise `PageUnreadable` for a page with a name on the way to its list more than once.

        JSON parsers disagree on which of them counts: the one that counted the records and
        the one that splits them could be looking at different people.
        """
        for depth, name in enumerate(self._list_names):
            above = sql_literal(object_path(self._list_names[:depth]))
            query = f"""
                SELECT 1
                FROM {PAGES}
                WHERE len(
                    list_filter(json_keys(body, {above}), lambda name: name = {sql_literal(name)})
                ) > 1
            """
            if self._prepared.run(query, PAGES, table).num_rows:
                raise PageUnreadable(
                    f"a page has {name!r} more than once, so it is not clear which list is meant"
                )

    def seal(
        self, state: ExtractionState, certificate: Certificate, moment: str
    ) -> ExtractionState:
        """Record the certificate; from now on nothing more is fetched for this sync."""
        self._warehouse.update(
            "extractions",
            "certificate = $certificate, sealed_at = $now::TIMESTAMP",
            "stream = $stream AND sync_id = $sync_id",
            {
                "certificate": msgspec.json.encode(certificate).decode(),
                "now": moment,
                "stream": self._stream.name,
                "sync_id": self._sync_id,
            },
        )
        return replace(state, certificate=certificate)


_LARGE_BATCH = 4 * 2**20
_ROOM = 256 * 2**20
_ROOM_BY_SIZE = 4
"""A batch of more than so many bytes is given memory besides the limit: it is there as it came,
as records, and mapped, and a single value of millions of characters several times more."""

PAGES = "incoming_pages"
"""The name under which queries find what `pages_table` makes."""


def incoming(records: Sequence[str]) -> str:
    """SQL for the records of all pages, which stand in the list under these object keys."""
    return f"""
    SELECT
        first_seq + position AS seq, raw, parent, organization_id, connected_integration_id
    FROM (
        SELECT
            first_seq,
            organization_id,
            connected_integration_id,
            generate_subscripts(records, 1) - 1 AS position,
            unnest(records) AS raw,
            unnest(parents) AS parent
        FROM (
            -- json_extract with a wildcard yields the list; json_each is quadratic in the page.
            SELECT
                first_seq, parents, organization_id, connected_integration_id,
                json_extract(body, {sql_literal(f"{object_path(records)}[*]")}) AS records
            FROM {PAGES}
        )
    )
    """


def object_path(keys: Sequence[str]) -> str:
    """JSONPath of what stands under these object keys."""
    quoted = (key.replace("\\", "\\\\").replace('"', '\\"') for key in keys)
    return "$" + "".join(f'."{key}"' for key in quoted)


def pages_table(ref: IntegrationRef, pages: Sequence[Page]) -> pa.Table:
    """Pages as (first_seq, body, parents) and the two names of the integration.

    Each page's records are numbered after those before it. `parents` holds the parent of
    every record, or is NULL.
    """
    bodies = pa.array([page.body for page in pages], pa.large_binary())
    parents = pa.array([_parents(page) for page in pages], pa.list_(pa.string()))
    return pa.table(
        {
            "first_seq": first_positions(pages),
            "body": bodies.cast(pa.large_string()),
            "parents": parents,
            "organization_id": [ref.organization_id] * len(pages),
            "connected_integration_id": [ref.integration_id] * len(pages),
        }
    )


def first_positions(pages: Sequence[Page]) -> tuple[int, ...]:
    """The number of the first record of each page among the records of all of them."""
    return tuple(accumulate((page.count for page in pages[:-1]), initial=0))


def _parents(page: Page) -> list[str] | None:
    if not page.parents:
        return None
    found = [parent for parent, count in page.parents for _ in range(count)]
    if len(found) != page.count:
        # Padding would put records under nobody, or make records of nothing.
        raise BooksUnbalanced(
            f"a page holds {page.count} records and says under whom {len(found)} of them are; "
            "nothing of it was kept. This is a defect of the connector"
        )
    return found


def forget_extractions(warehouse: Warehouse, stream: Stream, sync_ids: Collection[str]) -> None:
    """Drop everything that the extractions of these syncs landed, and that they ever were."""
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
    # Also what other syncs stored and nobody but these still spoke of.
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
