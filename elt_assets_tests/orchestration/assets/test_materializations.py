"""What Dagster is told about outcomes, without Dagster running anything."""

from __future__ import annotations

from typing import Any

import pytest

from elt_assets.orchestration.assets.materializations import failure, materializations, summary
from elt_assets.sync.outcome import Certificate, Counts, Mode, Outcome, Stage, Status
from elt_assets.sync.streams import USERS

TABLES = {
    Stage.STAGING: "users_staging",
    Stage.CDC: "users_cdc",
    Stage.LATEST: "users_latest",
}


def outcome(status: Status = Status.APPLIED, key: str = "acme:okta", **fields: Any) -> Outcome:
    return Outcome(partition=key, stream="users", sync_id="s-1", status=status, **fields)


def tables(reported: Outcome, selected: list[Stage] | None = None) -> list[str]:
    events = materializations(USERS, reported, selected or list(Stage))
    assert {event.partition for event in events} <= {reported.partition}
    return [event.asset_key.to_user_string() for event in events]


def metadata(reported: Outcome, stage: Stage) -> dict[str, Any]:
    (event,) = materializations(USERS, reported, [stage])
    return {name: value.value for name, value in event.metadata.items()}


@pytest.mark.parametrize("status", [status for status in Status if status.settled])
def test_a_settled_sync_is_reported_for_every_table(status: Status) -> None:
    assert tables(outcome(status)) == list(TABLES.values())


@pytest.mark.parametrize("status", [Status.FAILED, Status.EXTRACTING])
@pytest.mark.parametrize("reached", [None, *Stage])
def test_an_unsettled_sync_is_reported_up_to_its_last_stage(
    status: Status, reached: Stage | None
) -> None:
    filled = [] if reached is None else list(Stage)[: list(Stage).index(reached) + 1]
    assert tables(outcome(status, reached=reached)) == [TABLES[stage] for stage in filled]


def test_tables_that_were_not_selected_are_not_reported() -> None:
    assert tables(outcome(), [Stage.CDC]) == ["users_cdc"]


def test_row_counts_are_those_of_each_table() -> None:
    counts = Counts(fetched=12, staged=10, inserts=3, updates=2, deletes=1, latest=40)
    reported = outcome(counts=counts)
    assert [metadata(reported, stage)["dagster/row_count"] for stage in Stage] == [10, 6, 40]


def test_the_certificate_gives_every_reason_why_it_is_not_complete() -> None:
    certificate = Certificate(
        reasons=("the page cap was reached", "a record had no readable key"),
        declared_total=7,
        unreadable_keys=1,
    )
    text = metadata(outcome(certificate=certificate), Stage.STAGING)["certificate"]
    for part in ("Not complete", "declares 7", "1 records have no", *certificate.reasons):
        assert part in text


def test_a_listing_says_whether_it_is_complete_and_how_much_it_covers() -> None:
    certificate = Certificate(
        reasons=("10 keys came on more than one page", "the provider counts 40 records"),
        declared_total=40,
        distinct=30,
    )
    counts = Counts(requests=7)
    facts = metadata(outcome(certificate=certificate, counts=counts), Stage.STAGING)
    assert (facts["complete"], facts["coverage"], facts["requests"]) == (0, 0.75, 7)
    assert facts["why_incomplete"] == "; ".join(certificate.reasons)
    whole = Certificate(complete=True, declared_total=40, distinct=40)
    facts = metadata(outcome(certificate=whole), Stage.STAGING)
    assert (facts["complete"], facts["coverage"], "why_incomplete" in facts) == (1, 1.0, False)


@pytest.mark.parametrize(
    "reported", [outcome(Status.FAILED, reached=Stage.STAGING), outcome(mode=Mode.COMPENSATING)]
)
def test_a_sync_without_a_listing_reports_none_as_incomplete(reported: Outcome) -> None:
    facts = metadata(reported, Stage.STAGING)
    assert not {"complete", "why_incomplete", "coverage"} & facts.keys()
    assert "incomplete" not in summary([reported])


