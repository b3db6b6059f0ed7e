"""The engine: one integration's sync of one stream, from opening to settlement.

    open → extracting → sealed → detected → applied | unchanged | quarantined | superseded
              └──────────┴─ failed (retryable or not): continues from the last commit

The stages are in `attempt`; the engine records how each sync ended.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.errors import EltAssetsError, SyncError
from elt_assets.sync.attempt import Attempt, recorded_outcome, with_rows_in_latest
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.state import ledger
from elt_assets.sync.state.registry import registered
from elt_assets.sync.sync_request import EngineConfig, SyncRequest
from elt_assets.telemetry import logs, tracing
from elt_assets.telemetry.logs import logger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """Syncs one integration at a time; safe to use from many threads."""

    config: EngineConfig

    def sync(self, request: SyncRequest) -> Outcome | None:
        """Bring one integration up to date, and settle it whatever happens; nothing else does.

        Returns None for an integration that is disabled or has no such stream. An error of the
        integration is never raised: the outcome has the status `failed`, and the ledger records it.
        """
        secrets = Secrets()
        ref, stream = request.key.ref, request.key.stream.name
        with (
            logs.bound(ref, request.sync_id, stream, secrets),
            tracing.span(
                "integration",
                organization=ref.organization_id,
                integration=ref.integration_id,
                stream=stream,
                sync_id=request.sync_id,
            ),
        ):
            outcome = self._attempted(Attempt(self.config, request, secrets))
            if outcome is not None:
                _report(outcome)
            return outcome

    def _attempted(self, attempt: Attempt) -> Outcome | None:
        request, secrets, key = attempt.request, attempt.secrets, attempt.request.key
        try:
            recorded = ledger.find(self.config.database, key, request.sync_id)
            if recorded is not None and recorded.status.settled:
                return recorded_outcome(recorded)
            integration = self.config.registry.get(key.ref)
            if not integration.enabled:
                log.info("%s is disabled and was skipped", key.ref)
                return None
            if not integration.offers(key.stream):
                log.info("%s has no %s and was skipped", key.ref, key.stream.name)
                return None
            return attempt.run(integration)
        except EltAssetsError as error:
            retryable = isinstance(error, SyncError) and error.retryable
            return self._failed(attempt, secrets.redact(str(error)), retryable)
        except Exception as error:
            # A defect of ours must not take the other integrations of the run down.
            log.exception("%s: unexpected error", key.ref)
            text = secrets.redact(f"{type(error).__name__}: {error}")
            return self._failed(attempt, f"unexpected error, {text}", retryable=False)

    def _failed(self, attempt: Attempt, message: str, retryable: bool) -> Outcome:
        request, key = attempt.request, attempt.request.key
        text = key.ref.before(message)
        outcome = msgspec.structs.replace(
            attempt.outcome(Status.FAILED), error=text, retryable=retryable
        )
        try:
            with self.config.database.transaction(key.ref.partition_key) as transaction:
                if not attempt.opened:
                    if not registered(transaction, key.ref):
                        return outcome
                    attempt.begin(transaction)
                    counts = msgspec.structs.replace(outcome.counts, requests=attempt.requests)
                    outcome = msgspec.structs.replace(outcome, counts=counts)
                outcome = with_rows_in_latest(outcome, transaction, key)
                ledger.settle(transaction, key, outcome)
                ledger.add_error(transaction, key, request.sync_id, text)
        except SyncError as error:
            # The ledger row stays open and is found as interrupted; the caller still gets the
            # outcome.
            log.error("%s: the failure could not be recorded: %s", key.ref, error)
        return outcome


def _report(outcome: Outcome) -> None:
    """Log and trace how the sync ended."""
    counts = outcome.counts
    facts: dict[str, str | int] = {
        "status": str(outcome.status),
        "fetched": counts.fetched,
        "rejected": counts.rejected,
        "inserted": counts.inserts,
        "updated": counts.updates,
        "deleted": counts.deletes,
        "withheld": counts.withheld,
        "pending": counts.pending_deletes,
    }
    tracing.annotate(**facts)
    if outcome.status is Status.FAILED:
        tracing.failed("retryable" if outcome.retryable else "permanent")
        logger.warning("sync failed", error=outcome.error, retryable=outcome.retryable, **facts)
    else:
        logger.info("sync settled", recorded=outcome.recorded, **facts)
    if counts.future_times:
        logger.warning(
            "records say that they were changed in the future; those times are not believed",
            records=counts.future_times,
        )
    if counts.unreadable_times:
        logger.warning(
            "records have a change time that cannot be read; check source_updated_at in fields",
            records=counts.unreadable_times,
        )
