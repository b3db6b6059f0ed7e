"""What a sync did: its outcome with certificate, counts and status, and its progress."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec


class Status(StrEnum):
    """The status of a sync. All but `extracting` and `failed` are final."""

    EXTRACTING = "extracting"
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    QUARANTINED = "quarantined"
    FAILED = "failed"
    SUPERSEDED = "superseded"

    @property
    def settled(self) -> bool:
        """Whether repeating the sync returns the recorded result and touches nothing."""
        return self not in (Status.EXTRACTING, Status.FAILED)


class Mode(StrEnum):
    """What a sync reads: everything, only what changed since the last sync, or no provider
    at all. A compensating sync is made from the change log.
    """

    FULL = "full"
    INCREMENTAL = "incremental"
    COMPENSATING = "compensating"


class Stage(StrEnum):
    """The three tables a sync fills, in order; also how far a sync is asked to go."""

    STAGING = "staging"
    CDC = "cdc"
    LATEST = "latest"


class Certificate(msgspec.Struct, frozen=True):
    """Whether a listing is complete, and every reason why not.

    `extraction_runs` is how many attempts the records come from. It is always 1 where the source
    is not `resumable`, because an interrupted extraction then starts over. `distinct` is the
    number of distinct keys listed, `repeated` how many of them came on more than one page;
    both are None until the records have been compared. `snapshot` says that the listing is one
    consistent state of the provider, `bare_end` that its last page had no list.
    """

    complete: bool = False
    reasons: tuple[str, ...] = ()
    terminal_page: bool = False
    cut_short: str | None = None
    declared_total: int | None = None
    records: int = 0
    pages: int = 0
    extraction_runs: int = 1
    unreadable_keys: int = 0
    resumable: bool = True
    snapshot: bool = False
    bare_end: bool = False
    distinct: int | None = None
    repeated: int | None = None

    @property
    def coverage(self) -> float | None:
        """Distinct keys listed as a share of the provider's total; None where it gives none."""
        if not self.declared_total or self.distinct is None:
            return None
        return self.distinct / self.declared_total


class Counts(msgspec.Struct, frozen=True):
    """Records of one sync; each number is counted by itself, not derived from the others.

    Rows that the provider no longer lists count as `deletes` when they were deleted and as
    `withheld_deletes` when a person must decide. They count as `pending_deletes` when a second
    complete listing must confirm them, and as `shielded_deletes` when there is evidence that the
    user exists. `kept_rows` are rows whose change a person has rejected while the rejection still
    lasts (updates and inserts included). `withheld_updates` and `withheld_inserts` wait for a
    person's decision. `deactivations` and `losses` are the applied updates that set `active` to
    false, or a guarded value to null. `tombstones` are records by which the provider reports a
    deletion. `requests` is how many requests all attempts sent to the provider. `future_times` are
    records whose change time lies in the future, `unreadable_times` those whose change time
    cannot be read.
    """

    fetched: int = 0
    staged: int = 0
    rejected: int = 0
    duplicates: int = 0
    unique: int = 0
    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    withheld_deletes: int = 0
    shielded_deletes: int = 0
    pending_deletes: int = 0
    tombstones: int = 0
    unchanged: int = 0
    latest_before: int = 0
    latest: int = 0
    withheld_updates: int = 0
    withheld_inserts: int = 0
    kept_rows: int = 0
    deactivations: int = 0
    losses: int = 0
    requests: int = 0
    future_times: int = 0
    unreadable_times: int = 0

    @property
    def changes(self) -> int:
        """Changes that are logged and applied."""
        return self.inserts + self.updates + self.deletes

    @property
    def withheld(self) -> int:
        """Changes that wait for a person."""
        return self.withheld_deletes + self.withheld_updates + self.withheld_inserts

    @property
    def withheld_by_type(self) -> str:
        """The withheld changes in words, such as "3 deletes, 1 updates"."""
        types = {
            "deletes": self.withheld_deletes,
            "updates": self.withheld_updates,
            "inserts": self.withheld_inserts,
        }
        return ", ".join(f"{count:,} {name}" for name, count in types.items() if count)

    @property
    def waiting(self) -> str:
        """The sentence about withheld changes that the UI, alerts, health and checks share."""
        return f"{self.withheld_by_type} wait for a decision"


