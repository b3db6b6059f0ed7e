"""Apply a version of the change log to the latest table, once, all or nothing.

Changes, version and ledger move together in one transaction on the operational database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from elt_assets.config.safeguards import DeleteMode
from elt_assets.errors import PermanentError
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.operational.database import OperationalDatabase, Transaction
from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.clock import now
from elt_assets.sync.outcome import Counts, Outcome
from elt_assets.sync.state import change_log, feed_log, latest_table, ledger
from elt_assets.sync.state.fencing import check_fence
from elt_assets.sync.state.ledger import SyncRow, Version
from elt_assets.sync.streams import Stream


class VersionMoved(Exception):
    """Another apply came first: what was detected is compared with rows that are no more."""


class Superseded(Exception):
    """An extraction that began later has settled already: this one's data is older."""


@dataclass(frozen=True, slots=True)
class Application:
    """The changes that the log holds under `base.version + 1`, ready to be applied."""

    database: OperationalDatabase
    warehouse: Warehouse
    stream: Stream
    ref: IntegrationRef
    row: SyncRow
    base: Version
    counts: Counts
    delete_mode: DeleteMode
    full_at: str | None
    watermark: str | None = None

    def run(
        self,
        outcome: Callable[[int], Outcome],
        *,
        also: Callable[[Transaction], None] = lambda _: None,
    ) -> Outcome:
        """Apply and settle with what `outcome` makes of the rows now in the latest table.

        `also` is done in the same transaction.
        Raises `VersionMoved`, `Superseded`, `PermanentError` when the row count is not
        what the changes lead to, and what the database raises; then nothing has changed.
        """
        counts = self.counts
        expected = counts.latest_before + counts.inserts - counts.deletes
        with self.database.transaction(self.ref.partition_key) as transaction:
            check_fence(transaction, self.ref, self.warehouse.fencing_token)
            if ledger.version(transaction, self.stream, self.ref).ordinal > self.row.ordinal:
                raise Superseded
            if not ledger.advance(
                transaction,
                self.stream,
                self.ref,
                self.base,
                self.row,
                watermark=self.watermark,
                full_at=self.full_at,
            ):
                raise VersionMoved
            changes = counts.inserts + counts.updates + counts.deletes
            if changes:
                latest_table.apply_changes(
                    transaction,
                    self.stream,
                    self.ref,
                    change_log.to_apply(
                        self.warehouse, self.stream, self.base.version + 1, changes
                    ),
                    delete_mode=self.delete_mode,
                    now=now(),
                )
                self._verify(latest_table.count(transaction, self.stream, self.ref), expected)
                self._publish(transaction)
            settled = outcome(expected)
            if not ledger.settle(transaction, self.stream, self.ref, settled):
                raise PermanentError(
                    f"sync {self.row.sync_id} is no longer in the ledger: the integration was "
                    "removed meanwhile; nothing was applied"
                )
            also(transaction)
        change_log.mark_applied(
            self.warehouse, self.stream, self.base.version + 1, self.row.sync_id, now()
        )
        return settled

    def _publish(self, transaction: Transaction) -> None:
        version = self.base.version + 1
        feed_log.publish(
            transaction,
            feed_log.Published(self.stream.name, self.ref, self.row.sync_id, version),
            change_log.to_publish(self.warehouse, self.stream, version),
        )

    def _verify(self, actual: int, expected: int) -> None:
        if actual != expected:
            raise PermanentError(
                f"applying would leave {actual} rows in {self.stream.latest} where {expected} "
                "are expected; everything was rolled back. The latest table was changed by "
                f"someone else: run `elt-assets rebuild {self.ref} --stream {self.stream.name}`, "
                "then sync again"
            )
