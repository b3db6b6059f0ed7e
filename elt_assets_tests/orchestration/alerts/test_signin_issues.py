"""Alerts about days of sign-in events: what their runs say, said once, and when it is over."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from elt_assets.orchestration.alerts.issues import Issue, changes_since, grouped, reported_after
from elt_assets.orchestration.alerts.signin_issues import signin_issues
from elt_assets.orchestration.names import SIGNIN_JOB
from elt_assets.orchestration.partitions import PARTITION_TAG
from elt_assets.orchestration.placement import STANDALONE

CSV_ONLY = frozenset({dg.AssetKey("csv_events")})


class Days:
    """Runs of days in an instance, and what is said of them from one look to the next."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.said: list[Issue] = []

    def run(
        self,
        day: str,
        error: str | None = None,
        *,
        status: dg.DagsterRunStatus | None = None,
        only: frozenset[dg.AssetKey] | None = None,
    ) -> None:
        """A run of the day that ended, with that error if there is one."""

        @dg.op(name="api_events")
        def step() -> None:
            if error is not None:
                raise dg.Failure(error, allow_retries=False)

        @dg.job(name=SIGNIN_JOB, tags=STANDALONE.tags)
        def job() -> None:
            step()

        result = job.execute_in_process(
            instance=self.instance, tags={PARTITION_TAG: day}, raise_on_error=False
        )
        run = result.dagster_run
        if status is None and only is None:
            return
        self.instance.delete_run(run.run_id)
        self.instance.add_run(
            dg.DagsterRun(
                SIGNIN_JOB,
                run.run_id,
                status=status or run.status,
                tags=run.tags,
                asset_selection=only,
            )
        )

    def look(self) -> list[str]:
        """What is newly said."""
        now = signin_issues(self.instance, self.said)
        new, over = changes_since(self.said, now)
        self.said = reported_after(self.said, new, over)
        return [alert.text for alert in grouped([*new, *over])]


@pytest.fixture
def days() -> Iterator[Days]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Days(instance)


def test_days_that_failed_for_one_reason_are_one_message_sent_once(days: Days) -> None:
    for day in ("2026-03-01", "2026-03-02"):
        days.run(day, f"acme:crm: page 3 of {day} answered 401 Unauthorized")
    days.run("2026-03-03")
    assert days.look() == [
        "event day: 2 days (2026-03-01, 2026-03-02): "
        "api_events: acme:crm: page … of … answered 401 Unauthorized"
    ]
    assert days.look() == []
    days.run("2026-03-01", "something else")
    assert days.look() == []


def test_an_issue_of_a_day_ends_when_the_day_is_repaired(days: Days) -> None:
    days.run("2026-03-01", "answered 500")
    days.look()
    days.run("2026-03-01", status=dg.DagsterRunStatus.STARTED)
    assert days.look() == []
    days.run("2026-03-01", status=dg.DagsterRunStatus.CANCELED)
    assert days.look() == []
    days.run("2026-03-01", only=CSV_ONLY)
    assert days.look() == []
    days.run("2026-03-01")
    (text,) = days.look()
    assert text.startswith("recovered: 1 day (2026-03-01)")
    assert days.look() == []


def test_a_day_whose_runs_are_deleted_has_not_recovered(days: Days) -> None:
    days.run("2026-03-01", "answered 500")
    days.look()
    for run in days.instance.get_runs():
        days.instance.delete_run(run.run_id)
    assert days.look() == []
    days.run("2026-03-01", status=dg.DagsterRunStatus.CANCELED)
    assert days.look() == []
    days.run("2026-03-01")
    assert days.look()[0].startswith("recovered")


def test_files_that_failed_alone_are_repaired_alone(days: Days) -> None:
    days.run("2026-03-01", only=CSV_ONLY, status=dg.DagsterRunStatus.FAILURE)
    assert len(days.look()) == 1
    days.run("2026-03-01", only=CSV_ONLY)
    assert days.look()[0].startswith("recovered")
