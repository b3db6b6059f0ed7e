"""The delete guard: which harmful changes of a sync may pass, and whether too much was rejected.

These are pure decisions, with their reasons in the operator's words. Harmful changes are found in
`change_detection`, confirmed in `delete_confirmation`, and stored in `change_log` for a person's
decision.

People seldom change together, so a change of many at once is more often a fault of a provider
or of a configuration than the truth. If one kind of harm exceeds its limit, all changes of that
kind are withheld; the rest of the sync is applied. Limits apply to one sync and to all syncs of
the last 24 hours together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from math import floor

from elt_assets.config.safeguards import Safeguards
from elt_assets.sync.outcome import NO_RECENT_HARM, Certificate, RecentHarm

SMALL = 10
"""Up to this many rows, a share is not meaningful: one person leaving out of four is a quarter."""


class Harm(StrEnum):
    """A kind of change that can harm the person whose row it changes."""

    DELETE = "delete"
    DEACTIVATION = "deactivation"
    LOSS = "loss"
    IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class Harms:
    """The harmful changes that a sync would apply.

    `latest` is the current number of rows, `unique` the number of valid records listed. `missing`
    counts the rows that are not listed, for whatever reason. `deletes` counts the rows that would
    be deleted: missing ones, and those that the provider reports as deleted. `deactivations` are
    updates that set `active` to false. `losses` counts updates by the guarded value that they set
    to null, `losing` counts each of these updates once. `orphaned` counts deletes that would leave
    parents such as groups without any row although the parents still exist; `emptied` is the number
    of these parents. Changes that a person has rejected are not counted.
    """

    latest: int
    unique: int
    inserts: int = 0
    missing: int = 0
    deletes: int = 0
    deactivations: int = 0
    losing: int = 0
    losses: Mapping[str, int] = field(default_factory=dict)
    orphaned: int = 0
    emptied: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """At most a share of the rows, and at most a number of them.

    With 10 rows or fewer, at least half of them and at least one may change, whatever the share. A
    share of zero withholds every such change; with a share of one, only the number limits.
    """

    share: float
    count: int

    def allowed(self, rows: int) -> int:
        """How many of `rows` may change without a person's decision."""
        if self.share == 0:
            return 0
        if self.share == 1:
            return self.count
        allowed = floor(rows * self.share)
        if rows <= SMALL:
            allowed = max(allowed, rows // 2, 1)
        return min(allowed, self.count)

    def rule(self, rows: int) -> str:
        """The rule that applies to `rows`, for messages."""
        if rows <= SMALL and self.share > 0:
            return f"half of {SMALL} or fewer"
        return f"{self.share:.0%}, {self.count} at most"


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """Which kinds of harm are withheld, and every reason why."""

    withheld: frozenset[Harm] = frozenset()
    reasons: tuple[str, ...] = ()

    @property
    def deletes_pass(self) -> bool:
        """Whether the deletes may be applied."""
        return Harm.DELETE not in self.withheld


def judge(
    certificate: Certificate,
    harms: Harms,
    safeguards: Safeguards,
    *,
    recent: RecentHarm = NO_RECENT_HARM,
    removals: bool = False,
    history: Sequence[int] = (),
) -> GuardVerdict:
    """Decide which harmful changes of a sync may be applied.

    `removals` says that deletes of this stream are routine, as with memberships.
    `history` has the numbers of valid records in earlier syncs, newest first.
    """
    found: list[tuple[Harm, str]] = []
    above = partial(_above, latest=harms.latest, rows=max(harms.latest, recent.latest))
    if harms.deletes:
        found += [(Harm.DELETE, reason) for reason in _doubts(certificate, harms, history)]
        limit = delete_limit(safeguards, removals=removals)
        found += above(
            _Measure(Harm.DELETE, "deleted", harms.deletes, limit, before=recent.deletes)
        )
    found += above(
        _Measure(
            Harm.DELETE,
            f"removed from {harms.emptied} groups that still stand and would be empty",
            harms.orphaned,
            delete_limit(safeguards, removals=False),
        )
    )
    found += above(
        _Measure(
            Harm.DEACTIVATION,
            "deactivated",
            harms.deactivations,
            Limit(safeguards.max_deactivate_share, safeguards.max_deactivate_count),
            before=recent.deactivations,
        )
    )
    losses = ", ".join(f"{name} {count}" for name, count in sorted(harms.losses.items()))
    found += above(
        _Measure(
            Harm.LOSS,
            f"left without a value that they have ({losses})",
            harms.losing,
            Limit(safeguards.max_loss_share, safeguards.max_loss_count),
            before=recent.losses,
        )
    )
    if identities_changed(harms, safeguards.max_identity_share, complete=certificate.complete):
        reason = (
            f"{harms.missing} of {harms.latest} rows are gone and {harms.inserts} of "
            f"{harms.unique} listed keys are new: the provider or the mapping may have changed "
            "the key of everybody"
        )
        found += [(Harm.IDENTITY, reason)]
    return GuardVerdict(
        frozenset(harm for harm, _ in found), tuple(dict.fromkeys(reason for _, reason in found))
    )


def delete_limit(safeguards: Safeguards, *, removals: bool) -> Limit:
    """The limit of deletes: of rows that represent people, or of routine removals."""
    if removals:
        return Limit(safeguards.max_removal_share, safeguards.max_removal_count)
    return Limit(safeguards.max_delete_share, safeguards.max_delete_count)


def identities_changed(harms: Harms, share: float, *, complete: bool) -> bool:
    """Whether at least `share` of the old keys are missing and `share` of the listed keys are new.

    With 10 rows or fewer, all of at least two old keys must be missing. A listing that is not
    `complete` must have at least `share` as many records as the table has rows, because a shorter
    one says too little about the missing rows.
    """
    if harms.latest < 2 or not harms.inserts or not harms.missing:
        return False
    if not complete and harms.unique < share * harms.latest:
        return False
    if harms.latest <= SMALL:
        return harms.missing == harms.latest and harms.inserts > 1
    gone = harms.missing >= share * harms.latest
    return gone and harms.inserts >= share * harms.unique


def too_many_rejected(fetched: int, rejected: int, safeguards: Safeguards) -> str | None:
    """Why the sync must fail because of its rejected records; None if it need not.

    With 10 records or fewer, it fails only if more than half are rejected: one bad record of five
    does not indicate a wrong configuration.
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


def _doubts(certificate: Certificate, harms: Harms, history: Sequence[int]) -> list[str]:
    """Why the listing itself is not sufficient evidence for deletes."""
    reasons = list(certificate.reasons)
    if not certificate.complete and not reasons:
        reasons.append("the extraction has no complete certificate")
    if harms.unique == 0:
        usual = f"; its last syncs listed {', '.join(map(str, history))}" if history else ""
        reasons.append(
            f"the provider listed nobody and the latest table holds {harms.latest}{usual}"
        )
    return reasons


@dataclass(frozen=True, slots=True)
class _Measure:
    """The number of changes of one kind of harm, with their limit.

    `before` is how many such changes were applied in the last 24 hours.
    """

    harm: Harm
    what: str
    count: int
    limit: Limit
    before: int = 0


def _above(measure: _Measure, latest: int, rows: int) -> list[tuple[Harm, str]]:
    """The reason why the changes exceed their limit; empty if they do not.

    The limit is calculated from `rows`; `latest`, the current number of rows, is for the message.
    """
    if measure.count == 0:
        return []
    allowed = measure.limit.allowed(rows)
    if measure.before + measure.count <= allowed:
        return []
    earlier = f", after {measure.before} in the last 24 hours," if measure.before else ""
    return [
        (
            measure.harm,
            f"{measure.count} of {latest} would be {measure.what}{earlier} and at most {allowed}"
            f" may be ({measure.limit.rule(rows)})",
        )
    ]
