"""The certificate: whether an extraction is complete, and every reason why not.

Belongs here: the pure judgement. Does not: recording it (stage) or what follows for
deletes (guard).
"""

from __future__ import annotations

from elt_assets.sync.extract.staging import ExtractionState
from elt_assets.sync.outcome import Certificate, Mode


def certify(state: ExtractionState) -> Certificate:
    """Judge an extraction by its checkpoints."""
    # What a provider counts beside a listing of changes may be the changes or everybody.
    totals = state.declared_totals if state.plan.mode is Mode.FULL else ()
    reasons = []
    if not state.ended:
        reasons.append("the provider never said that a page is the last one")
    if state.cut_short is not None:
        reasons.append(state.cut_short)
    if len(totals) > 1:
        reasons.append(
            f"the provider's own count changed while paging, from {totals[0]} to {totals[-1]}"
        )
    elif totals and totals[0] != state.fetched:
        reasons.append(f"the provider counts {totals[0]} records and listed {state.fetched}")
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
    )
