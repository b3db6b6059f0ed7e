from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import urllib3
from urllib3.exceptions import HTTPError

from elt_assets.demo.layout import DemoLayout
from elt_assets.errors import InvalidInput, NotFound
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.demo.reading import read_all, read_page, users_path
from elt_assets_tests.testbed.faulty_provider.chaos import FAULTS
from elt_assets_tests.testbed.faulty_provider.fault import ALWAYS, Family, Order, Plan, Suffered
from elt_assets_tests.testbed.faulty_provider.faulty_process import FaultyProvider

PEOPLE = IntegrationRef("demo-001", "people-001")
OTHERS = IntegrationRef("demo-001", "people-002")


@pytest.fixture(scope="module")
def provider() -> Iterator[FaultyProvider]:
    with FaultyProvider(DemoLayout(organizations=1, integrations=2, users=15)) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_ordered(provider: FaultyProvider) -> Iterator[None]:
    yield
    provider.lift_chaos(PEOPLE)


def suffer(provider: FaultyProvider, *orders: Order, seed: int = 1) -> None:
    provider.order_chaos(PEOPLE, Plan(list(orders), seed=seed))


def test_there_are_faults_of_every_family_and_far_more_than_forty() -> None:
    assert len(FAULTS) > 100
    assert {fault.family for fault in FAULTS.values()} == set(Family)


def test_every_fault_has_its_allowed_endings() -> None:
    silent = [name for name, fault in FAULTS.items() if not (fault.fleeting or fault.lasting)]
    idle = [
        name for name, fault in FAULTS.items() if not (fault.begin or fault.act or fault.single)
    ]
    assert (silent, idle) == ([], [])


def test_a_fault_happens_at_the_request_it_was_ordered_for_and_as_often(
    provider: FaultyProvider,
) -> None:
    suffer(provider, Order("status_503", at=2, times=2))
    statuses = [call_status(provider) for _ in range(4)]
    assert statuses == [200, 503, 503, 200]
    assert provider.lift_chaos(PEOPLE) == Suffered(requests=4, fired={"status_503": 2})


def test_other_integrations_are_not_affected(provider: FaultyProvider) -> None:
    suffer(provider, Order("status_503", times=ALWAYS))
    assert len(read_all(provider, OTHERS)) == 15


def test_once_lifted_the_people_are_as_they_were(provider: FaultyProvider) -> None:
    before = read_all(provider, PEOPLE)
    suffer(provider, Order("no_id", times=ALWAYS))
    assert read_all(provider, PEOPLE) != before
    provider.lift_chaos(PEOPLE)
    assert read_all(provider, PEOPLE) == before


def test_a_plan_changes_the_same_people_every_time(provider: FaultyProvider) -> None:
    def spoiled(seed: int) -> list[str]:
        suffer(provider, Order("no_id"), seed=seed)
        read_page(provider, PEOPLE)
        return provider.lift_chaos(PEOPLE).keys

    assert spoiled(7) == spoiled(7)
    assert len({str(spoiled(seed)) for seed in range(12)}) > 1


def test_a_fault_with_nothing_to_change_does_not_count(provider: FaultyProvider) -> None:
    suffer(provider, Order("cursor_cycle"))
    read_page(provider, PEOPLE, limit=1000)
    assert provider.lift_chaos(PEOPLE).fired == {}


def test_an_alias_of_a_cursor_leads_to_where_the_cursor_does(provider: FaultyProvider) -> None:
    before = read_all(provider, PEOPLE)
    suffer(provider, Order("odd_cursor", times=ALWAYS))
    assert read_all(provider, PEOPLE) == before
    assert "DROP TABLE" in read_page(provider, PEOPLE)["next"]


@pytest.mark.parametrize(
    "name", ["reset_before_the_answer", "reset_in_the_body", "chunks_cut", "not_http"]
)
def test_a_broken_connection_is_logged_without_a_status(
    provider: FaultyProvider, name: str
) -> None:
    provider.forget_requests()
    suffer(provider, Order(name))
    with pytest.raises((HTTPError, OSError)):
        call_status(provider)
    assert call_status(provider) == 200
    assert [request["status"] for request in provider.requests(PEOPLE)] == [0, 200]


def test_a_stalled_answer_ends_with_the_client(provider: FaultyProvider) -> None:
    suffer(provider, Order("stall"))
    with pytest.raises(HTTPError):
        call_status(provider, timeout=0.1)
    assert call_status(provider) == 200


def test_credentials_sent_to_another_host_name_are_counted(
    provider: FaultyProvider,
) -> None:
    suffer(provider, Order("redirect_elsewhere"))
    follow_redirects_as_no_client_should(provider)
    assert provider.lift_chaos(PEOPLE).strayed == 1


def test_a_plan_with_an_unknown_fault_is_refused(provider: FaultyProvider) -> None:
    with pytest.raises(InvalidInput, match="there is no fault 'gremlins'"):
        suffer(provider, Order("gremlins"))


def test_a_plan_for_an_integration_that_is_not_served_is_refused(
    provider: FaultyProvider,
) -> None:
    with pytest.raises(NotFound, match="no-one:none"):
        provider.order_chaos(IntegrationRef("no-one", "none"), Plan())


def call_status(provider: FaultyProvider, timeout: float = 20) -> int:
    with urllib3.PoolManager() as http:
        response = http.request(
            "GET",
            provider.url + users_path(PEOPLE),
            headers={"Authorization": f"Bearer {provider.token}"},
            timeout=timeout,
            retries=False,
            redirect=False,
        )
        return response.status


def follow_redirects_as_no_client_should(provider: FaultyProvider) -> None:
    with urllib3.PoolManager() as http:
        http.request(
            "GET",
            provider.url + users_path(PEOPLE),
            headers={"Authorization": f"Bearer {provider.token}"},
            retries=urllib3.Retry(redirect=1, remove_headers_on_redirect=[]),
        )


def test_a_packed_page_with_a_wrong_length_is_not_mistaken_for_a_page(
    provider: FaultyProvider,
) -> None:
    suffer(provider, Order("gzip"), Order("length_smaller_than_the_body"))
    with pytest.raises(json.JSONDecodeError):
        read_page(provider, PEOPLE)
    assert read_page(provider, PEOPLE)["items"]
