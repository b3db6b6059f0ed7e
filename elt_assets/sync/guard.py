"""The guard: whether a sync's deletes may pass.

Belongs here: the pure decision and its reasons, in the operator's words. Does not: finding
deletes (detect), keeping withheld ones (detect) or approving them.
"""

from __future__ import annotations

from dataclasses import dataclass

from elt_assets.sync.outcome import Certificate


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether deletes pass, and if not, every reason why."""

    deletes_pass: bool
    reasons: tuple[str, ...] = ()


def verdict(certificate: Certificate, *, unique: int, deletes: int, latest: int) -> Verdict:
    """Judge `deletes` of the `latest` rows, given `unique` valid records in the extraction."""
    if deletes == 0:
        return Verdict(deletes_pass=True)
    reasons = list(certificate.reasons)
    if not certificate.complete and not reasons:
        reasons.append("the extraction has no complete certificate")
    if unique == 0:
        reasons.append(f"the provider listed nobody and the latest table holds {latest}")
    return Verdict(deletes_pass=not reasons, reasons=tuple(reasons))
