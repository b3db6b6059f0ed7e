"""Dagster events of a sync: materializations of one partition, and the failure of a run.

Every stored event costs about half a millisecond, so each table and partition gets one event, and
no page or batch gets any.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import dagster as dg

from elt_assets.errors.foreign_text import inert
from elt_assets.orchestration.assets.table_specs import column_lineage
from elt_assets.orchestration.markdown import bullet_list, bullets, named, table
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.admin.completeness import completeness
from elt_assets.sync.outcome import Certificate, Outcome, Stage, Status
from elt_assets.sync.streams import Stream

COMPLETE = "complete"
"""Metadata of a staging table: 1 for a complete listing, else 0; Dagster plots it."""
REASONS = "reasons_withheld"
"""Metadata of a change log: why changes were withheld, as JSON."""
INCOMPLETE = "why_incomplete"
"""Metadata of a staging table: why its listing is not complete."""
_LISTED_FAILURES = 20
EMPTY: Mapping[str, Any] = MappingProxyType({})


def materializations(
    stream: Stream,
    outcome: Outcome,
    selected: Collection[Stage],
    *,
    lineage: bool = False,
    of_latest: Mapping[str, Any] = EMPTY,
    at: Placement = STANDALONE,
) -> list[dg.AssetMaterialization]:
    """One event for each selected table that this sync brought up to date.

    A settled sync brought all tables up to date, even if it changed nothing (superseded) or
    withheld changes (quarantined), as `status` says. A failed sync did so for the tables before
    the stage that failed.

    With `lineage` each event has the lineage of the table's columns. API clients look for it in a
    table's newest event, and it is as large as the rest of the event. `of_latest` is further
    metadata of the latest table's event.
    """
    return [
        dg.AssetMaterialization(
            at.table(stream, stage),
            partition=outcome.partition,
            metadata={
                **(of_latest if stage is Stage.LATEST else {}),
                **_metadata(outcome, stage),
                **(_lineage(stream, stage, at) if lineage else {}),
            },
        )
        for stage in _filled(outcome)
        if stage in selected
    ]


def failure(outcomes: Sequence[Outcome]) -> dg.Failure | None:
    """The failure to raise for a run with these outcomes, None if none of them failed.

    It allows no retry if every failure is permanent.
    """
    failed = [outcome for outcome in outcomes if outcome.status is Status.FAILED]
    if not failed:
        return None
    lines = [
        inert(named(outcome.partition, outcome.error)) for outcome in failed[:_LISTED_FAILURES]
    ]
    if len(failed) > len(lines):
        lines.append(f"… and {len(failed) - len(lines)} more")
    rest = "" if len(failed) == len(outcomes) else "; the others are settled"
    return dg.Failure(
        description="\n".join(
            [f"{len(failed)} of {len(outcomes)} integrations failed{rest}.", *lines]
        ),
        metadata={
            "failed": len(failed),
            "settled": len(outcomes) - len(failed),
            "errors": bullet_list(lines),
        },
        allow_retries=any(outcome.retryable for outcome in failed),
    )


def summary(outcomes: Sequence[Outcome], handed_on: int = 0) -> str:
    """The run in one line: integrations by status, changes, and integrations handed on."""
    ended = ", ".join(
        f"{count} {status}"
        for status in Status
        if (count := sum(outcome.status is status for outcome in outcomes))
    )
    counts = [outcome.counts for outcome in outcomes]
    incomplete = sum(_is_complete(outcome) is False for outcome in outcomes)
    noun = "integration" if len(outcomes) == 1 else "integrations"
    return (
        f"{len(outcomes)} {noun}: {ended or 'none to sync'}; "
        f"{sum(c.inserts for c in counts)} inserted, {sum(c.updates for c in counts)} updated, "
        f"{sum(c.deletes for c in counts)} deleted, "
        f"{sum(c.withheld for c in counts)} changes withheld"
        + (f"; {incomplete} listings incomplete" if incomplete else "")
        + (f"; {handed_on} not started within the time budget and handed on" if handed_on else "")
    )


def _filled(outcome: Outcome) -> list[Stage]:
    stages = list(Stage)
    if outcome.status.settled:
        return stages
    if outcome.reached is None:
        return []
    return stages[: stages.index(outcome.reached) + 1]


def _metadata(outcome: Outcome, stage: Stage) -> dict[str, Any]:
    counts = outcome.counts
    changes = {
        "inserted": counts.inserts,
        "updated": counts.updates,
        "deleted": counts.deletes,
        "withheld_deletes": counts.withheld_deletes,
        "withheld_updates": counts.withheld_updates,
        "withheld_inserts": counts.withheld_inserts,
        "pending": counts.pending_deletes,
        "kept": counts.kept_rows,
        "unchanged": counts.unchanged,
    }
    common = {
        "status": str(outcome.status),
        "mode": str(outcome.mode),
        "sync_id": outcome.sync_id,
    }
    if stage is Stage.STAGING:
        return {
            "dagster/row_count": counts.staged,
            **common,
            "fetched": counts.fetched,
            "staged": counts.staged,
            "rejected": counts.rejected,
            "duplicates": counts.duplicates,
            "tombstones": counts.tombstones,
            "batches": outcome.batches,
            "resumed_batches": outcome.resumed_batches,
            "requests": counts.requests,
            **_completeness(outcome),
            "certificate": dg.MetadataValue.md(_certificate(outcome.certificate)),
            **_seconds(outcome, "extract", "stage"),
        }
    if stage is Stage.CDC:
        changed = counts.inserts + counts.updates + counts.deletes
        # A result that was only looked up in the ledger has no sample.
        columns = [*outcome.sample[0]] if outcome.sample else []
        rows = [[change.get(column) for column in columns] for change in outcome.sample]
        sample = table(columns, rows) or ("" if changed else "no changes")
        return {
            "dagster/row_count": changed,
            **common,
            **changes,
            "shielded": counts.shielded_deletes,
            **_reasons(outcome),
            **({"sample": dg.MetadataValue.md(sample)} if sample else {}),
            **_seconds(outcome, "detect"),
        }
    return {
        "dagster/row_count": counts.latest,
        **common,
        **changes,
        "latest_before": counts.latest_before,
        "latest": counts.latest,
        **_seconds(outcome, "apply"),
    }


def _is_complete(outcome: Outcome) -> bool | None:
    return completeness(outcome.status, outcome.mode, outcome.certificate)


def _completeness(outcome: Outcome) -> dict[str, Any]:
    """Whether the listing is complete, why not, and its share of the provider's total."""
    certificate, complete = outcome.certificate, _is_complete(outcome)
    if complete is None:
        return {}
    reasons = {} if complete else {INCOMPLETE: inert("; ".join(certificate.reasons))}
    coverage = {} if certificate.coverage is None else {"coverage": round(certificate.coverage, 4)}
    return {COMPLETE: int(complete), **reasons, **coverage}