def test_every_kind_of_change_that_was_not_applied_is_counted() -> None:
    counts = Counts(
        withheld_deletes=1, withheld_updates=2, withheld_inserts=3, pending_deletes=4, kept_rows=5
    )
    for stage in (Stage.CDC, Stage.LATEST):
        facts = metadata(outcome(counts=counts), stage)
        names = ("withheld_deletes", "withheld_updates", "withheld_inserts", "pending", "kept")
        assert [facts[name] for name in names] == [1, 2, 3, 4, 5]


def test_the_summary_counts_incomplete_listings_and_every_withheld_change() -> None:
    counts = Counts(withheld_deletes=1, withheld_updates=2, withheld_inserts=3)
    whole = Certificate(complete=True)
    line = summary([outcome(counts=counts), outcome(counts=counts, certificate=whole)])
    assert line.endswith("12 changes withheld; 1 listings incomplete")


def test_reasons_for_withheld_deletes_stand_with_the_changes() -> None:
    reported = outcome(Status.QUARANTINED, reasons=("everybody would be deleted",))
    assert "everybody would be deleted" in metadata(reported, Stage.CDC)["reasons"]


def test_a_key_cannot_write_markup_into_the_page() -> None:
    sample = (
        {"change_type": "INSERT", "external_id": "<b>|\n[x](http://evil)", "fields": ["name"]},
    )
    rows = str(metadata(outcome(sample=sample), Stage.CDC)["sample"]).splitlines()
    assert len(rows) == 3
    assert rows[2] == r"| INSERT | \<b\>\| \[x\]\(http\[:\]//evil\) | name |"


def test_no_changes_and_missing_samples_are_distinguished() -> None:
    assert metadata(outcome(), Stage.CDC)["sample"] == "no changes"
    recorded = outcome(counts=Counts(inserts=3), recorded=True)
    assert "sample" not in metadata(recorded, Stage.CDC)


def test_only_a_sync_with_failures_fails() -> None:
    assert failure([]) is None
    assert failure([outcome(status) for status in Status if status is not Status.FAILED]) is None


@pytest.mark.parametrize(
    ("retryable", "retried"),
    [([False, False], False), ([True, False], True), ([True, True], True)],
)
def test_a_run_is_retried_if_that_can_help_one_integration(
    retryable: list[bool], retried: bool
) -> None:
    failed = failure(
        [outcome(Status.FAILED, retryable=can_help, error="no") for can_help in retryable]
    )
    assert failed is not None
    assert failed.allow_retries is retried


def test_the_failure_names_each_integration_once_and_why() -> None:
    failed = failure(
        [
            outcome(Status.FAILED, "acme:okta", error="acme:okta: 401, the token is refused"),
            outcome(Status.FAILED, "acme:scim", error="page 3\nis not JSON"),
            outcome(),
        ]
    )
    assert failed is not None
    assert failed.description == (
        "2 of 3 integrations failed; the others are settled.\n"
        "acme:okta: 401, the token is refused\n"
        "acme:scim: page 3 is not JSON"
    )


def test_a_failure_of_a_thousand_integrations_stays_readable() -> None:
    failed = failure(
        [outcome(Status.FAILED, f"acme:{number}", error="down") for number in range(1000)]
    )
    assert failed is not None
    lines = (failed.description or "").splitlines()
    assert lines[0] == "1000 of 1000 integrations failed."
    assert lines[-1] == "… and 980 more"
    assert len(lines) == 22


def test_the_summary_counts_how_integrations_ended() -> None:
    counts = Counts(inserts=2, updates=1, deletes=1, withheld_deletes=3)
    applied = outcome(counts=counts, certificate=Certificate(complete=True))
    line = summary([applied, outcome(Status.FAILED), applied])
    assert line == (
        "3 integrations: 2 applied, 1 failed; 4 inserted, 2 updated, 2 deleted, 6 changes withheld"
    )
