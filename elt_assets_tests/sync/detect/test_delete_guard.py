from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.config.safeguards import Safeguards
from elt_assets.sync.detect.delete_guard import Verdict, allowed_deletes, too_many_rejected, verdict
from elt_assets.sync.outcome import Certificate

COMPLETE = Certificate(complete=True, terminal_page=True, records=100, pages=10)
DEFAULTS = Safeguards()


def judged(
    certificate: Certificate = COMPLETE,
    *,
    unique: int = 99,
    deletes: int = 1,
    latest: int = 100,
    safeguards: Safeguards = DEFAULTS,
    history: tuple[int, ...] = (),
) -> Verdict:
    return verdict(
        certificate,
        unique=unique,
        deletes=deletes,
        latest=latest,
        safeguards=safeguards,
        history=history,
    )


def test_a_few_deletes_of_a_complete_extraction_pass() -> None:
    assert judged() == Verdict(deletes_pass=True)


@pytest.mark.parametrize(
    "certificate",
    [Certificate(), Certificate(reasons=("page limit of 8 reached",)), COMPLETE],
)
def test_without_deletes_there_is_nothing_to_guard(certificate: Certificate) -> None:
    assert judged(certificate, unique=0, deletes=0).deletes_pass


def test_an_incomplete_certificate_gives_its_own_reasons() -> None:
    reasons = ("page limit of 8 reached", "1 rejected records have no readable key")
    assert judged(Certificate(reasons=reasons)) == Verdict(False, reasons)


def test_a_certificate_that_is_incomplete_without_a_reason_still_stops_deletes() -> None:
    assert judged(Certificate()) == Verdict(False, ("the extraction has no complete certificate",))


def test_an_empty_listing_deletes_nobody_whatever_the_limits_allow() -> None:
    open_door = Safeguards(max_delete_share=1, max_delete_count=10**9)
    found = judged(unique=0, deletes=3, latest=3, safeguards=open_door)
    assert found == Verdict(False, ("the provider listed nobody and the latest table holds 3",))


def test_an_empty_listing_is_seen_beside_what_was_usual() -> None:
    (first, *_) = judged(unique=0, deletes=3, latest=3, history=(30, 29, 31)).reasons
    assert first.endswith("; its last syncs listed 30, 29, 31")


@pytest.mark.parametrize(
    ("latest", "allowed"),
    [
        (0, 1),
        (1, 1),
        (2, 1),
        (3, 1),
        (4, 2),
        (10, 5),
        (11, 2),
        (14, 2),
        (15, 3),
        (100, 20),
        (2_500, 500),
        (2_505, 500),
        (1_000_000, 500),
    ],
)
def test_so_many_of_so_many_may_go_at_once(latest: int, allowed: int) -> None:
    assert allowed_deletes(latest, DEFAULTS) == allowed
    if latest:
        assert judged(deletes=allowed, latest=latest).deletes_pass
        assert not judged(deletes=allowed + 1, latest=latest).deletes_pass


def test_one_delete_too_many_names_both_numbers_and_the_rule() -> None:
    assert judged(deletes=21).reasons == (
        "21 of 100 would be deleted and at most 20 may be (20%, 500 at most)",
    )
    assert judged(deletes=3, latest=4).reasons == (
        "3 of 4 would be deleted and at most 2 may be (half of 10 or fewer)",
    )


@pytest.mark.parametrize("closed", [{"max_delete_share": 0}, {"max_delete_count": 0}])
@pytest.mark.parametrize("latest", [1, 4, 100, 10_000])
def test_a_limit_of_zero_asks_for_every_single_delete(
    closed: dict[str, float], latest: int
) -> None:
    assert not judged(latest=latest, safeguards=Safeguards.model_validate(closed)).deletes_pass


def test_a_share_of_everything_still_keeps_to_the_count() -> None:
    limits = Safeguards(max_delete_share=1)
    assert judged(deletes=500, latest=1000, safeguards=limits).deletes_pass
    assert not judged(deletes=501, latest=1000, safeguards=limits).deletes_pass


@given(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.floats(0, 1),
    st.integers(0, 10_000),
)
def test_no_delete_passes_without_proof_and_none_is_stopped_without_a_reason(
    unique: int, deletes: int, latest: int, share: float, count: int
) -> None:
    limits = Safeguards(max_delete_share=share, max_delete_count=count)
    for certificate in (COMPLETE, Certificate(), Certificate(reasons=("a reason",))):
        found = judged(
            certificate, unique=unique, deletes=deletes, latest=latest, safeguards=limits
        )
        assert found.deletes_pass == (not found.reasons)
        if found.deletes_pass and deletes:
            assert certificate.complete
            assert unique > 0
            assert deletes <= count
            assert deletes <= max(latest * share, 5)


@pytest.mark.parametrize(
    ("fetched", "rejected", "fails"),
    [
        (0, 0, False),
        (1, 0, False),
        (1, 1, True),
        (2, 1, False),
        (10, 5, False),
        (10, 6, True),
        (11, 1, True),
        (20, 1, False),
        (20, 2, True),
        (1000, 50, False),
        (1000, 51, True),
        (1000, 1000, True),
    ],
)
def test_a_few_unusable_records_are_set_aside_and_many_fail_the_sync(
    fetched: int, rejected: int, fails: bool
) -> None:
    assert (too_many_rejected(fetched, rejected, DEFAULTS) is not None) == fails


def test_too_many_unusable_records_say_how_many_and_what_to_do() -> None:
    message = too_many_rejected(1000, 51, DEFAULTS)
    assert message is not None
    assert message.startswith("51 of 1000 records cannot be used, more than 5%; nothing was")
    assert "--retry-rejected" in message


def test_a_reject_limit_of_zero_fails_for_the_first() -> None:
    strict = Safeguards(max_reject_share=0)
    assert too_many_rejected(10, 1, strict) is not None
    assert too_many_rejected(10, 0, strict) is None


def test_a_reject_limit_of_one_never_fails() -> None:
    assert too_many_rejected(1000, 1000, Safeguards(max_reject_share=1)) is None
