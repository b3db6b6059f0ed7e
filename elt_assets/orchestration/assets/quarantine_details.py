"""What the page of a quarantined partition shows: a mark, the changes, and how to decide.

`jobs.decisions_job` carries a decision out; so does `elt-assets quarantine`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import dagster as dg
import yaml

from elt_assets.config.settings import Settings
from elt_assets.errors import EltAssetsError
from elt_assets.errors.foreign_text import inert
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.assets.materializations import materializations
from elt_assets.orchestration.instance.opening import open_instance
from elt_assets.orchestration.markdown import bullet_list, table
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.outcome import Outcome, Stage
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.ledger import SyncRow
from elt_assets.sync.streams import STREAMS

DECISION_JOB = "decide_quarantine"
DECISION_STEP = "quarantine_decision"

MARK = "quarantine"
"""Label of the metadata entry that marks a partition whose changes wait for a decision."""


def quarantine_details(
    platform: SyncService,
    outcome: Outcome,
    at: Placement = STANDALONE,
    run: dg.DagsterRun | None = None,
) -> dict[str, Any]:
    """Metadata of a quarantined outcome; empty once a person has decided.

    With the `run` that reports it, a link leads to the launchpad of the run's code location.

    Changes that cannot be read are left out, so that a report does not fail.
    """
    waiting = platform.quarantined(IntegrationRef.parse(outcome.partition))
    row = next((row for row in waiting if row.stream == outcome.stream), None)
    if row is None or row.sync_id != outcome.sync_id:
        return {}
    sample: Sequence[dict[str, Any]] = ()
    with suppress(EltAssetsError):
        sample = platform.withheld_sample(row)
    return {
        MARK: row.counts.waiting,
        "withheld_because": bullet_list(row.reasons),
        "withheld_changes": dg.MetadataValue.md(_changes(row, sample)),
        "decide": dg.MetadataValue.md(_how(row.partition, at, run)),
    }


def approval_events(
    outcomes: Iterable[Outcome], at: Placement = STANDALONE
) -> Iterator[dg.AssetMaterialization]:
    """The tables' events after an approval; the newest event of a partition then has no mark."""
    for outcome in outcomes:
        yield from materializations(
            STREAMS[outcome.stream], outcome, (Stage.CDC, Stage.LATEST), at=at
        )


def rejection_events(
    rows: Iterable[SyncRow], decided_by: str, until: datetime, at: Placement = STANDALONE
) -> Iterator[dg.AssetMaterialization]:
    """The latest tables' events after a rejection; they name the decision instead of the mark."""
    for row in rows:
        decision = (
            f"rejected by {inert(decided_by)}, until {until:%Y-%m-%d %H:%M} UTC: "
            "the rows stay as they are"
        )
        yield from materializations(
            STREAMS[row.stream],
            row.outcome(),
            (Stage.LATEST,),
            of_latest={"decision": decision},
            at=at,
        )


def report(settings: Settings, events: Iterable[dg.AssetMaterialization]) -> None:
    """Report a decision that was made outside a run, so that the mark goes at once."""
    with open_instance(settings) as instance:
        for event in events:
            instance.report_runless_asset_event(event)


def ready_made(partition: str, at: Placement = STANDALONE) -> str:
    """The configuration of a decision about this partition, for the launchpad."""
    config = {"partition": partition, "decision": "approve", "decided_by": "", "until": None}
    return yaml.safe_dump({"ops": {at.step(DECISION_STEP): {"config": config}}}, sort_keys=False)


def _changes(row: SyncRow, sample: Sequence[dict[str, Any]]) -> str:
    columns = list(sample[0]) if sample else []
    shown = table(columns, [[change.get(name) for name in columns] for change in sample])
    more = row.counts.withheld - len(sample)
    return "\n\n".join(filter(None, [shown, f"and {more:,} more" if more > 0 else ""]))


def launchpad(run: dg.DagsterRun, partition: str, at: Placement = STANDALONE) -> str | None:
    """The path of the launchpad with the ready-made configuration; None for a run of a command,
    which belongs to no code location.
    """
    if run.remote_job_origin is None:
        return None
    repository = run.remote_job_origin.repository_origin
    location = repository.code_location_origin.location_name
    place = quote(f"{repository.repository_name}@{location}", safe="@")
    config = urlencode({"config": ready_made(partition, at)}, quote_via=quote)
    return f"/locations/{place}/jobs/{at.name(DECISION_JOB)}/playground/setup?{config}"


def _how(partition: str, at: Placement, run: dg.DagsterRun | None) -> str:
    path = run and launchpad(run, partition, at)
    link = f"[Open it in the launchpad]({path}).\n\n" if path else ""
    return (
        f"{link}Start the job `{at.name(DECISION_JOB)}` with this configuration and your name. "
        "`approve` applies the changes, `reject` keeps the rows `until` a date, by default for 30 "
        "days.\n\n"
        f"```yaml\n{ready_made(partition, at)}```\n\n"
        f"Or on the command line: `elt-assets quarantine approve {partition}`."
    )
