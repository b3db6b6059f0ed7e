"""Confirming deletes: is a record that was not listed really gone?

Belongs here: choosing a way to confirm and carrying it out on a detection. Does not: how a
provider is asked for one record (connectors), or the limits (guard).

Index pagination hides a live user when somebody before it leaves while pages are read; an
extraction that was interrupted and continued later saw the provider at two moments.
"""

from __future__ import annotations

from elt_assets.config.safeguards import Confirmation
from elt_assets.connectors.source import Presence, Source
from elt_assets.sync.detect.change_detection import Detection
from elt_assets.sync.outcome import Certificate


def way_to_confirm(
    chosen: Confirmation | None, source: Source, certificate: Certificate, duplicates: int
) -> Confirmation:
    """What the integration chose, or else what its pagination and this extraction call for.

    Records that came twice, in a listing as long as the provider's own count, may stand in
    the place of somebody who was skipped.
    """
    if chosen is not None:
        return chosen
    skipped = duplicates > 0 and certificate.declared_total is not None
    if source.snapshot and certificate.extraction_runs == 1 and not skipped:
        return "none"
    return "probe" if source.probes else "grace"


def confirm_deletes(
    detection: Detection, way: Confirmation, source: Source, *, repeated: int | None = None
) -> None:
    """Hold back or shield what is not confirmed.

    `repeated` is the version made by the sync whose records are looked at once more. A probe
    that gets no clear answer holds the row back until a next extraction.
    Raises what the source raises.
    """
    if way == "none":
        return
    if way == "grace" or not source.probes:
        detection.hold_back_newly_missing(repeated)
        return
    candidates = detection.candidates()
    if not candidates:
        return
    answers = source.probe([key for _, key in candidates], detection.listed())
    detection.shield(i for i, key in candidates if answers[key] is Presence.PRESENT)
    detection.hold_back(i for i, key in candidates if answers[key] is Presence.UNKNOWN)
