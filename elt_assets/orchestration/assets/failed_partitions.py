"""The observation of a failed partition: attempts, errors and dead letters of its sync.

Dagster has no event for one failed partition of a range. The observation shows the failure on the
partition's page in the web UI, and to clients that have no access to the stores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import dagster as dg
import msgspec

from elt_assets.errors import EltAssetsError
from elt_assets.errors.foreign_text import inert
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.markdown import bullet_list
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.outcome import Outcome, Stage
from elt_assets.sync.service import SyncService
from elt_assets.sync.state import ledger
from elt_assets.sync.streams import Stream, StreamKey

FAILURE_DETAILS = "failure_details"
"""Label of the metadata entry that holds the `FailureDetails` as JSON."""

_LISTED = 10


class FailedAttempt(msgspec.Struct, frozen=True):
    """One attempt of a sync that failed."""

    attempt: int
    error: str
    failed_at: str


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that could not be used: its position and the reason, without personal data."""

    batch: int
    seq: int
    reason: str


class FailureDetails(msgspec.Struct, frozen=True):
    """The failed sync of one integration: its error, attempts and first dead letters."""

    partition: str
    sync_id: str
    error: str
    retryable: bool
    attempts: tuple[FailedAttempt, ...] = ()
    rejected: int = 0
    dead_letters: tuple[DeadLetter, ...] = ()


def failure_details(platform: SyncService, stream: Stream, outcome: Outcome) -> FailureDetails:
    """The details of a failed outcome, from the ledger and the warehouse.

    Details that cannot be read are left out, so that reporting a failure does not fail.
    """

    def plain(error: str) -> str:
        return error.removeprefix(f"{outcome.partition}: ")

    attempts: Sequence[Mapping[str, Any]] = ()
    letters: Sequence[Mapping[str, Any]] = ()
    with suppress(EltAssetsError):
        ref = IntegrationRef.parse(outcome.partition)
        attempts = ledger.errors(platform.database, StreamKey(stream, ref), outcome.sync_id)
        if outcome.counts.rejected:
            letters = platform.rejected(stream, ref, outcome.sync_id, _LISTED)
    return FailureDetails(
        partition=outcome.partition,
        sync_id=outcome.sync_id,
        error=plain(outcome.error or "failed without a reason"),
        retryable=outcome.retryable,
        attempts=tuple(
            FailedAttempt(one["attempt"], plain(one["error"]), one["failed_at"])
            for one in attempts[-_LISTED:]
        ),
        rejected=outcome.counts.rejected,
        dead_letters=tuple(
            DeadLetter(letter["batch"], letter["seq"], letter["reason"]) for letter in letters
        ),
    )


def failed_observation(
    stream: Stream, outcome: Outcome, details: FailureDetails, at: Placement = STANDALONE
) -> dg.AssetObservation:
    """The event: a summary for people, and all details as JSON for programs."""
    return dg.AssetObservation(
        at.table(stream, Stage.LATEST),
        partition=outcome.partition,
        description=inert(details.error),
        metadata={
            "status": str(outcome.status),
            "sync_id": outcome.sync_id,
            "retryable": outcome.retryable,
            "attempts": bullet_list(
                [
                    f"attempt {one.attempt}, {one.failed_at}: {one.error}"
                    for one in details.attempts
                ],
                none="none recorded",
            ),
            "dead_letters": bullet_list(
                f"batch {one.batch}, record {one.seq}: {one.reason}" for one in details.dead_letters
            ),
            FAILURE_DETAILS: dg.MetadataValue.json(msgspec.to_builtins(details)),
        },
    )
