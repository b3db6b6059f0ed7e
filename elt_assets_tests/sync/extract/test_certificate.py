from __future__ import annotations

from dataclasses import replace

import pytest

from elt_assets.sync.extract.certificate import ListedKeys, certify, contradicted, with_keys
from elt_assets.sync.extract.checkpoints import ExtractionState
from elt_assets.sync.extract.sync_mode import SyncMode
from elt_assets.sync.outcome import Mode

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
            replace(SOUND, doubts=("page 3 is empty and not the last one",)),
            "page 3 is empty and not the last one",
        ),
        (
            replace(SOUND, declared_totals=(298, 300)),
            "the provider's own count changed while paging, between 298 and 300",
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
            doubts=("page 3 is empty and not the last one",),
            unreadable_keys=2,
        )
    )
    assert len(certificate.reasons) == 4
    assert not certificate.terminal_page


def test_a_page_that_was_cut_is_not_the_terminal_one() -> None:
    assert not certify(replace(SOUND, cut_short="page limit of 30 reached")).terminal_page


def test_the_certificate_tells_in_how_many_attempts_the_pages_were_read() -> None:
    assert certify(replace(SOUND, landed_by=frozenset({1, 4}))).extraction_runs == 2


def keyed(
    distinct: int = 300, repeated: int = 0, state: ExtractionState = SOUND, mode: Mode = Mode.FULL
) -> tuple[bool, tuple[str, ...]]:
    certificate = with_keys(certify(state), ListedKeys(distinct, repeated), mode)
    assert (certificate.distinct, certificate.repeated) == (distinct, repeated)
    return certificate.complete, certificate.reasons


def test_as_many_different_keys_as_the_provider_counts_are_complete() -> None:
    assert keyed() == (True, ())


def test_fewer_different_keys_than_the_total_are_incomplete() -> None:
    assert keyed(299) == (False, ("the provider counts 300 records and listed 299",))


def test_a_total_that_is_too_low_is_wrong() -> None:
    reason = "the provider counts 300 records and listed 301: its count is wrong"
    assert keyed(301) == (False, (reason,))


def test_without_a_total_any_number_of_keys_will_do() -> None:
    assert keyed(7, state=replace(SOUND, declared_totals=())) == (True, ())


def test_a_total_of_zero_is_a_total() -> None:
    assert not keyed(7, state=replace(SOUND, declared_totals=(0,)))[0]


def test_a_key_on_two_pages_makes_a_listing_incomplete() -> None:
    complete, (reason,) = keyed(repeated=1)
    assert not complete
    assert reason.startswith("1 keys came on more than one page: the pages shifted")


def test_a_snapshot_may_repeat_a_key_and_counts_its_rows() -> None:
    snapshot = replace(SOUND, snapshot=True)
    assert certify(snapshot).snapshot
    assert keyed(290, repeated=3, state=snapshot) == (True, ())
    assert not keyed(300, state=replace(snapshot, fetched=299))[0]


def test_a_listing_of_changes_is_held_to_no_total_and_may_repeat_a_key() -> None:
    changes = replace(SOUND, sync_mode=SyncMode(Mode.INCREMENTAL, "2026-01-01T00:00:00Z"))
    assert certify(changes).declared_total is None
    assert keyed(3, repeated=2, state=changes, mode=Mode.INCREMENTAL) == (True, ())


def test_what_the_pages_refuted_stays_refuted() -> None:
    state = replace(SOUND, cut_short="page limit of 30 reached")
    assert keyed(state=state) == (False, ("page limit of 30 reached",))


def test_a_probe_that_finds_a_missing_record_refutes_the_listing() -> None:
    sound = with_keys(certify(SOUND), ListedKeys(300, 0), Mode.FULL)
    assert contradicted(sound, 0) == sound
    refuted = contradicted(sound, 2)
    assert not refuted.complete
    assert refuted.reasons == ("2 records that the listing lacks are there when asked for alone",)


def test_coverage_is_the_share_of_the_total_that_was_listed() -> None:
    assert with_keys(certify(SOUND), ListedKeys(150, 0), Mode.FULL).coverage == 0.5
    assert certify(SOUND).coverage is None
    without = replace(SOUND, declared_totals=())
    assert with_keys(certify(without), ListedKeys(150, 0), Mode.FULL).coverage is None
