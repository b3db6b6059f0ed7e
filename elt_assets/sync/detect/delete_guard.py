"""The guard: whether a sync's deletes may pass, and whether too much was rejected.

Belongs here: the pure decisions and their reasons, in the operator's words. Does not:
finding deletes or keeping withheld ones (detect), confirming them (confirm) or approving
them (quarantine).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from elt_assets.config.safeguards import Safeguards
from elt_assets.sync.outcome import Certificate

SMALL = 10
"""Up to this many rows a share says nothing: one leaver of four is a quarter."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether deletes pass, and if not, every reason why."""

    deletes_pass: bool
    reasons: tuple[str, ...] = ()


def verdict(
    certificate: Certificate,
    *,
    unique: int,
    deletes: int,
    latest: int,
    safeguards: Safeguards,
    history: Sequence[int] = (),
) -> Verdict:
    """Judge `deletes` of the `latest` rows, given `unique` valid records in the extraction.

    `history` holds how many valid records earlier syncs found, newest first.
    """
    if deletes == 0:
        return Verdict(deletes_pass=True)
    reasons = list(certificate.reasons)
    if not certificate.complete and not reasons:
        reasons.append("the extraction has no complete certificate")
    if unique == 0:
        reasons.append(_nobody(latest, history))
    allowed = allowed_deletes(latest, safeguards)
    if deletes > allowed:
        reasons.append(
            f"{deletes} of {latest} would be deleted and at most {allowed} may be"
            f" ({_rule(latest, safeguards)})"
        )
    return Verdict(deletes_pass=not reasons, reasons=tuple(reasons))


def allowed_deletes(latest: int, safeguards: Safeguards) -> int:
    """How many of `latest` rows one sync may delete without asking.

    The smaller of the share and the count; with 10 rows or fewer half of them, at least
    one. A limit of zero means that every delete is asked for.
    """
    if safeguards.max_delete_share == 0:
        return 0
    allowed = floor(latest * safeguards.max_delete_share)
    if latest <= SMALL:
        allowed = max(allowed, latest // 2, 1)
    return min(allowed, safeguards.max_delete_count)


def too_many_rejected(fetched: int, rejected: int, safeguards: Safeguards) -> str | None:
    """Why the sync must fail for its rejected records, or None.

    With 10 records or fewer more than half of them must be unusable: one bad record of
    five is no sign of a wrong configuration.
    """
    share = max(safeguards.max_reject_share, 0.5 if fetched <= SMALL else 0.0)
    if safeguards.max_reject_share == 0:
        share = 0.0
    if rejected <= fetched * share:
        return None
    return (
        f"{rejected} of {fetched} records cannot be used, more than {share:.0%}; nothing was "
        "applied. `elt-assets rejected` lists them with reasons: correct the fields in "
        "provider_data, then `elt-assets sync --retry-rejected` maps them again without fetching"
    )


def _rule(latest: int, safeguards: Safeguards) -> str:
    if latest <= SMALL and safeguards.max_delete_share > 0:
        return f"half of {SMALL} or fewer"
    return f"{safeguards.max_delete_share:.0%}, {safeguards.max_delete_count} at most"


def _nobody(latest: int, history: Sequence[int]) -> str:
    usual = f"; its last syncs listed {', '.join(map(str, history))}" if history else ""
    return f"the provider listed nobody and the latest table holds {latest}{usual}"
