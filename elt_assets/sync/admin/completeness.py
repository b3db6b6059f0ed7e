"""Whether an incomplete listing needs a person now: when it is first seen, and when it worsens."""

from __future__ import annotations

from collections.abc import Iterable

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Certificate, Mode, Outcome, Status
from elt_assets.sync.service import Platform
from elt_assets.sync.state import ledger
from elt_assets.sync.streams import STREAMS

MOST = 0.95
"""A listing of less than this share of the provider's own total is far from complete."""

_SETTLED = (Status.APPLIED, Status.UNCHANGED, Status.QUARANTINED)


def needs_attention(certificate: Certificate, earlier: Certificate | None) -> bool:
    """Whether a person should look at this listing, given that of the sync before it.

    `earlier` is None for a first sync. A listing that was cut, repeats keys across pages or
    covers less than 95% of the total needs attention when the one before it was better.
    """
    if certificate.complete:
        return False
    if earlier is None:
        return True
    if _was_cut(certificate) and not _was_cut(earlier):
        return True
    if (certificate.repeated or 0) > (earlier.repeated or 0):
        return True
    coverage, before = certificate.coverage, earlier.coverage
    if coverage is None or coverage >= MOST:
        return False
    return before is None or coverage < before


def _was_cut(certificate: Certificate) -> bool:
    return certificate.cut_short is not None or not certificate.terminal_page


def incomplete_outcomes(platform: Platform, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those of `outcomes` that were settled on an incomplete listing that needs attention."""
    return [
        outcome
        for outcome in outcomes
        if outcome.status in _SETTLED
        and outcome.mode is not Mode.COMPENSATING
        and needs_attention(
            outcome.certificate,
            ledger.certificate_before(
                platform.database,
                STREAMS[outcome.stream],
                IntegrationRef.parse(outcome.partition),
                outcome.sync_id,
                _SETTLED,
            ),
        )
    ]
