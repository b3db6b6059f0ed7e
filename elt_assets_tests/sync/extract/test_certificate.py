from __future__ import annotations

from dataclasses import replace

import pytest

from elt_assets.sync.extract.certificate import certify
from elt_assets.sync.extract.staging import ExtractionState

SOUND = ExtractionState(
    batches=3, pages=30, fetched=300, staged=298, rejected=2, declared_totals=(300,)
)


def test_a_listing_read_to_its_end_is_complete() -> None:
    certificate = certify(SOUND)
    assert certificate.complete
    assert certificate.reasons == ()
    assert certificate.terminal_page
    assert (certificate.records, certificate.pages, certificate.declared_total) == (300, 30, 300)


@pytest.mark.parametrize(
    "state",
    [
        replace(SOUND, declared_totals=()),
        replace(SOUND, rejected=0),
        replace(SOUND, landed_by=frozenset({1, 2, 4, 9})),
        replace(SOUND, batches=1, pages=1, fetched=0, staged=0, rejected=0, declared_totals=(0,)),
    ],
    ids=["no declared total", "nothing rejected", "stitched from four attempts", "an empty page"],
)
def test_what_takes_nothing_from_completeness(state: ExtractionState) -> None:
    assert certify(state).complete


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (
            replace(SOUND, cursor={"page": 31}),
            "the provider never said that a page is the last one",
        ),
        (
            replace(SOUND, batches=0, pages=0, fetched=0, declared_totals=()),
            "the provider never said that a page is the last one",
        ),
        (
            replace(SOUND, cut_short="page 7 leads back to a page already fetched"),
            "page 7 leads back to a page already fetched",
        ),
        (
            replace(SOUND, declared_totals=(301,)),
            "the provider counts 301 records and listed 300",
        ),
        (
            replace(SOUND, declared_totals=(0,)),
            "the provider counts 0 records and listed 300",
        ),
        (
            replace(SOUND, declared_totals=(298, 299, 300)),
            "the provider's own count changed while paging, from 298 to 300",
        ),
        (
            replace(SOUND, unreadable_keys=1),
            "1 rejected records have no readable key, so nobody can be said to be missing",
        ),
    ],
)
def test_whatever_is_missing_from_completeness_is_the_reason(
    state: ExtractionState, reason: str
) -> None:
    certificate = certify(state)
    assert not certificate.complete
    assert certificate.reasons == (reason,)


def test_every_reason_is_given_and_not_only_the_first() -> None:
    certificate = certify(
        replace(
            SOUND,
            cursor={"page": 9},
            cut_short="page limit of 8 reached",
            declared_totals=(999,),
            unreadable_keys=2,
        )
    )
    assert len(certificate.reasons) == 4
    assert not certificate.terminal_page


def test_a_page_that_was_cut_is_not_the_terminal_one() -> None:
    assert not certify(replace(SOUND, cut_short="page limit of 30 reached")).terminal_page


def test_the_certificate_tells_in_how_many_attempts_the_pages_were_read() -> None:
    assert certify(replace(SOUND, landed_by=frozenset({1, 4}))).extraction_runs == 2