def _reasons(outcome: Outcome) -> dict[str, Any]:
    """Why changes were withheld, for people and for clients."""
    if not outcome.reasons:
        return {}
    return {
        "reasons": bullet_list(outcome.reasons),
        REASONS: dg.MetadataValue.json([inert(reason) for reason in outcome.reasons]),
    }


def _lineage(stream: Stream, stage: Stage, at: Placement) -> dict[str, Any]:
    found = column_lineage(stream, stage, at)
    return {"dagster/column_lineage": found} if found else {}


def _seconds(outcome: Outcome, *stages: str) -> dict[str, float]:
    return {
        f"seconds_{stage}": round(outcome.seconds[stage], 3)
        for stage in stages
        if stage in outcome.seconds
    }


def _certificate(certificate: Certificate) -> str:
    verdict = "**Complete.**" if certificate.complete else "**Not complete.**"
    facts = [
        f"{verdict} {certificate.records} records on {certificate.pages} pages, "
        f"extracted in {certificate.extraction_runs} "
        f"{'run' if certificate.extraction_runs == 1 else 'runs'}.",
    ]
    if not certificate.resumable:
        facts.append(
            "The source cannot continue from a page: an interrupted extraction starts again."
        )
    if certificate.declared_total is not None:
        facts.append(f"The provider declares {certificate.declared_total}.")
    if certificate.unreadable_keys:
        facts.append(f"{certificate.unreadable_keys} records have no readable key.")
    return "\n\n".join([" ".join(facts), *filter(None, [bullets(certificate.reasons)])])
