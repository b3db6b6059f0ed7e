"""A failed integration's partition says why, to people and to programs."""

from __future__ import annotations

import dagster as dg
import msgspec

from elt_assets.errors.foreign_text import markdown
from elt_assets.monitoring.health_report import report
from elt_assets.orchestration.alerts.issues import grouped, open_issues
from elt_assets.orchestration.assets.failed_partitions import FAILURE_DETAILS, FailureDetails
from elt_assets.orchestration.assets.fleet_report import contents
from elt_assets_tests.testbed.fleet import TOKEN, Fleet


def details(observation: dg.AssetObservation) -> FailureDetails:
    return msgspec.convert(observation.metadata[FAILURE_DETAILS].value, FailureDetails)


def test_each_failed_integration_has_all_its_attempts(fleet: Fleet) -> None:
    keys = fleet.connect(3)
    fleet.directory.failures["dir-01"].extend([503, 404])
    run = fleet.run(keys)
    (observed,) = fleet.observations(run.run_id, of_partitions=True)
    told = details(observed)
    assert (observed.partition, told.partition) == (keys[1], keys[1])
    assert [one.attempt for one in told.attempts] == [1, 2]
    assert "503" in told.attempts[0].error
    assert "404" in told.attempts[1].error
    assert told.attempts[0].failed_at < told.attempts[1].failed_at
    assert not told.retryable
    assert TOKEN not in repr(observed)


def test_an_alert_the_health_report_and_the_fleet_report_quote_the_partitions_sentence(
    fleet: Fleet,
) -> None:
    fleet.connect(1)
    fleet.directory.failures["dir-00"].extend([403])
    run = fleet.run(fleet.keys)
    (observed,) = fleet.observations(run.run_id, of_partitions=True)
    sentence = observed.description
    assert sentence
    assert "/dir-00/users answered 403 Forbidden" in sentence
    (alert,) = grouped(open_issues(fleet.platform).open)
    assert sentence in alert.text
    assert sentence in "\n".join(report(fleet.settings).as_json()["reasons"])
    assert markdown(sentence) in contents(fleet.platform, 0)["report"].value


def test_dead_letters_are_reported_without_personal_data(fleet: Fleet) -> None:
    keys = fleet.connect(1)
    fleet.directory.people["dir-00"][:2] = [{"name": "Secret Person"}, {"name": "Secret Person"}]
    run = fleet.run(keys)
    (observed,) = fleet.observations(run.run_id, of_partitions=True)
    told = details(observed)
    assert told.rejected == 2
    assert "external_id" in told.dead_letters[0].reason
    assert "Secret Person" not in repr(observed)
