"""What `integrations test` warns about."""

from __future__ import annotations

from typing import Any

import pytest

from elt_assets.sync.preview import Preview, warnings

MAPPED = ("external_id", "name", "email", "team")


def record(number: int, **more: Any) -> dict[str, Any]:
    return {
        "external_id": f"u{number}",
        "name": f"Person {number}",
        "email": f"p{number}@example.com",
        "active": True,
        "attributes": {"team": "a"},
        "source_updated_at": None,
    } | more


def page(count: int = 7, **more: Any) -> Preview:
    found = {
        "count": count,
        "has_more": False,
        "declared_total": None,
        "records": [record(number) for number in range(count)],
        "rejected": [],
    } | more
    return Preview(**found)


def test_a_page_as_it_should_be_gives_no_warning() -> None:
    assert warnings(page(), MAPPED) == []
    assert warnings(page(declared_total=7, wanted=100), MAPPED) == []
    assert warnings(page(100, declared_total=250, has_more=True, wanted=100), MAPPED) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (page(0), "holds no records"),
        (
            page(records=[], rejected=[{"key": None, "reason": "x"}] * 7),
            "7 of 7 have no usable id; check fields.external_id",
        ),
        (
            page(records=[record(1)], rejected=[{"key": "k", "reason": "x"}] * 6),
            "6 of 7 are rejected for another reason",
        ),
        (page(records=[record(1)] * 7), "7 records share 1 ids"),
        (
            page(records=[record(n, email=None if n % 2 else "x@y") for n in range(8)], count=8),
            "email is empty in 4 of 8",
        ),
        (page(records=[record(n, email="") for n in range(7)]), "email is empty in every record"),
        (
            page(records=[record(n, attributes={"team": None}) for n in range(7)]),
            "team is empty in every record; check fields.team",
        ),
        (page(declared_total=9), "counts 9 records and lists 7 in all"),
        (page(declared_total=3, has_more=True), "counts 3 records and lists 7;"),
        (page(wanted=5), "5 records were asked for and 7 came"),
        (page(wanted=50, has_more=True), "50 records were asked for and 7 came"),
        (page(100), "exactly 100 records and nothing follows"),
        (page(42, wanted=42), "exactly 42 records and nothing follows"),
    ],
)
def test_each_thing_that_looks_wrong_is_said_once(found: Preview, words: str) -> None:
    (warning,) = warnings(found, MAPPED)
    assert words in warning


def test_a_field_that_is_not_mapped_may_be_empty() -> None:
    found = page(records=[record(n, email=None) for n in range(7)])
    assert warnings(found, ("external_id", "name")) == []
