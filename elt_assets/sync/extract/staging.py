"""Write a batch to the warehouse: staged records, dead letters and checkpoint together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from elt_assets.connectors.source import FieldMap, KnownPage, Page
from elt_assets.errors import BooksUnbalanced, PageUnreadable
from elt_assets.storage.warehouse.warehouse import Warehouse, literal, row_of
from elt_assets.sync.extract import page_reuse
from elt_assets.sync.extract.checkpoints import ExtractionState, record
from elt_assets.sync.extract.page_reuse import PreviousExtraction
from elt_assets.sync.extract.page_table import (
    PAGES,
    first_positions,
    incoming,
    object_path,
    pages_table,
)
from elt_assets.sync.extract.record_mapping import mapping_query
from elt_assets.sync.outcome import Certificate
from elt_assets.sync.streams import StreamKey

_LARGE_BATCH = 4 * 2**20
_ROOM = 256 * 2**20
_ROOM_BY_SIZE = 4
"""A batch of more than `_LARGE_BATCH` bytes gets `_ROOM` and `_ROOM_BY_SIZE` times its size of
memory beyond the limit. It is in memory as pages, as records and as mapped rows; a single value of
millions of characters takes several times more."""


@dataclass(frozen=True, slots=True)
class GatheredPages:
    """The pages of a batch, not mapped yet.

    `records_of` is the earlier sync whose batch they repeat, if any. `fetched` is the number of
    bytes before unchanged pages were fetched in full.
    """

    number: int
    pages: Sequence[Page]
    digests: Sequence[str]
    digest: str
    records_of: str | None
    fetched: int

    @property
    def nbytes(self) -> int:
        """The size of the pages in bytes."""
        return sum(len(page.body) for page in self.pages)

    @property
    def is_last(self) -> bool:
        """Whether no page follows this batch."""
        return self.pages[-1].next is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch that is mapped but not yet written; `last` is its last page.

    `mapped` has the records, rejected ones with their reason; None if the earlier sync `records_of`
    has stored the same records.
    """

    number: int
    last: Page
    pages: int
    fetched: int
    staged: int
    rejected: int = 0
    unreadable_keys: int = 0
    unreadable_times: int = 0
    declared_totals: frozenset[int]
    doubts: tuple[str, ...] = ()
    page_starts: tuple[int, ...] = ()
    digest: str
    records_of: str
    known_pages: str | None
    mapped: pa.Table | None = None


