"""Apply a version of the change log to the latest table, once, all or nothing.

Changes, version and ledger are written in one transaction on the operational database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from elt_assets.config.safeguards import DeleteMode
from elt_assets.errors import PermanentError
from elt_assets.storage.operational.database import OperationalDatabase, Transaction
from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.clock import now
from elt_assets.sync.outcome import Counts, Outcome
from elt_assets.sync.state import change_log, feed_log, latest_table, ledger, versions
from elt_assets.sync.state.fencing import check_fence
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.state.versions import Reading, Version
from elt_assets.sync.streams import StreamKey


class VersionMoved(Exception):
    """Another apply came first: these changes were detected against rows that have changed."""


class Superseded(Exception):
    """An extraction that began later has settled already: this one's data is older."""


@dataclass(frozen=True, slots=True)
class Application:
    """The changes that the log holds under `base.version + 1`, ready to be applied.

    A sync that `repeats` the records of `base` has none, and makes no version.
    """

    database: OperationalDatabase
    warehouse: Warehouse
    key: StreamKey
    row: SyncRow
    base: Version
    counts: Counts
    delete_mode: DeleteMode
    reading: Reading
    repeats: bool = False

    def run(
        self,
        outcome: Callable[[int], Outcome],
        *,
        also: Callable[[Transaction], None] = lambda _: None,
    ) -> Outcome:
        """Apply the changes and settle the sync; return its outcome.

        `outcome` makes it from the number of rows in the latest table afterwards. `also` is called
        in the same transaction. Raises `VersionMoved`, `Superseded`, `PermanentError` when the row
        count does not match the changes, and errors of the database; nothing has changed then.
        """
        counts = self.counts
        expected = counts.latest_before + counts.inserts - counts.deletes
        with self.database.transaction(self.key.ref.partition_key) as transaction:
            check_fence(transaction, self.key.ref, self.warehouse.fencing_token)
            if versions.current(transaction, self.key).ordinal > self.row.ordinal:
                raise Superseded
            if not versions.advance(
                transaction, self.base, self.row, self.reading, repeats=self.repeats
            ):
                raise VersionMoved
            if counts.changes:
                latest_table.apply_changes(
                    transaction,
                    self.key,
                    change_log.to_apply(
                        self.warehouse, self.key.stream, self.base.version + 1, counts.changes
                    ),
                    delete_mode=self.delete_mode,
                    now=now(),
                )
                self._verify(latest_table.count(transaction, self.key), expected)
                self._publish(transaction)
            settled = outcome(expected)
            if not ledger.settle(transaction, self.key, settled):
                raise PermanentError(
                    f"sync {self.row.sync_id} is no longer in the ledger: the integration was "
                    "removed meanwhile; nothing was applied"
                )
            also(transaction)
        if not self.repeats:
            change_log.mark_applied(
                self.warehouse, self.key.stream, self.base.version + 1, self.row.sync_id, now()
            )
        return settled

    def _publish(self, transaction: Transaction) -> None:
        version = self.base.version + 1
        feed_log.publish(
            transaction,
            feed_log.Published(self.key.stream.name, self.key.ref, self.row.sync_id, version),
            change_log.to_publish(self.warehouse, self.key.stream, version),
        )

    def _verify(self, actual: int, expected: int) -> None:
        if actual != expected:
            stream = self.key.stream
            raise PermanentError(
                f"applying would leave {actual} rows in {stream.latest} where {expected} "
                "are expected; everything was rolled back. Something else has changed the latest "
                f"table: run `elt-assets rebuild {self.key.ref} --stream {stream.name}`, "
                "then sync again"
            )
