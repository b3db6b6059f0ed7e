"""The job `decide_quarantine`: approve or reject withheld changes from the launchpad or GraphQL.

`elt-assets quarantine` makes the same decisions on the command line. Dagster's web server has no
users: the claimed name of the person is recorded next to the user that a proxy names.
"""

# Dagster reads the annotations of decorated functions as they are, so nothing is postponed.
# ruff: noqa: I002

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum

import dagster as dg
from pydantic import Field

from elt_assets.errors import EltAssetsError, InvalidInput
from elt_assets.errors.foreign_text import visible
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.assets.quarantine_details import (
    DECISION_JOB,
    DECISION_STEP,
    approval_events,
    rejection_events,
)
from elt_assets.orchestration.assets.step_retries import ended_by_interruption
from elt_assets.orchestration.instance.proxy_user import proxy_user
from elt_assets.orchestration.placement import STANDALONE, Placement
from elt_assets.sync.service import REJECTION_LASTS, SyncService
from elt_assets.sync.state.actor import act_as, on_own_behalf

_LONGEST_NAME = 200
_SIGNED_IN = "(signed in as"
_ONCE = dg.RetryPolicy(max_retries=0)
"""A failed decision is not retried: a person repeats it."""


class QuarantineDecision(StrEnum):
    """What a person decides about withheld changes."""

    approve = "approve"
    reject = "reject"


class DecisionConfig(dg.Config):
    """The configuration of one decision; the page of a quarantined partition has it ready-made."""

    partition: str = Field(description="The integration, as ORG:ID.")
    decision: QuarantineDecision = Field(
        description="approve applies exactly the withheld changes; reject keeps the rows."
    )
    decided_by: str = Field(description="Your name, for the ledger and the audit log.")
    until: str | None = Field(
        default=None,
        description="When a rejection ends, such as 2027-01-31 or 2027-01-31T18:00 (UTC); in 30 "
        "days when unset.",
    )


def decisions_job(at: Placement = STANDALONE) -> dg.JobDefinition:
    """The job that carries out one decision."""

    @dg.op(
        name=at.step(DECISION_STEP),
        description="Applies or rejects the withheld changes of one integration.",
        retry_policy=at.retries_or(_ONCE),
        required_resource_keys=at.required,
    )
    def quarantine_decision(context: dg.OpExecutionContext, config: DecisionConfig) -> None:
        """Carry the decision out, and report the integration's tables as they are afterwards."""
        try:
            with ended_by_interruption(context), on_own_behalf():
                person = _person(config.decided_by, proxy_user(context.instance, context.run))
                for event in _decided(at.platform(context), config, person, at):
                    context.log_event(event)
        except EltAssetsError as error:
            raise dg.Failure(str(error), allow_retries=False) from None

    @dg.job(
        name=at.name(DECISION_JOB),
        executor_def=dg.in_process_executor,
        tags={**at.job_tags, "dagster/max_retries": "0"},
        description="Decides about the withheld changes of one integration: deletes, "
        "deactivations, lost values, changed keys. The page of a quarantined partition has the "
        "configuration.",
    )
    def decisions() -> None:
        quarantine_decision()

    return decisions


def _decided(
    platform: SyncService, config: DecisionConfig, person: str, at: Placement
) -> Iterator[dg.AssetMaterialization]:
    ref = IntegrationRef.parse(config.partition.strip())
    until = _moment(config.until)
    act_as(person)
    if config.decision is QuarantineDecision.approve:
        if until is not None:
            raise InvalidInput("until is for a rejection: an approval is carried out at once")
        yield from approval_events(platform.approve(ref, person), at)
        return
    until = until or datetime.now(UTC) + REJECTION_LASTS
    yield from rejection_events(platform.reject(ref, person, until), person, until, at)


def _person(claimed: str, authenticated: str | None) -> str:
    """Who decides, for the records: the name as claimed, and the proxy's user if there is one."""
    name = " ".join(visible(claimed).split())
    if not name or len(name) > _LONGEST_NAME:
        raise InvalidInput(
            "decided_by is empty: give your name"
            if not name
            else f"decided_by is longer than {_LONGEST_NAME} characters: give your name"
        )
    if _SIGNED_IN in name:
        raise InvalidInput(f"decided_by contains {_SIGNED_IN!r}: give your name alone")
    return f"{name} {_SIGNED_IN} {authenticated})" if authenticated else name


def _moment(text: str | None) -> datetime | None:
    """The moment that a person gave, in UTC unless the text has an offset."""
    if text is None or not text.strip():
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput(
            f"until is {visible(text, 40)!r}: give a date such as 2027-01-31, or 2027-01-31T18:00"
        ) from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
