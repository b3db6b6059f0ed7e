"""A problem has one sentence: in the pages of the UI, in the alert and in `/health`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from elt_assets.errors import ProviderRefused
from elt_assets.errors.foreign_text import inert, markdown
from elt_assets.identifiers import IntegrationRef
from elt_assets.monitoring.health_report import report
from elt_assets.orchestration.alerts.issues import grouped, open_issues
from elt_assets.orchestration.assets.failed_partitions import failed_observation, failure_details
from elt_assets.orchestration.assets.fleet_report import page
from elt_assets.orchestration.assets.quarantine_details import MARK, quarantine_details
from elt_assets.orchestration.markdown import bullets
from elt_assets.sync.admin.fleet_state import fleet_state
from elt_assets.sync.admin.standing_checks import nothing_is_quarantined
from elt_assets.sync.outcome import Outcome
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people

REFUSED = (
    "page 1: http://127.0.0.1:8080/v1/acme/main/users answered 401 Unauthorized; "
    "check the token in file /run/token-17"
)


def refuse(world: World) -> None:
    world.fail_at[0] = ProviderRefused(REFUSED)


def lose_most(world: World) -> None:
    world.records = people(3)


def count_more(world: World) -> None:
    world.total = 300


def report_page(company: Company, _: Outcome) -> str:
    """The page of the asset `fleet_report`."""
    return page(fleet_state(company.platform.database, 26))


def page_of_the_failed_partition(company: Company, outcome: Outcome) -> str:
    details = failure_details(company.platform, USERS, outcome)
    return markdown(failed_observation(USERS, outcome, details).description or "")


def page_of_the_quarantined_partition(company: Company, outcome: Outcome) -> str:
    return markdown(quarantine_details(company.platform, outcome)[MARK])


def check_of_quarantines(company: Company, _: Outcome) -> str:
    return bullets(nothing_is_quarantined(company.platform, USERS).sample)


@pytest.mark.parametrize(
    ("trouble", "sentence", "places"),
    [
        (refuse, inert(REFUSED), (report_page, page_of_the_failed_partition)),
        (
            lose_most,
            "27 deletes wait for a decision",
            (page_of_the_quarantined_partition, check_of_quarantines),
        ),
        (count_more, "the provider counts 300 records and listed 30", (report_page,)),
    ],
)
def test_a_problem_has_the_same_sentence_everywhere(
    company: Company,
    trouble: Callable[[World], None],
    sentence: str,
    places: tuple[Callable[[Company, Outcome], str], ...],
) -> None:
    world = company.connect(ACME, World(people(30), total=30))
    company.connect(IntegrationRef("other", "main"), World(people(30)))
    company.sync()
    world.total = None
    trouble(world)
    outcome = company.sync(sync_id="s2")
    for place in places:
        assert markdown(sentence) in place(company, outcome), place
    alerts = [alert.text for alert in grouped(open_issues(company.platform).open)]
    assert [sentence in text for text in alerts] == [True], alerts
    found = report(company.platform.settings)
    reasons = [check.detail for check in found.checks if not check.ok]
    assert [alerts[0] in reason for reason in reasons] == [True], reasons
