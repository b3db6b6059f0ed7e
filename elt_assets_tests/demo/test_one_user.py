"""A single user over HTTP: there, gone, or brought by an edit under an id of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.process import ProviderProcess
from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.demo.reading import call

REF = IntegrationRef("demo-001", "people-001")


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderProcess]:
    with ProviderProcess(DemoLayout(organizations=1, integrations=1, users=20)) as running:
        yield running


def status_of(provider: ProviderProcess, user_id: str) -> int:
    answer = call(provider, f"/v1/demo-001/people-001/users/{user_id}")
    return answer.status


def test_every_listed_user_can_be_requested(provider: ProviderProcess) -> None:
    for person in provider.truth(REF):
        assert status_of(provider, person["external_id"]) == 200


def test_a_user_who_left_or_never_existed_is_not_found(provider: ProviderProcess) -> None:
    gone = provider.truth(REF)[0]["external_id"]
    provider.edit(REF, remove=[gone])
    assert status_of(provider, gone) == 404
    assert status_of(provider, "u-999999") == 404
    assert status_of(provider, "nobody") == 404


def test_a_record_with_a_replaced_id_is_found(provider: ProviderProcess) -> None:
    provider.edit(REF, add=[{"id": "somebody-else", "status": "ACTIVE"}])
    assert status_of(provider, "somebody-else") == 200


def test_a_group_exists_while_it_has_members(provider: ProviderProcess) -> None:
    groups = call(provider, "/v1/demo-001/people-001/groups").body["data"]["items"]
    for group in groups:
        answer = call(provider, f"/v1/demo-001/people-001/groups/{group['id']}")
        assert (answer.status, answer.body) == (200, group)
    assert call(provider, "/v1/demo-001/people-001/groups/none").status == 404
