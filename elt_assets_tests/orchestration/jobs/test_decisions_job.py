"""A quarantine is found on its partition's page, and decided with the configuration shown there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
import yaml

from elt_assets.cli.main import Invocation, run
from elt_assets.orchestration.assets.table_specs import asset_key
from elt_assets.sync.outcome import Stage, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.testbed.fleet import QUIET, Fleet, opened_fleet, person


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Two integrations; the listing of the first is suddenly empty."""
    with opened_fleet(monkeypatch) as opened:
        keys = opened.connect(2)
        opened.run(keys)
        opened.directory.people["dir-00"] = []
        assert opened.run(keys).success
        yield opened


def page(fleet: Fleet, key: str) -> dict[str, Any]:
    """The metadata that the page of a partition of users_latest shows."""
    records = fleet.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key(USERS, Stage.LATEST), asset_partitions=[key]), limit=1
    ).records
    event = records[0].asset_materialization
    assert event
    return {label: value.value for label, value in event.metadata.items()}


def configuration(fleet: Fleet, key: str, **changed: object) -> dict[str, Any]:
    """The ready-made configuration of the page, as a person completes it."""
    found = re.search("```yaml\n(.*?)```", page(fleet, key)["decide"], re.DOTALL)
    assert found
    ready: dict[str, Any] = yaml.safe_load(found[1])
    ready["ops"]["quarantine_decision"]["config"] |= {"decided_by": "Ada", **changed}
    return ready


def decide(fleet: Fleet, config: dict[str, Any]) -> dg.ExecuteInProcessResult:
    job = fleet.definitions().resolve_job_def("decide_quarantine")
    return job.execute_in_process(
        instance=fleet.instance, run_config={**QUIET, **config}, raise_on_error=False
    )


def refusal(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.filter_events(lambda event: event.is_step_failure)
    return str(event.step_failure_data.error_display_string)


def test_the_page_shows_the_mark_the_reasons_and_whom_it_is_about(fleet: Fleet) -> None:
    shown = page(fleet, fleet.keys[0])
    assert shown["quarantine"] == "3 deletes wait for a decision"
    assert shown["withheld_because"].startswith("- ")
    changes = shown["withheld_changes"]
    assert all(f"| DELETE | u-{n} |" in changes for n in range(3))
    assert "Person" not in changes, "values only where they are switched on"
    assert "quarantine" not in page(fleet, fleet.keys[1])


def test_values_are_shown_where_that_is_switched_on(fleet: Fleet) -> None:
    settings = fleet.settings.model_copy(update={"show_personal_values": True})
    with SyncService.open(settings) as platform:
        fleet.platform = platform
        fleet.run(fleet.keys[:1])
        assert "Person 1" in page(fleet, fleet.keys[0])["withheld_changes"]


def test_an_approval_applies_the_changes_and_ends_the_mark(fleet: Fleet) -> None:
    key = fleet.keys[0]
    assert decide(fleet, configuration(fleet, key)).success
    assert fleet.names(key) == []
    shown = page(fleet, key)
    assert "quarantine" not in shown
    assert (shown["status"], shown["deleted"]) == (Status.APPLIED, 3)
    (row,) = [row for row in fleet.platform.syncs(fleet.refs[0]) if row.decision]
    assert (row.decision, row.decided_by) == ("approved", "Ada")
    (entry,) = [one for one in fleet.platform.audit_log.entries() if one.action == "approve"]
    assert entry.acting_as == "Ada"


def test_a_rejection_keeps_the_rows_until_its_date(fleet: Fleet) -> None:
    key = fleet.keys[0]
    config = configuration(fleet, key, decision="reject", until="2127-01-31")
    assert decide(fleet, config).success
    assert len(fleet.names(key)) == 3
    (rejected,) = fleet.platform.rejections(fleet.refs[0])
    assert datetime.fromisoformat(rejected["until"]) == datetime(2127, 1, 31, tzinfo=UTC)
    shown = page(fleet, key)
    assert shown["decision"].startswith("rejected by Ada, until 2127-01-31 00:00 UTC")
    assert "quarantine" not in shown


MISTAKES = [
    ({"decided_by": "  "}, "decided_by is empty: give your name"),
    ({"decided_by": "Ada (signed in as eve)"}, "give your name alone"),
    ({"partition": "nobody:here"}, "nobody:here"),
    ({"partition": "nonsense"}, "'nonsense' is not an integration"),
    ({"decision": "reject", "until": "soon"}, "until is 'soon': give a date"),
    ({"decision": "reject", "until": "2020-01-01"}, "has ended already"),
    ({"until": "2127-01-31"}, "until is for a rejection"),
]


def test_a_mistake_is_one_line_and_decides_nothing(fleet: Fleet) -> None:
    for changed, why in MISTAKES:
        result = decide(fleet, configuration(fleet, fleet.keys[0], **changed))
        assert why in refusal(result)
        assert len(fleet.platform.quarantined()) == 1, why


def test_a_decision_by_command_ends_the_mark_too(fleet: Fleet) -> None:
    key = fleet.keys[0]
    assert run(["quarantine", "reject", key, "--as", "Ada"], Invocation()) == 0
    shown = page(fleet, key)
    assert "quarantine" not in shown
    assert shown["decision"].startswith("rejected by Ada")
    assert run(["quarantine", "reopen", key], Invocation()) == 0
    fleet.run([key])
    assert "quarantine" in page(fleet, key)
    assert run(["quarantine", "approve", key], Invocation()) == 0
    assert page(fleet, key)["status"] == Status.APPLIED


def test_what_is_decided_cannot_be_decided_again(fleet: Fleet) -> None:
    config = configuration(fleet, fleet.keys[0], decision="reject")
    assert decide(fleet, config).success
    assert f"{fleet.keys[0]}: " in refusal(decide(fleet, config))


def test_a_decided_quarantine_that_is_reported_again_has_no_mark(fleet: Fleet) -> None:
    key = fleet.keys[0]
    fleet.platform.reject(fleet.refs[0], "ada")
    only = {"ops": {"sync_users": {"config": {"only_unsettled": True}}}}
    fleet.run([key], config=only)
    assert "quarantine" not in page(fleet, key)
    fleet.directory.people["dir-00"] = [person(n) for n in range(3)]
    fleet.run([key])
    assert page(fleet, key)["status"] == Status.UNCHANGED
