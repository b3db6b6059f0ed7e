"""Detection of one sync: compare, judge harmful changes, confirm deletes, and log the changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from elt_assets.config.safeguards import Safeguards
from elt_assets.connectors.source import Settles, Source
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.clock import ago, now
from elt_assets.sync.detect import delete_guard
from elt_assets.sync.detect.change_detection import Detection, DiffCounts, HarmfulUpdates
from elt_assets.sync.detect.delete_confirmation import (
    EarlierAbsence,
    confirm_deletes,
    second_witness,
)
from elt_assets.sync.extract import page_reuse
from elt_assets.sync.extract.certificate import ListedKeys, contradicted, with_keys
from elt_assets.sync.extract.checkpoints import ExtractionState
from elt_assets.sync.extract.page_reuse import PreviousExtraction
from elt_assets.sync.outcome import Certificate, Mode
from elt_assets.sync.state import (
    change_log,
    latest_table,
    ledger,
    rejections,
    sync_history,
    versions,
)
from elt_assets.sync.state.versions import Version
from elt_assets.sync.streams import STREAMS, StreamKey


@dataclass(slots=True)
class DetectionStep:
    """One detection of a sync whose extraction has been sealed; the results are its fields.

    `mapped_again` is the sync whose kept records were mapped instead of fetching. `confirm_after`
    is how long a source of kind `Settles` must have lacked a record.
    """

    database: OperationalDatabase
    warehouse: Warehouse
    key: StreamKey
    sync_id: str
    extracted: ExtractionState
    certificate: Certificate
    safeguards: Safeguards
    previous: Callable[[], PreviousExtraction | None]
    open_source: Callable[[], Source]
    confirm_after: timedelta
    mapped_again: str | None
    show_values: bool
    found: DiffCounts | None = None
    harmful: HarmfulUpdates = field(default_factory=HarmfulUpdates)
    verdict: delete_guard.GuardVerdict = field(default_factory=delete_guard.GuardVerdict)
    ended_rejections: tuple[str, ...] = ()
    requests: int = 0
    sample: tuple[dict[str, object], ...] = ()
    withheld_digest: str = ""

    @property
    def mode(self) -> Mode:
        """The mode of the extraction: whether it listed everything or only changes."""
        return self.extracted.sync_mode.mode

    @property
    def conclusive(self) -> bool:
        """Whether the listing is complete and nothing was withheld."""
        return self.certificate.complete and self.found is not None and not self.found.withheld

    def run(self) -> Version:
        """Log the changes; return the version of the latest table with which they were compared."""
        # The version is read before the rows: if an apply slips in between, the comparison
        # with the version at the end fails and detection is repeated.
        base = versions.current(self.database, self.key)
        detection = Detection(self.warehouse, self.database, self.key, self.sync_id, base.version)
        found = self.reused(base)
        if found is None:
            found = detection.compare(self.mode)
            self._add_keys(detection.keys(found, self.extracted.rejected))
            found = self._judge(detection, found)
        self.found = found
        detection.write(
            found, complete=self.certificate.complete and self.mode is Mode.FULL, now=now()
        )
        stream, version = self.key.stream, detection.version
        if found.withheld:
            self.withheld_digest = change_log.withheld_digest(self.warehouse, stream, version)
        if found.changes:
            self.sample = change_log.sample(
                self.warehouse, stream, stream.cdc, version, show_values=self.show_values
            )
        return base

    def reused(self, base: Version) -> DiffCounts | None:
        """The counts of a comparison that is not needed: the latest table has these records.

        This queries the operational database only. None if the table was made from other records,
        may have changed since, or the listing is not complete.
        """
        counted = self._counts_of_reused_pages(base)
        if counted is None:
            return None
        self._add_keys(counted[1])
        self.found = counted[0] if self.certificate.complete else None
        return self.found

    def _counts_of_reused_pages(self, base: Version) -> tuple[DiffCounts, ListedKeys] | None:
        if self.mode is not Mode.FULL or not self.certificate.complete or base.sync_id is None:
            return None
        old = self.previous()
        if old is None or not (old.whole and old.marked) or old.version != base.version:
            return None
        # It made the table, or repeated the records of the sync that did.
        row = ledger.find(self.database, self.key, base.sync_id)
        if row is None or not (row.certificate.complete and page_reuse.settled_plainly(row.counts)):
            return None
        distinct, repeated = row.certificate.distinct, row.certificate.repeated
        if distinct is None or repeated is None:
            return None
        if latest_table.count(self.database, self.key) != row.counts.latest:
            return None
        if not page_reuse.repeats(self.extracted.digests, old):
            return None
        found = DiffCounts.of(
            staged=row.counts.staged,
            unique=row.counts.unique,
            tombstones=row.counts.tombstones,
            latest_before=row.counts.latest,
            newest=base.watermark,
        )
        # Equal pages have equal keys; `with_keys` judges them by the current certificate.
        return found, ListedKeys(distinct, repeated)

    def _add_keys(self, keys: ListedKeys) -> None:
        # Start from the sealed certificate, so that a repeated detection adds no reason twice.
        sealed = self.extracted.certificate or self.certificate
        self.certificate = with_keys(sealed, keys, self.mode)

    def _judge(self, detection: Detection, found: DiffCounts) -> DiffCounts:
        """Withhold, keep or confirm harmful changes; return the counts afterwards."""
        rejected = rejections.standing(self.database, self.key, now())
        if not (found.updates or found.deletes or rejected):
            return found
        if found.updates:
            self.harmful = detection.assess(
                attributes=self.safeguards.guarded_attributes,
                everything=self._configuration_changed(detection),
            )
        if rejected:
            self.ended_rejections = tuple(detection.keep_rejected(rejected))
            found, self.harmful = detection.found(), detection.harmful_updates()
        self.verdict = self._verdict(detection, found)
        if self.verdict.withheld:
            detection.withhold(self.verdict.withheld)
            found, self.harmful = detection.found(), detection.harmful_updates()
        if found.deletes:
            self._confirm(detection)
            found = detection.found()
        return found

    def _verdict(self, detection: Detection, found: DiffCounts) -> delete_guard.GuardVerdict:
        orphaned, emptied = self._orphaned(detection, found)
        # A listing of changes may consist of tombstones only; a full listing may not.
        listed = found.unique - (found.tombstones if self.mode is Mode.FULL else 0)
        recent = sync_history.recent_harm(self.database, self.key, ago(timedelta(hours=24)))
        return delete_guard.judge(
            self.certificate,
            delete_guard.Harms(
                latest=found.latest_before,
                unique=listed,
                inserts=found.inserts,
                missing=found.missing,
                deletes=found.deletes,
                deactivations=self.harmful.deactivations,
                losing=self.harmful.losing,
                losses=self.harmful.losses,
                orphaned=orphaned,
                emptied=emptied,
            ),
            self.safeguards,
            recent=recent,
            removals=self.key.stream.parent is not None,
            history=sync_history.listed_before(self.database, self.key) if listed == 0 else (),
        )

    def _orphaned(self, detection: Detection, found: DiffCounts) -> tuple[int, int]:
        """The number of deletes that would empty parents which still exist, and of such parents."""
        parent = self.key.stream.parent
        if parent is None or not found.deletes:
            return 0, 0
        parents = StreamKey(STREAMS[parent], self.key.ref)
        return detection.orphaned(latest_table.external_ids(self.database, parents))

    def _configuration_changed(self, detection: Detection) -> bool:
        """Whether the latest table may have been made with another configuration than this one."""
        last = sync_history.newest_plain(self.database, self.key)
        return last is None or not detection.same_configuration(last)

    def _confirm(self, detection: Detection) -> None:
        source = self.open_source()
        try:
            witness = second_witness(
                self.safeguards.delete_confirmation, self.certificate, probes=source.probes
            )
            settle = self.confirm_after if isinstance(source, Settles) else timedelta()
            earlier = EarlierAbsence(ago(settle), self._version_of_mapped_again())
            present = confirm_deletes(detection, witness, source, earlier)
        finally:
            self.requests += source.requests
            source.close()
        self.certificate = contradicted(self.certificate, present)

    def _version_of_mapped_again(self) -> int | None:
        if self.mapped_again is None:
            return None
        row = ledger.find(self.database, self.key, self.mapped_again)
        return None if row is None else row.version
