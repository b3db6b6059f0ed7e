"""Standing asset checks: one for each audit of `sync.admin.audit`, over all integrations.

Dagster's own partitioned checks and freshness policies read an asset's last event, where one fresh
integration would hide all stale ones.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Iterator

import dagster as dg

from elt_assets.foreign_text import markdown
from elt_assets.orchestration.assets.signin.signin_specs import SIGNIN_EVENTS
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.sync.admin import audit
from elt_assets.sync.admin.audit import Audit, AuditResult
from elt_assets.sync.outcome import Stage
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import STREAMS, Stream

_SEVERITIES = {
    **dict.fromkeys(audit.ERRORS, dg.AssetCheckSeverity.ERROR),
    **dict.fromkeys(audit.WARNINGS, dg.AssetCheckSeverity.WARN),
}


def stream_checks(stream: Stream) -> dg.AssetChecksDefinition:
    """All standing checks of one stream, computed together."""
    latest = asset_key(stream, Stage.LATEST)

    @dg.multi_asset_check(
        name=f"check_{stream.name}",
        description=f"Audits {stream.name} of every integration.",
        specs=[
            dg.AssetCheckSpec(name=name_of(asked), asset=latest, description=_description(asked))
            for asked in _SEVERITIES
        ],
        can_subset=True,
    )
    def checks(
        context: dg.AssetCheckExecutionContext, platform: dg.ResourceParam[SyncService]
    ) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        for asked, severity in _SEVERITIES.items():
            if name_of(asked) in selected:
                yield _result(asked(platform, stream), latest, severity)

    return checks


def name_of(asked: Audit) -> str:
    """The check's name: the audit's."""
    return str(getattr(asked, "__name__", asked))


check_job = dg.define_asset_job(
    "standing_checks",
    selection=dg.AssetSelection.checks_for_assets(
        *(asset_key(stream, Stage.LATEST) for stream in STREAMS.values()), SIGNIN_EVENTS.key
    ),
    executor_def=dg.in_process_executor,
    description="Runs every standing check over all integrations.",
)


def daily_checks() -> dg.ScheduleDefinition:
    """The daily run of all checks, an hour after the daily sync; it runs unless stopped."""
    return dg.ScheduleDefinition(
        name="daily_checks",
        job=check_job,
        cron_schedule="20 6 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Runs the standing checks daily at 06:20 UTC.",
    )


def _description(asked: Audit) -> str:
    return " ".join((asked.__doc__ or "").split())


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
            "sample": dg.MetadataValue.md(
                "\n".join(f"- {markdown(line)}" for line in finding.sample) or "none"
            ),
        },
    )
