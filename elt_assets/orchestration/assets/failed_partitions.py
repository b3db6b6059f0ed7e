"""What Dagster is told of an integration that failed: attempts, errors, dead letters.

Belongs here: the observation of a failed partition, and looking up what goes into it. Does
not: what a success says (reporting), or deciding that something failed (the engine).

Dagster has no event for one failed partition of a range. The observation is where its page
in the web UI, and a client that has no access to the stores, find out why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import dagster as dg
import msgspec

from elt_assets.errors import EltAssetsError
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.sync.outcome import Outcome, Stage
from elt_assets.sync.service import Platform
from elt_assets.sync.state import ledger
from elt_assets.sync.streams import Stream

TROUBLE = "trouble"
"""Label of the metadata entry that holds the `Trouble` as JSON."""

_LISTED = 10


class FailedAttempt(msgspec.Struct, frozen=True):
    """One attempt of a sync that failed."""

    attempt: int
    error: str
    failed_at: str


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that could not be used: where it came and why; nothing of the person."""

    batch: int
    seq: int
    reason: str


class Trouble(msgspec.Struct, frozen=True):
    """Everything about one integration's failure that a person asks first."""

    partition: str
    sync_id: str
    error: str
    retryable: bool
    attempts: tuple[FailedAttempt, ...] = ()
    rejected: int = 0
    dead_letters: tuple[DeadLetter, ...] = ()


def look_up(platform: Platform, stream: Stream, outcome: Outcome) -> Trouble:
    """The failed outcome with what the ledger and the warehouse know of it.

    What cannot be read is left out: this is said about a failure, and must not be one.
    """

    def plain(error: str) -> str:
        return error.removeprefix(f"{outcome.partition}: ")

    attempts: Sequence[Mapping[str, Any]] = ()
    letters: Sequence[Mapping[str, Any]] = ()
    with suppress(EltAssetsError):
        ref = IntegrationRef.parse(outcome.partition)
        attempts = ledger.errors(platform.database, stream, ref, outcome.sync_id)
        if outcome.counts.rejected:
            letters = platform.rejected(stream, ref, outcome.sync_id, _LISTED)
    return Trouble(
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


def failed_observation(stream: Stream, outcome: Outcome, trouble: Trouble) -> dg.AssetObservation:
    """The event: readable where a person looks, whole where a program does."""
    return dg.AssetObservation(
        asset_key(stream, Stage.LATEST),
        partition=outcome.partition,
        description=trouble.error,
        metadata={
            "status": str(outcome.status),
            "sync_id": outcome.sync_id,
            "retryable": outcome.retryable,
            "attempts": dg.MetadataValue.md(
                "\n".join(
                    f"- attempt {one.attempt}, {one.failed_at}: {' '.join(one.error.split())}"
                    for one in trouble.attempts
                )
                or "none recorded"
            ),
            "dead_letters": dg.MetadataValue.md(
                "\n".join(
                    f"- batch {one.batch}, record {one.seq}: {' '.join(one.reason.split())}"
                    for one in trouble.dead_letters
                )
                or "none"
            ),
            TROUBLE: dg.MetadataValue.json(msgspec.to_builtins(trouble)),
        },
    )
