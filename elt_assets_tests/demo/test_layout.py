from __future__ import annotations

import pytest

from elt_assets.demo.layout import DemoLayout
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef


def names(layout: DemoLayout) -> list[str]:
    return [str(ref) for ref in layout.worlds()]


def test_integrations_are_distributed_over_the_organizations() -> None:
    assert names(DemoLayout(organizations=2, integrations=5)) == [
        "demo-001:people-001",
        "demo-002:people-001",
        "demo-001:people-002",
        "demo-002:people-002",
        "demo-001:people-003",
    ]


def test_more_organizations_than_integrations_leave_some_without_any() -> None:
    assert names(DemoLayout(organizations=9, integrations=2)) == [
        "demo-001:people-001",
        "demo-002:people-001",
    ]


def test_others_are_served_with_their_own_numbers_of_users() -> None:
    layout = DemoLayout(integrations=1, users=5, others={"a:bc": 7, "ab:c": 0})
    assert layout.worlds() == {
        IntegrationRef("demo-001", "people-001"): 5,
        IntegrationRef("a", "bc"): 7,
        IntegrationRef("ab", "c"): 0,
    }


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"organizations": 0}, "organizations"),
        ({"integrations": -1}, "integrations"),
        ({"users": -1}, "users"),
        ({"page_size": 0}, "page size"),
        ({"page_size": 1001}, "page size"),
        ({"round": 0}, "round"),
        ({"others": {"a": 1}}, "'a' is not an integration"),
        ({"others": {"a:b": -1}}, "users of a:b"),
    ],
)
def test_a_parameter_out_of_range_is_named(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        DemoLayout(**wrong)  # type: ignore[arg-type]
