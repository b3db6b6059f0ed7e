"""Standing asset checks: one for each of `sync.admin.standing_checks`, over all integrations.

Dagster's own partitioned checks and freshness policies read only an asset's last event, where one
fresh integration would hide all stale ones.

The checks belong to assets that nothing materializes. Dagster plans the checks of a table with
every run of the table in its implicit job ("Materialize", backfills), and hides what a check found
once the table has a newer materialization: any sync of one integration would hide all results.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Iterator
from functools import cache
from typing import Any

import dagster as dg

from elt_assets.orchestration.assets.step_retries import REPORT_RETRIES, ended_by_interruption
from elt_assets.orchestration.checks.signin_checks import event_audit
from elt_assets.orchestration.jobs.sync_jobs import Job, Urgency
from elt_assets.orchestration.markdown import bullet_list
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.admin import standing_checks
from elt_assets.sync.admin.standing_checks import Audit, AuditResult
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import Stream

_SEVERITIES = {
    **dict.fromkeys(standing_checks.ERRORS, dg.AssetCheckSeverity.ERROR),
    **dict.fromkeys(standing_checks.WARNINGS, dg.AssetCheckSeverity.WARN),
}

EVERYTHING = "everything"
_EVERYTHING_IS = (
    "Read every warehouse, including those that have not changed since they last passed. "
    "Otherwise such a warehouse is read within seven days."
)


def audit_spec(stream: Stream, at: Placement = STANDALONE) -> dg.AssetSpec:
    """The asset that has the standing checks of one stream."""
    return dg.AssetSpec(
        at.key(f"{stream.name}_audit"),
        deps=[at.table(stream, Stage.LATEST)],
        group_name=at.group_or(stream.name),
        owners=list(at.owners),
        description=f"The standing checks of {stream.name} over all integrations, as they were "
        "last evaluated. Nothing materializes it; the job `standing_checks` evaluates its checks.",
    )


def stream_checks(stream: Stream, at: Placement = STANDALONE) -> dg.AssetChecksDefinition:
    """All standing checks of one stream, computed together."""
    audited = audit_spec(stream, at).key

    @dg.multi_asset_check(
        name=at.step(f"check_{stream.name}"),
        description=f"Audits {stream.name} of every integration.",
        specs=[
            dg.AssetCheckSpec(name=name_of(check), asset=audited, description=_description(check))
            for check in _SEVERITIES
        ],
        can_subset=True,
        retry_policy=at.retries_or(REPORT_RETRIES),
        required_resource_keys=at.required,
        config_schema={EVERYTHING: dg.Field(bool, False, description=_EVERYTHING_IS)},
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        names = {key.name for key in context.selected_asset_check_keys}
        selected = [check for check in _SEVERITIES if name_of(check) in names]
        everything = context.op_execution_context.op_config[EVERYTHING]
        with ended_by_interruption(context):
            for check, finding in standing_checks.evaluate(
                at.platform(context), stream, selected, everything=everything
            ):
                yield _result(finding, audited, _SEVERITIES[check])

    return checks


def reading_everything(at: Placement = STANDALONE) -> dict[str, Any]:
    """The run config with which the checks read every warehouse, whether or not it changed."""
    config = {"config": {EVERYTHING: True}}
    return {"ops": {at.step(f"check_{stream.name}"): config for stream in at.streams}}


def name_of(check: Audit) -> str:
    """The name of the check, which is that of the audit."""
    return str(getattr(check, "__name__", check))


def audit_specs(at: Placement = STANDALONE) -> list[dg.AssetSpec]:
    """The assets that have standing checks."""
    events = [event_audit(at)] if at.events else []
    return [*(audit_spec(stream, at) for stream in at.streams), *events]


@cache
def check_job(at: Placement = STANDALONE) -> Job:
    """The job that runs all standing checks."""
    return dg.define_asset_job(
        at.name("standing_checks"),
        selection=dg.AssetSelection.checks_for_assets(*(spec.key for spec in audit_specs(at))),
        executor_def=dg.in_process_executor,
        tags=at.job_tags,
        description="Runs every standing check over all integrations.",
    )


def daily_checks(at: Placement = STANDALONE) -> dg.ScheduleDefinition:
    """The daily run of all checks, an hour after the daily sync."""
    return dg.ScheduleDefinition(
        name=at.name("daily_checks"),
        job=check_job(at),
        cron_schedule="20 6 * * *",
        execution_timezone="UTC",
        default_status=at.schedules_are,
        tags=Urgency.NIGHTLY.tags,
        description="Runs the standing checks daily at 06:20 UTC.",
    )


def _description(check: Audit) -> str:
    return " ".join((check.__doc__ or "").split())


def _result(
    finding: AuditResult, asset: dg.AssetKey, severity: dg.AssetCheckSeverity
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=finding.audit,
        asset_key=asset,
        passed=finding.passed,
        severity=severity,
        metadata={
            "looked_at": finding.looked_at,
            "offending": finding.offending,
            "not_due": finding.not_due,
            "sample": bullet_list(finding.sample),
        },
    )
