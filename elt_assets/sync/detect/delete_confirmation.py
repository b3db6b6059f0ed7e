"""Confirming deletes: every missing record needs a second witness besides the listing.

In this order: a tombstone, a valid probe, absence from a second complete listing. Only a
snapshot is its own witness. Without a second witness, a user who leaves while pages that are
counted are read hides another one, and tokens that look opaque are often counts in disguise.
"""

from __future__ import annotations

from dataclasses import dataclass

from elt_assets.config.safeguards import Confirmation
from elt_assets.connectors.source import Presence, Source
from elt_assets.errors import PermanentError
from elt_assets.sync.detect.change_detection import Detection
from elt_assets.sync.outcome import Certificate


@dataclass(frozen=True, slots=True)
class EarlierAbsence:
    """Which earlier absence counts as a witness.

    Not the one found by the sync that made the version `repeated`, whose records are mapped
    once more, and none after the moment `before` (ISO 8601, UTC).
    """

    before: str
    repeated: int | None = None


def second_witness(
    chosen: Confirmation | None, certificate: Certificate, *, probes: bool
) -> Confirmation:
    """How missing records are confirmed: what the integration chose, or the best there is.

    A snapshot that was read in one attempt and ended with a list needs no second witness.
    Raises `PermanentError` when the integration wants none and its listing is no snapshot.
    """
    if chosen == "none" and not certificate.snapshot:
        raise PermanentError(
            "delete_confirmation 'none' is refused: this listing is no snapshot, so a record that "
            "it lacks may still be there. Remove it from safeguards, or declare `snapshot: true` "
            "on the stream if one listing is one consistent state of the provider"
        )
    if chosen == "none":
        return "none"
    stitched = certificate.extraction_runs > 1
    if chosen is None and certificate.snapshot and not (stitched or certificate.bare_end):
        return "none"
    if chosen == "grace" or not probes:
        return "grace"
    return "probe"


def confirm_deletes(
    detection: Detection, witness: Confirmation, source: Source, earlier: EarlierAbsence
) -> int:
    """Hold back or shield what is not confirmed; return how many rows are there after all.

    A probe without a clear answer says nothing: then an earlier absence decides, unless another
    probe finds a record that the listing lacks, for then the listing is no witness.
    Raises what the source raises.
    """
    if witness == "none":
        return 0
    unclear: list[str] | None = None
    present: list[str] = []
    if witness == "probe":
        candidates = detection.candidates()
        if not candidates:
            return 0
        answers = source.probe([key for _, key in candidates], detection.listed())
        present = [i for i, key in candidates if answers[key] is Presence.PRESENT]
        unclear = [i for i, key in candidates if answers[key] is Presence.UNKNOWN]
        detection.shield(present)
    if present and unclear:
        detection.hold_back(unclear)
    elif unclear is None or unclear:
        detection.hold_back_newly_missing(
            earlier.repeated, ids=unclear, missed_before=earlier.before
        )
    return len(present)
