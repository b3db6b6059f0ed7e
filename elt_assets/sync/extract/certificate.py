"""The certificate: whether a listing is complete, judged by everything that could refute it.

A provider's statement is a claim. The table has, for each claim, the evidence that refutes it and
what a sync may do while nothing refutes it. Any refuted claim makes the listing incomplete.

| claim | refuted by | on the claim alone |
|---|---|---|
| "no next page" | distinct keys below the total; another page or listing | inserts, updates |
| a total | other than the distinct keys; other on another page; a full last page | nothing |
| a cursor continues | keys on several pages; an empty or repeated page | inserts, updates |
| a page is full or short | a longer page of the same listing | one more request |
| 304, unchanged | the digest and the count that were kept | reuse of the kept records |
| 404 for one record | a control probe; the form of the answer (connectors) | nothing |
| "deleted" (tombstone) | the limits of `delete_guard` | the delete of that record |
| "changed since" | this machine's clock; the next full listing | inserts, updates |
| "inactive", "no e-mail" | the limits of `delete_guard` | the update, below the limits |

Which changes may be applied is decided in `delete_guard`; `delete_confirmation` confirms missing
records.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from elt_assets.sync.extract.checkpoints import ExtractionState
from elt_assets.sync.outcome import Certificate, Mode


@dataclass(frozen=True, slots=True)
class ListedKeys:
    """The result of comparing a listing's keys.

    `distinct` counts different keys, including those of rejected records; `repeated` counts keys
    that came on more than one page.
    """

    distinct: int
    repeated: int


def certify(state: ExtractionState) -> Certificate:
    """Judge an extraction by its pages only. `with_keys` adds the judgement of its keys."""
    # The count in a listing of changes may be that of the changes or of all records.
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
    """The certificate after the listing's records were compared by key."""
    reasons = list(certificate.reasons)
    if mode is Mode.FULL:
        total = certificate.declared_total
        # The count of a snapshot is that of its rows, including repeated ones.
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
    """The reason to doubt a full listing with keys that came on more than one page.

    It is empty for a listing of changes, which may name a record several times, and for a snapshot,
    whose pages cannot shift.
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
