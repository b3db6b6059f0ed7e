from __future__ import annotations

import msgspec
import pytest

from elt_assets.sync.admin.completeness import completeness, is_far_from_complete, needs_attention
from elt_assets.sync.outcome import Certificate, Mode, Status

COMPLETE = Certificate(complete=True, terminal_page=True, declared_total=100, distinct=100)


def incomplete(**facts: object) -> Certificate:
    return msgspec.structs.replace(COMPLETE, complete=False, reasons=("a reason",), **facts)


def test_a_complete_listing_needs_nobody() -> None:
    assert not needs_attention(COMPLETE, None)


def test_an_incomplete_first_listing_always_does() -> None:
    assert needs_attention(incomplete(distinct=99), None)


@pytest.mark.parametrize(
    "facts",
    [
        {"distinct": 94},
        {"repeated": 1},
        {"cut_short": "page limit of 8 reached"},
        {"terminal_page": False},
    ],
)
def test_a_listing_that_is_far_from_complete_does_when_that_is_new(
    facts: dict[str, object],
) -> None:
    found = incomplete(**facts)
    assert needs_attention(found, COMPLETE)
    assert not needs_attention(found, found)


def test_a_listing_that_lacks_little_of_the_total_does_not() -> None:
    assert not needs_attention(incomplete(distinct=95), COMPLETE)


def test_a_listing_that_worsens_does_again() -> None:
    assert needs_attention(incomplete(distinct=80), incomplete(distinct=90))
    assert not needs_attention(incomplete(distinct=90), incomplete(distinct=80))
    assert needs_attention(incomplete(repeated=3), incomplete(repeated=2))
    assert not needs_attention(incomplete(repeated=2), incomplete(repeated=3))


def test_a_listing_without_a_total_has_no_share() -> None:
    assert not needs_attention(incomplete(declared_total=None, distinct=5), COMPLETE)


@pytest.mark.parametrize(
    ("facts", "far"),
    [
        ({"distinct": 94}, True),
        ({"distinct": 95}, False),
        ({"repeated": 1}, True),
        ({"terminal_page": False}, True),
        ({"declared_total": None}, False),
    ],
)
def test_a_listing_is_far_from_complete_however_the_one_before_was(
    facts: dict[str, object], far: bool
) -> None:
    assert is_far_from_complete(incomplete(**facts)) is far


@pytest.mark.parametrize(
    ("status", "mode", "found"),
    [
        (Status.APPLIED, Mode.FULL, True),
        (Status.QUARANTINED, Mode.INCREMENTAL, True),
        (Status.APPLIED, Mode.COMPENSATING, None),
        (Status.FAILED, Mode.FULL, None),
        (Status.SUPERSEDED, Mode.FULL, None),
    ],
)
def test_only_a_settled_listing_is_complete_or_not(
    status: Status, mode: Mode, found: bool | None
) -> None:
    assert completeness(status, mode, COMPLETE) is found
    assert completeness(status, mode, incomplete()) is (None if found is None else False)
