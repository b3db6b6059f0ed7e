"""One page looked at before anything is trusted to a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from elt_assets.errors import NotFound, ProviderRefused
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.extract.preview import Preview, warnings
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person


def page(
    *records: dict[str, Any],
    rejected: list[dict[str, Any]] | None = None,
    has_more: bool = False,
    total: int | None = None,
    wanted: int | None = None,
) -> Preview:
    """A page with these records as they were mapped."""
    letters = rejected or []
    return Preview(
        count=len(records) + len(letters),
        has_more=has_more,
        declared_total=total,
        records=list(records),
        rejected=letters,
        wanted=wanted,
    )


def user(number: int, **values: Any) -> dict[str, Any]:
    known = {"external_id": f"u-{number}", "name": f"Ada {number}", "email": f"a{number}@x"}
    return known | {"attributes": {}} | values


def test_a_preview_shows_the_first_page_as_it_would_be_mapped(company: Company) -> None:
    records: list[Any] = [
        person(0, updated="2026-01-01T02:00:00+02:00"),
        person(1, name=[]),
        {"name": "Nobody"},
        *people(20)[3:],
    ]
    company.connect(world=World(records, page_size=4, total=20))
    found = company.platform.preview(USERS, ACME)
    assert (found.count, found.has_more, found.declared_total) == (4, True, 20)
    assert found.records[0] == {
        "external_id": "u-0000",
        "name": "Person 0",
        "email": "p0@example.com",
        "active": True,
        "attributes": {"team": "blue"},
        "source_updated_at": "2026-01-01 00:00:00",
    }
    assert [record["external_id"] for record in found.records] == ["u-0000", "u-0003"]
    assert found.rejected == [
        {"key": "u-0001", "reason": "name is a list, not text"},
        {"key": None, "reason": "external_id is missing or not usable as a key"},
    ]


def test_a_preview_asks_for_one_page_and_writes_nothing(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.platform.preview(USERS, ACME)
    assert world.served == [0]
    assert not company.platform.warehouses.exists(ACME)
    assert company.platform.syncs(ACME) == []
    assert company.users() == {}


def test_a_preview_leaves_a_synced_integration_as_it_was(company: Company) -> None:
    world = company.connect(world=World(people(30)))
    company.sync()
    before = company.platform.records(USERS, ACME), company.platform.changes(USERS, ACME)
    world.records = people(2)
    assert company.platform.preview(USERS, ACME).count == 2
    assert (company.platform.records(USERS, ACME), company.platform.changes(USERS, ACME)) == before


def test_a_preview_tells_what_the_provider_says(company: Company) -> None:
    world = company.connect(world=World(people(3)))
    world.fail_at[0] = ProviderRefused("page 1: 401 Unauthorized")
    with pytest.raises(ProviderRefused, match="401"):
        company.platform.preview(USERS, ACME)


def test_a_preview_of_nobody_says_that_there_is_none(company: Company) -> None:
    with pytest.raises(NotFound, match="not registered"):
        company.platform.preview(USERS, IntegrationRef("no", "body"))


def test_a_page_that_is_in_order_has_no_warning() -> None:
    assert warnings(USERS, page(user(1), user(2), user(3)), ["external_id", "name", "email"]) == []


@pytest.mark.parametrize(
    ("preview", "warning"),
    [
        (page(), "the page holds no records; check records, or the directory is empty"),
        (
            page(user(1), rejected=[{"key": None, "reason": "no id"}]),
            "1 of 2 have no usable id; check fields.external_id",
        ),
        (
            page(user(1), rejected=[{"key": "u-2", "reason": "bad name"}]),
            "1 of 2 are rejected for another reason",
        ),
        (
            page(user(1), user(1), user(2)),
            "3 records share 2 ids; check that fields.external_id is what identifies a record",
        ),
        (
            page(user(1, name=None), user(2, name="")),
            "name is empty in every record; check fields.name",
        ),
        (
            page(user(1), user(2, email=None)),
            "email is empty in 1 of 2; check fields.email",
        ),
        (
            page(user(1), user(2), total=3),
            "the provider counts 3 and lists 2",
        ),
        (
            page(*map(user, range(100))),
            "exactly 100 records and nothing follows; if there are more, check pagination",
        ),
        (
            page(*(user(number, email="a@x") for number in range(12)), has_more=True),
            "email is the same in every record; check fields.email",
        ),
        (
            page(*map(user, range(7)), wanted=7),
            "exactly 7 records and nothing follows; if there are more, check pagination",
        ),
        (
            page(*map(user, range(7)), wanted=50, has_more=True),
            "50 records were asked for and 7 came; the provider has its own size",
        ),
    ],
)
def test_what_looks_wrong_is_one_line_that_says_where_to_look(
    preview: Preview, warning: str
) -> None:
    (found,) = warnings(USERS, preview, ["external_id", "name", "email"])
    if preview.declared_total is None:
        assert found == warning
    else:
        assert found.startswith("the provider counts 3 records and lists 2 in all")


def test_a_field_nobody_maps_may_be_empty() -> None:
    preview = page(user(1, email=None), user(2, email=None), user(3, email=None))
    assert warnings(USERS, preview, ["external_id", "name"]) == []


def test_an_attribute_that_is_always_empty_is_named_too() -> None:
    preview = page(user(1, attributes={"team": None}), user(2, attributes={"team": None}))
    assert warnings(USERS, preview, ["external_id", "name", "email", "team"]) == [
        "team is empty in every record; check fields.team"
    ]


def test_more_to_come_explains_a_larger_total() -> None:
    preview = page(user(1), user(2), user(3), has_more=True, total=100)
    assert warnings(USERS, preview, ["external_id", "name", "email"]) == []
