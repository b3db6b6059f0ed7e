"""What a sync did: its outcome with certificate, counts and status, and its progress."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec


class Status(StrEnum):
    """How a sync stands. All but `extracting` and `failed` are final."""

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
    """Whether a sync reads everything, only what changed since the last one, or no provider
    at all: a compensating one is made from the change log.
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

    `extraction_runs` is how many attempts the records come from; where the source is not
    `resumable` it is always one, and an interrupted attempt began again. `distinct` is the
    number of distinct keys listed, `repeated` how many of them came on more than one page;
    both are None until the records have been compared. `snapshot` says that the listing is one
    consistent state of the provider, `bare_end` that something else than a list ended it.
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
    """Records of one sync, counted where they were, not derived from each other.

    Rows that the provider no longer lists are `deletes` when they were deleted and
    `withheld_deletes` when a person must decide. They are `pending_deletes` when a second witness
    is missing and `shielded_deletes` when something proves that the user exists. `kept_rows` are
    those where a person has rejected the change and the rejection still lasts (updates and inserts
    included). `withheld_updates` and `withheld_inserts` wait for a person. `deactivations`
    and `losses` are the applied updates that set `active` to false, or a guarded value to
    null. `tombstones` are records by which the provider says that a record is deleted.
    `requests` were sent to the provider, all attempts together. `future_times` are records
    whose change time lies in the future, `unreadable_times` those with one that cannot be read.
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
        """The sentence about withheld changes: the same in the UI, alerts, health and checks."""
        return f"{self.withheld_by_type} wait for a decision"


_SHOWN_COUNTS = (
    *("fetched", "staged", "rejected", "duplicates", "inserts", "updates", "deletes"),
    *("withheld_deletes", "withheld_updates", "withheld_inserts", "pending_deletes"),
    *("unchanged", "latest", "future_times", "unreadable_times", "requests"),
)


class RecentHarm(msgspec.Struct, frozen=True):
    """What the syncs of the last 24 hours applied that can harm.

    `latest` rows stood before the first of them.
    """

    latest: int = 0
    deletes: int = 0
    deactivations: int = 0
    losses: int = 0


NO_RECENT_HARM = RecentHarm()


class Outcome(msgspec.Struct, frozen=True):
    """One integration's sync of one stream, settled or failed.

    `recorded` is True when the ledger already held the result and nothing was touched;
    `seconds` holds the time of each stage of this attempt ('extract', 'stage', 'detect',
    'apply'); `run_id` is the run that settled the sync, `retryable` says of a failed one
    whether trying again can help; `reached` is the furthest stage whose table is filled;
    `reasons` say why changes were withheld; `sample` holds a few
    changes (change_type, external_id, names of changed fields);
    `withheld_digest` is the same for two syncs that withheld the same changes, '' where none were.
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
    """A sign of life: what `partition` is doing, and how far it is.

    The stages are `open` (it waits for its file), `fetch` (pages arrive), `extract` (a batch is
    committed), `detect` and `apply`. `records` are of the provider's `total`, where it gives one;
    `seconds` is how long the integration has been under way, where a report knows.
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
        """The share of the provider's total; None where it gives none."""
        return min(1.0, self.records / self.total) if self.total else None

    @property
    def amount(self) -> str:
        """`12 pages, 3 batches, 1,200 of 4,000 records (30%)`."""
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
