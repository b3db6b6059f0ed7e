"""Page reuse: recognize unchanged pages, and record them as the records of an earlier batch.

Most integrations have not changed since the day before. Their pages are recorded as the records of
an earlier batch instead of being mapped and stored again. If the latest table was made from exactly
these records, they need not be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from elt_assets.connectors.source import KnownPage, Page
from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.outcome import Certificate, Counts, Mode, Outcome
from elt_assets.sync.state.versions import Version


@dataclass(frozen=True, slots=True)
class KnownBatch:
    """A batch without rejected records, and the sync that stored its records."""

    digest: str
    records_of: str
    mapping: str = ""
    """The identity of the query that mapped `pages`."""
    pages: tuple[KnownPage, ...] = ()
    """Pages for which the provider can report whether they have changed."""


class _Recorded(msgspec.Struct, frozen=True):
    """Pages in the form in which the table stores them."""

    mapping: str
    pages: tuple[KnownPage, ...]


@dataclass(frozen=True, slots=True)
class PreviousExtraction:
    """The extraction of the sync that was applied last, which made `version`.

    The operational database says which sync that is: the warehouse file is marked a moment later,
    or never after a crash. `fingerprint` identifies the configuration of the extraction. `whole`
    says that it was a complete full listing without rejected records, `marked` that the change log
    marks its version as applied.
    """

    sync_id: str
    version: int
    fingerprint: str
    whole: bool
    marked: bool
    batches: Mapping[int, KnownBatch] = field(default_factory=dict)


def identity(mapping: str) -> str:
    """The identity of the query `mapping`: its SHA-256."""
    return hashlib.sha256(mapping.encode()).hexdigest()


def digest(mapping: str, pages: Sequence[str]) -> str:
    """The identity of a mapped batch, from the identities of its query and of its pages."""
    return hashlib.sha256("".join((mapping, *pages)).encode()).hexdigest()


def page_digest(page: Page) -> str:
    """The identity of a page's content."""
    if page.known is not None:
        return page.known.digest
    found = hashlib.sha256()
    # Each part is preceded by its length, so that different parts never make the same bytes.
    for part in (str(page.count).encode(), msgspec.json.encode(page.parents), page.body):
        found.update(b"%d:" % len(part))
        found.update(part)
    return found.hexdigest()


def recorded(mapping: str, pages: Sequence[Page], digests: Sequence[str]) -> str | None:
    """The JSON to store of the pages that the provider can report as unchanged; None if none."""
    known = tuple(
        page.known or KnownPage(page.asked, page.etag, digest, page.count, page.next, page.total)
        for page, digest in zip(pages, digests, strict=True)
        if page.asked is not None and page.etag is not None
    )
    return msgspec.json.encode(_Recorded(mapping, known)).decode() if known else None


def previous_extraction(
    warehouse: Warehouse, stream: str, latest: Version
) -> PreviousExtraction | None:
    """The extraction whose pages a new one may reuse.

    None if the applied sync had no extraction, or its extraction is no longer kept.
    """
    if latest.extraction is None:
        return None
    rows = warehouse.execute(
        """
        SELECT e.mode, e.certificate, b.batch, b.digest, b.records_of,
            b.rejected + coalesce(b.unreadable_times, 0), b.known_pages, e.fingerprint,
            EXISTS (FROM applied_syncs WHERE stream = $stream AND version = $version)
        FROM extraction_batches AS b
        JOIN extractions AS e ON e.stream = b.stream AND e.sync_id = b.sync_id
        WHERE b.stream = $stream AND b.sync_id = $sync_id
        """,
        {"stream": stream, "sync_id": latest.extraction, "version": latest.version},
    ).fetchall()
    if not rows:
        return None
    mode, certificate = rows[0][:2]
    batches = {row[2]: known_batch(row[3], row[4], row[6]) for row in rows if row[5] == 0}
    complete = (
        certificate is not None and msgspec.json.decode(certificate, type=Certificate).complete
    )
    whole = mode == Mode.FULL and complete and len(batches) == len(rows)
    return PreviousExtraction(
        latest.extraction, latest.version, rows[0][7], whole, rows[0][8], batches
    )


def known_batch(digest: str, records_of: str, known_pages: str | None) -> KnownBatch:
    """A batch as the warehouse records it; `known_pages` is the JSON of `recorded`."""
    if known_pages is None:
        return KnownBatch(digest, records_of)
    found = msgspec.json.decode(known_pages, type=_Recorded)
    return KnownBatch(digest, records_of, found.mapping, found.pages)


def repeats(digests: Sequence[str], old: PreviousExtraction) -> bool:
    """Whether the batches with these digests are exactly those of `old`."""
    return dict(enumerate(digests)) == {
        number: batch.digest for number, batch in old.batches.items()
    }


def memo(outcome: Outcome, only_batch: KnownBatch | None, fingerprint: str) -> bytes | None:
    """The memo with which the next sync can see that it repeats this one, without the warehouse.

    None unless the sync made the latest table equal to one complete batch. An extraction of several
    batches has none: its checkpoints are worth more than the time to attach the warehouse.
    """
    counts = outcome.counts
    if (
        only_batch is None
        or outcome.version is None
        or outcome.mode is not Mode.FULL
        or not outcome.certificate.complete
        or not settled_plainly(counts)
        or counts.rejected
        or counts.unreadable_times
    ):
        return None
    old = PreviousExtraction(
        sync_id=outcome.sync_id,
        version=outcome.version,
        fingerprint=fingerprint,
        whole=True,
        marked=True,
        batches={0: only_batch},
    )
    return msgspec.json.encode(old)


def of_memo(
    memos: Mapping[str, bytes], stream: str, latest: Version, fingerprint: str
) -> PreviousExtraction | None:
    """The extraction that the memo of `stream` describes; None if it is not the one before.

    The newest settled sync must have its records, and the same configuration must have fetched it.
    """
    if stream not in memos:
        return None
    try:
        old = msgspec.json.decode(memos[stream], type=PreviousExtraction)
    except msgspec.DecodeError:
        return None
    same = (old.sync_id, old.version) == (latest.extraction, latest.version)
    return old if same and old.fingerprint == fingerprint else None


def settled_plainly(counts: Counts) -> bool:
    """Whether a sync made the latest table equal to its records, with no change held back."""
    return not (
        counts.withheld or counts.shielded_deletes or counts.pending_deletes or counts.kept_rows
    )