_SHOWN_COUNTS = (
    *("fetched", "staged", "rejected", "duplicates", "inserts", "updates", "deletes"),
    *("withheld_deletes", "withheld_updates", "withheld_inserts", "pending_deletes"),
    *("unchanged", "latest", "future_times", "unreadable_times", "requests"),
)


class RecentHarm(msgspec.Struct, frozen=True):
    """Harmful changes that the syncs of the last 24 hours applied.

    `latest` is the largest number of rows that the latest table had before one of them.
    """

    latest: int = 0
    deletes: int = 0
    deactivations: int = 0
    losses: int = 0


NO_RECENT_HARM = RecentHarm()


class Outcome(msgspec.Struct, frozen=True):
    """One integration's sync of one stream, settled or failed.

    `recorded` is True when the ledger already held the result and nothing was touched.
    `seconds` holds the time of each stage of this attempt ('extract', 'stage', 'detect',
    'apply'). `run_id` is the run that settled the sync. `retryable` says whether trying a failed
    sync again can help. `reached` is the furthest stage whose table is filled. `reasons` say why
    changes were withheld. `sample` holds a few changes (change_type, external_id, names of
    changed fields). `withheld_digest` is the same for two syncs that withheld the same changes,
    and '' where none were withheld.
    """

    partition: str
    stream: str
    sync_id: str
    status: Status
    mode: Mode = Mode.FULL
    counts: Counts = Counts()
    certificate: Certificate = Certificate()
    resumed_batches: int = 0
    batches: int = 0
    version: int | None = None
    reasons: tuple[str, ...] = ()
    error: str | None = None
    retryable: bool = False
    recorded: bool = False
    run_id: str | None = None
    reached: Stage | None = None
    seconds: dict[str, float] = {}
    sample: tuple[dict[str, Any], ...] = ()
    withheld_digest: str = ""

    def as_json(self) -> dict[str, Any]:
        """The documented shape of one entry of `sync --json`."""
        counts = {name: getattr(self.counts, name) for name in _SHOWN_COUNTS}
        return {
            "partition": self.partition,
            "stream": self.stream,
            "sync_id": self.sync_id,
            "status": str(self.status),
            **counts,
            "resumed_batches": self.resumed_batches,
            "certificate": {
                "complete": self.certificate.complete,
                "reasons": list(self.certificate.reasons),
            },
            "error": self.error,
        }


class SyncProgress(msgspec.Struct, frozen=True):
    """A progress report: which stage `partition` is in, and how far it has come.

    The stages are `open` (it waits for its file), `fetch` (pages arrive), `extract` (a batch is
    committed), `detect` and `apply`. `total` is the provider's total of `records`, None where it
    gives none. `seconds` is how long the sync of the integration has taken so far, 0 where the
    report does not know.
    """

    partition: str
    stage: str
    batches: int
    records: int
    pages: int = 0
    total: int | None = None
    seconds: float = 0.0

    @property
    def share(self) -> float | None:
        """`records` as a share of the provider's total; None where it gives none."""
        return min(1.0, self.records / self.total) if self.total else None

    @property
    def amount(self) -> str:
        """The amount in words: `12 pages, 3 batches, 1,200 of 4,000 records (30%)`."""
        pages = f"{self.pages:,} pages, " if self.pages else ""
        total = f" of {self.total:,}" if self.total else ""
        share = "" if self.share is None else f" ({self.share:.0%})"
        batches = f"{self.batches:,} batch{'' if self.batches == 1 else 'es'}"
        return f"{pages}{batches}, {self.records:,}{total} records{share}"

    def __str__(self) -> str:
        lasting = f", {self.seconds:,.0f} s" if self.seconds else ""
        return f"{self.partition} {self.stage}: {self.amount}{lasting}"


ProgressListener = Callable[[SyncProgress], None]


def silent(_: SyncProgress) -> None:
    """Ignore progress."""
