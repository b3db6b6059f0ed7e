from __future__ import annotations

import msgspec
import pytest

from elt_assets.sync.admin.completeness import needs_attention
from elt_assets.sync.outcome import Certificate

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
