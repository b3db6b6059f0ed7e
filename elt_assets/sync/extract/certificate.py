"""The certificate: is a listing complete, by everything that could have refuted it?

A provider's word is a claim. The table says what refutes each claim, and what a sync may do on
a claim that nothing has refuted; anything refuted makes the listing incomplete.

| claim | refuted by | on the claim alone |
|---|---|---|
| "no next page" | distinct keys below the total; another page or listing | inserts, updates |
| a total | other than the distinct keys; other on another page; a full last page | nothing |
| a cursor continues | keys on several pages; an empty or repeated page | inserts, updates |
| a page is full or short | a longer page of the same listing | one more request |
| 304, unchanged | the digest and the count that were kept | reuse of the kept records |
| 404 for one record | a control probe; the form of the answer (connectors) | nothing |
| "deleted" (tombstone) | the limits of `harm` | the delete of that record |
| "changed since" | this machine's clock; the next full listing | inserts, updates |
| "inactive", "no e-mail" | the limits of `harm` | the update, below the limits |

Which changes may be applied is decided in `harm`; how a missing record is confirmed, in
`witness`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from elt_assets.sync.extract.checkpoints import ExtractionState
from elt_assets.sync.outcome import Certificate, Mode


@dataclass(frozen=True, slots=True)
class ListedKeys:
    """What a comparison of a listing's keys found.

    `distinct` counts different keys, those of rejected records included; `repeated` counts
    keys that came on more than one page.
    """

    distinct: int
    repeated: int


def certify(state: ExtractionState) -> Certificate:
    """Judge an extraction by its pages alone. `with_keys` adds what its keys refute."""
    # The count that comes with a listing of changes may be that of the changes or of all.
    totals = state.declared_totals if state.sync_mode.mode is Mode.FULL else ()
    reasons = []
    if not state.ended:
        reasons.append("the provider never said that a page is the last one")
    if state.cut_short is not None:
        reasons.append(state.cut_short)
    reasons.extend(state.doubts)
    if len(totals) > 1:
        reasons.append(
            f"the provider's own count changed while paging, between {totals[0]} and {totals[-1]}"
        )
    if state.unreadable_keys:
        reasons.append(
            f"{state.unreadable_keys} rejected records have no readable key, "
            "so nobody can be said to be missing"
        )
    return Certificate(
        complete=not reasons,
        reasons=tuple(reasons),
        terminal_page=state.ended and state.cut_short is None,
        cut_short=state.cut_short,
        declared_total=totals[-1] if totals else None,
        records=state.fetched,
        pages=state.pages,
        extraction_runs=state.runs,
        resumable=state.resumable,
        unreadable_keys=state.unreadable_keys,
        snapshot=state.snapshot,
        bare_end=state.bare_end,
    )


def with_keys(certificate: Certificate, keys: ListedKeys, mode: Mode) -> Certificate:
    """The certificate after its records were compared by key."""
    reasons = list(certificate.reasons)
    if mode is Mode.FULL:
        total = certificate.declared_total
        # A snapshot's count is of its rows, whatever they repeat.
        listed = certificate.records if certificate.snapshot else keys.distinct
        if total is not None and listed < total:
            reasons.append(f"the provider counts {total} records and listed {listed}")
        elif total is not None and listed > total:
            reasons.append(
                f"the provider counts {total} records and listed {listed}: its count is wrong"
            )
        reasons.extend(shifted_pages(keys.repeated, mode, snapshot=certificate.snapshot))
    return msgspec.structs.replace(
        certificate,
        complete=not reasons,
        reasons=tuple(reasons),
        distinct=keys.distinct,
        repeated=keys.repeated,
    )


def shifted_pages(repeated: int, mode: Mode, *, snapshot: bool) -> tuple[str, ...]:
    """The reason not to believe a full listing with keys that came on more than one page.

    A listing of changes may name one record several times, and a snapshot has no pages that
    could shift.
    """
    if not repeated or snapshot or mode is not Mode.FULL:
        return ()
    return (
        f"{repeated} keys came on more than one page: the pages shifted while they were read, "
        "and other records may have been skipped",
    )


def contradicted(certificate: Certificate, present: int) -> Certificate:
    """The certificate after probes found `present` records that the listing lacks."""
    if present == 0:
        return certificate
    reason = f"{present} records that the listing lacks are there when asked for alone"
    return msgspec.structs.replace(
        certificate, complete=False, reasons=(*certificate.reasons, reason)
    )
