"""Asset checks of sign-in events over all loaded days. `signin_events.admin` has the queries."""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Iterator

import dagster as dg

from elt_assets.errors import EltAssetsError
from elt_assets.orchestration.assets.signin.signin_metadata import of_finding
from elt_assets.orchestration.assets.signin.signin_specs import GROUP, SIGNIN_EVENTS
from elt_assets.orchestration.assets.step_retries import REPORT_RETRIES, ended_by_interruption
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.signin_events.pipeline import EventPipeline
from elt_assets.signin_events.results import CheckResult

CHECKS = {
    "conformance": "Loaded events fit the declared schema, and few records are dead letters.",
    "duplicates": "No event of an organization is loaded twice.",
    "gaps": "No day between the first and the last extracted day is missing.",
    "volume": "The newest day has about as many events as the same weekday before.",
    "freshness": "The newest event is not older than ELT_ASSETS_STALE_HOURS.",
}
_ERRORS = {"duplicates"}
"""Checks that must never fail; the others are about days that may be right but unusual."""


def event_audit(at: Placement = STANDALONE) -> dg.AssetSpec:
    """The asset that has the standing checks of sign-in events."""
    return dg.AssetSpec(
        at.key(f"{SIGNIN_EVENTS.name}_audit"),
        deps=[at.key(SIGNIN_EVENTS.name)],
        group_name=at.group_or(GROUP),
        owners=list(at.owners),
        description="The standing checks of sign-in events over all loaded days, as they were "
        "last evaluated. Nothing materializes it; the job `standing_checks` evaluates its checks.",
    )


def event_checks(at: Placement = STANDALONE) -> dg.AssetChecksDefinition:
    """All standing checks of `signin_events`, computed together."""
    audited = event_audit(at).key

    @dg.multi_asset_check(
        name=at.step("check_signin_events"),
        description="Audits the loaded sign-in events of every day.",
        specs=[
            dg.AssetCheckSpec(name=name, asset=audited, description=description)
            for name, description in CHECKS.items()
        ],
        can_subset=True,
        retry_policy=at.retries_or(REPORT_RETRIES),
        required_resource_keys=at.required,
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        with ended_by_interruption(context), EventPipeline(at.platform(context)) as events:
            for name in CHECKS:
                if name in selected:
                    yield _result(audited, name, _finding(events, name))

    return checks


def _finding(events: EventPipeline, name: str) -> CheckResult:
    """The finding of a check; a check that cannot run has not passed."""
    try:
        return events.check(name)
    except EltAssetsError as error:
        return CheckResult(check=name, passed=False, message=str(error))


def _result(audited: dg.AssetKey, name: str, finding: CheckResult) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=audited,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.ERROR if name in _ERRORS else dg.AssetCheckSeverity.WARN,
        description=finding.message,
        metadata=of_finding(finding),
    )
