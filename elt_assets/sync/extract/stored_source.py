"""A source that reads an earlier extraction's records, to map them again without fetching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from elt_assets.connectors.source import Cursor, FieldMap, Page, Presence, Source
from elt_assets.storage.warehouse.warehouse import Queries
from elt_assets.sync.outcome import Certificate
from elt_assets.sync.streams import Stream

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class StoredSource:
    """Records of the sealed extraction `sync_id`, mapped by the current configuration.

    `provider` supplies the field map and answers probes. `certificate` and `doubts` are those of
    the extraction that fetched the records.
    """

    records = ()
    incremental = None
    """The extraction that fetched the records chose the sync mode."""
    resumable = True
    """Stored records have a fixed order."""

    warehouse: Queries
    stream: Stream
    sync_id: str
    certificate: Certificate
    provider: Source
    doubts: tuple[str, ...] = ()

    @property
    def fields(self) -> FieldMap:
        return self.provider.fields

    @property
    def snapshot(self) -> bool:
        """As the provider's; the certificate has the number of attempts that fetched it."""
        return self.provider.snapshot

    @property
    def probes(self) -> bool:
        return self.provider.probes

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        return self.provider.probe(missing, listed)

    @property
    def requests(self) -> int:
        """The number of requests sent to the provider, all of them probes."""
        return self.provider.requests

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        """Yield the stored records in the order in which they were fetched."""
        batch, seq = (-1, -1) if cursor is None else (cursor["batch"], cursor["seq"])
        while True:
            rows = self.warehouse.execute(
                f"""
                SELECT batch, seq, raw::VARCHAR, parent
                FROM (
                    SELECT batch, seq, raw, parent
                    FROM {self.stream.staging}
                    WHERE sync_id = $sync_id
                    UNION ALL
                    SELECT batch, seq, raw, parent
                    FROM rejected_records
                    WHERE stream = $stream AND sync_id = $sync_id
                )
                WHERE (batch, seq) > ($batch, $seq)
                ORDER BY batch, seq
                LIMIT {_PAGE}
                """,
                {
                    "sync_id": self.sync_id,
                    "stream": self.stream.name,
                    "batch": batch,
                    "seq": seq,
                },
            ).fetchall()
            body = "[" + ",".join(row[2] for row in rows) + "]"
            runs = [(parent, len(list(run))) for parent, run in groupby(row[3] for row in rows)]
            parents = () if all(parent is None for parent, _ in runs) else tuple(runs)
            if len(rows) < _PAGE:
                yield Page(
                    body=body.encode(),
                    count=len(rows),
                    next=None,
                    total=self.certificate.declared_total,
                    cut_short=self.certificate.cut_short,
                    doubts=self.doubts,
                    bare_end=self.certificate.bare_end,
                    parents=parents,
                )
                return
            batch, seq = rows[-1][0], rows[-1][1]
            yield Page(
                body=body.encode(),
                count=len(rows),
                next={"batch": batch, "seq": seq},
                parents=parents,
            )

    def close(self) -> None:
        """Close the provider's connections."""
        self.provider.close()