class Landing:
    """Maps and writes the batches of one extraction."""

    def __init__(
        self,
        warehouse: Warehouse,
        key: StreamKey,
        sync_id: str,
        *,
        fields: FieldMap,
        records: Sequence[str],
        previous: PreviousExtraction | None = None,
    ) -> None:
        """Batches that repeat a batch of `previous` are not mapped again."""
        self._warehouse = warehouse
        self._stream = key.stream
        self._ref = key.ref
        self._sync_id = sync_id
        self._list_names = tuple(records)
        self._query = mapping_query(key.stream, fields, incoming(records))
        self._mapping = page_reuse.identity(self._query)
        self._previous = previous

    def known_pages(self) -> list[KnownPage]:
        """Pages of the previous extraction that may be reused: the field map has not changed."""
        batches = () if self._previous is None else self._previous.batches.values()
        return [page for one in batches if one.mapping == self._mapping for page in one.pages]

    def gather(
        self, number: int, pages: Sequence[Page], again: Callable[[Page], Page]
    ) -> GatheredPages:
        """Collect the pages of batch `number` (from 0); find whether they repeat an earlier batch.

        `again` fetches an unchanged page in full; it is called if the batch as a whole differs
        from the earlier one. This uses neither the warehouse nor its instance.
        """
        digests = [page_reuse.page_digest(page) for page in pages]
        digest = page_reuse.digest(self._mapping, digests)
        known = self._previous.batches.get(number) if self._previous else None
        repeated = known is not None and known.digest == digest
        fetched = sum(len(page.body) for page in pages)
        if not repeated and any(page.known is not None for page in pages):
            pages = [again(page) for page in pages]
            digests = [page_reuse.page_digest(page) for page in pages]
            digest = page_reuse.digest(self._mapping, digests)
        records_of = known.records_of if known is not None and repeated else None
        return GatheredPages(number, pages, digests, digest, records_of, fetched)

    def prepare(self, gathered: GatheredPages) -> Batch:
        """Map a batch. This writes nothing, so it may run during `land`.

        Raises `PageUnreadable` for a page whose list of records is ambiguous, and
        `BooksUnbalanced` when SQL finds another number of records than the pages had.
        """
        pages = gathered.pages
        fetched = sum(page.count for page in pages)
        totals = {page.total for page in pages if page.total is not None}
        batch = Batch(
            number=gathered.number,
            last=pages[-1],
            pages=len(pages),
            fetched=fetched,
            staged=fetched,
            declared_totals=frozenset(totals),
            doubts=tuple(dict.fromkeys(doubt for page in pages for doubt in page.doubts)),
            page_starts=first_positions(pages),
            digest=gathered.digest,
            records_of=gathered.records_of or self._sync_id,
            known_pages=page_reuse.recorded(self._mapping, pages, gathered.digests),
        )
        return batch if gathered.records_of is not None else self._mapped(batch, pages)

    def _mapped(self, batch: Batch, pages: Sequence[Page]) -> Batch:
        size = sum(len(page.body) for page in pages)
        if size > _LARGE_BATCH:
            self._warehouse.make_room(_ROOM + _ROOM_BY_SIZE * size)
        table = pages_table(self._ref, pages)
        if any(self._may_have_two_lists(page.body) for page in pages):
            self._refuse_two_lists(table)
        mapped = self._warehouse.prepared.run(self._query, PAGES, table)
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
            unreadable_times=pc.sum(mapped["unreadable_time"], min_count=0).as_py(),
            mapped=mapped,
        )

    def land(self, state: ExtractionState, batch: Batch, moment: str) -> ExtractionState:
        """Write the batch that follows `state`, and return the state after it.

        Call inside a transaction; the new state is valid once the transaction is committed.
        """
        if batch.mapped is not None:
            self._store(batch, batch.mapped, moment)
        cursor = batch.last.next
        row: dict[str, object] = {
            "stream": self._stream.name,
            "sync_id": self._sync_id,
            "batch": batch.number,
            "cursor": None if cursor is None else msgspec.json.encode(cursor).decode(),
            "pages": batch.pages,
            "fetched": batch.fetched,
            "staged": batch.staged,
            "rejected": batch.rejected,
            "unreadable_keys": batch.unreadable_keys,
            "unreadable_times": batch.unreadable_times,
            "declared_totals": sorted(batch.declared_totals),
            "cut_short": batch.last.cut_short,
            "mark": batch.last.mark,
            "doubts": [*batch.doubts],
            "page_starts": [*batch.page_starts],
            "run": state.run,
            "digest": batch.digest,
            "records_of": batch.records_of,
            "known_pages": batch.known_pages,
            "created_at": moment,
        }
        self._warehouse.insert("extraction_batches", row_of(row), row)
        return self.after(state, batch)

    def after(self, state: ExtractionState, batch: Batch) -> ExtractionState:
        """The state of the extraction after `batch`, which follows `state`."""
        return replace(
            state,
            batches=batch.number + 1,
            pages=state.pages + batch.pages,
            fetched=state.fetched + batch.fetched,
            staged=state.staged + batch.staged,
            rejected=state.rejected + batch.rejected,
            unreadable_keys=state.unreadable_keys + batch.unreadable_keys,
            unreadable_times=state.unreadable_times + batch.unreadable_times,
            declared_totals=tuple(sorted({*state.declared_totals, *batch.declared_totals})),
            cut_short=batch.last.cut_short,
            mark=batch.last.mark,
            bare_end=batch.last.bare_end,
            doubts=tuple(dict.fromkeys((*state.doubts, *batch.doubts))),
            digests=(*state.digests, batch.digest),
            cursor=batch.last.next,
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
        """Whether a name on the path to the list may occur in `body` more than once.

        Counting bytes takes a tenth of the time of parsing. A name can be spelled in another way
        only with a backslash.
        """
        return bool(self._list_names) and (
            b"\\" in body or any(body.count(f'"{name}"'.encode()) > 1 for name in self._list_names)
        )

    def _refuse_two_lists(self, table: pa.Table) -> None:
        """Raise `PageUnreadable` if a name on the path to a page's list occurs more than once.

        JSON parsers disagree on which occurrence counts. The parser that counted the records and
        the parser that splits them could otherwise read different lists.
        """
        for depth, name in enumerate(self._list_names):
            above = literal(object_path(self._list_names[:depth]))
            query = f"""
                SELECT 1
                FROM {PAGES}
                WHERE len(
                    list_filter(json_keys(body, {above}), lambda name: name = {literal(name)})
                ) > 1
            """
            if self._warehouse.prepared.run(query, PAGES, table).num_rows:
                raise PageUnreadable(
                    f"a page has {name!r} more than once, so it is not clear which list is meant"
                )

    def seal(
        self, state: ExtractionState, certificate: Certificate, moment: str
    ) -> ExtractionState:
        """Record the certificate; nothing more is fetched for this sync from then on."""
        seal = {
            "certificate": msgspec.json.encode(certificate).decode(),
            "sealed_at": moment,
        }
        if state.unrecorded is None:
            self._warehouse.update(
                "extractions",
                "certificate = $certificate, sealed_at = $sealed_at::TIMESTAMP",
                "stream = $stream AND sync_id = $sync_id",
                seal | {"stream": self._stream.name, "sync_id": self._sync_id},
            )
        return replace(record(self._warehouse, state, seal), certificate=certificate)
