"""Confirm deletes: a record that a listing lacks is deleted only on a second piece of evidence.

The evidence is, in this order: a tombstone, a valid probe, absence from a second complete listing.
Only a snapshot needs none. The reason is paging by offset: a user who leaves while the pages are
read shifts the rest, so that another user is skipped. Many page tokens that look opaque contain
such an offset.
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
    """Which earlier absence of a record counts as evidence.

    The absence must have been found at `before` (ISO 8601, UTC) or earlier, and not by the sync
    that made the version `repeated`, whose records are now mapped again.
    """

    before: str
    repeated: int | None = None


def second_witness(
    chosen: Confirmation | None, certificate: Certificate, *, probes: bool
) -> Confirmation:
    """How missing records are confirmed: as the integration chose, or else the best way available.

    A snapshot that was read in one attempt and ended with a list needs no confirmation. Raises
    `PermanentError` when the integration chose 'none' and its listing is not a snapshot.
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
    """Hold back or shield deletes that are not confirmed; return how many records still exist.

    If a probe has no clear answer, an earlier absence decides, unless another probe finds a record
    that the listing lacks: then the listing is no evidence, and the delete is held back. Raises the
    source's errors.
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
