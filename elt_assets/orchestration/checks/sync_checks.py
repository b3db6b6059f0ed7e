"""Standing asset checks: one for each audit of `sync.admin.audit`, over all integrations.

Dagster's own partitioned checks and freshness policies read only an asset's last event, where one
fresh integration would hide all stale ones.

The checks belong to assets that nothing materializes. Dagster plans the checks of a table with
every run of the table in its implicit job ("Materialize", backfills), and hides what a check found
once the table has a newer materialization: any sync of one integration would hide all results.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Iterator

import dagster as dg

from elt_assets.orchestration.assets.table_specs import OWNER, asset_key
from elt_assets.orchestration.checks.signin_checks import EVENT_AUDIT
from elt_assets.orchestration.markdown import bullet_list
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.sync.admin import audit
from elt_assets.sync.admin.audit import Audit, AuditResult
from elt_assets.sync.outcome import Stage
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import STREAMS, Stream

_SEVERITIES = {
    **dict.fromkeys(audit.ERRORS, dg.AssetCheckSeverity.ERROR),
    **dict.fromkeys(audit.WARNINGS, dg.AssetCheckSeverity.WARN),
}


def audit_spec(stream: Stream) -> dg.AssetSpec:
    """The asset that has the standing checks of one stream."""
    return dg.AssetSpec(
        f"{stream.name}_audit",
        deps=[asset_key(stream, Stage.LATEST)],
        group_name=stream.name,
        owners=[OWNER],
        description=f"The standing checks of {stream.name} over all integrations, as they were "
        "last evaluated. Nothing materializes it; the job `standing_checks` evaluates its checks.",
    )


def stream_checks(stream: Stream) -> dg.AssetChecksDefinition:
    """All standing checks of one stream, computed together."""
    audited = audit_spec(stream).key

    @dg.multi_asset_check(
        name=f"check_{stream.name}",
        description=f"Audits {stream.name} of every integration.",
        specs=[
            dg.AssetCheckSpec(name=name_of(check), asset=audited, description=_description(check))
            for check in _SEVERITIES
        ],
        can_subset=True,
    )
    def checks(
        context: dg.AssetCheckExecutionContext, platform: dg.ResourceParam[SyncService]
    ) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        for check, severity in _SEVERITIES.items():
            if name_of(check) in selected:
                yield _result(check(platform, stream), audited, severity)

    return checks


def name_of(check: Audit) -> str:
    """The name of the check, which is that of the audit."""
    return str(getattr(check, "__name__", check))


check_job = dg.define_asset_job(
    "standing_checks",
    selection=dg.AssetSelection.checks_for_assets(
        *(audit_spec(stream).key for stream in STREAMS.values()), EVENT_AUDIT.key
    ),
    executor_def=dg.in_process_executor,
    tags=STANDALONE.tags,
    description="Runs every standing check over all integrations.",
)


def daily_checks() -> dg.ScheduleDefinition:
    """The daily run of all checks, an hour after the daily sync; on by default."""
    return dg.ScheduleDefinition(
        name="daily_checks",
        job=check_job,
        cron_schedule="20 6 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
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
            "sample": bullet_list(finding.sample),
        },
    )
