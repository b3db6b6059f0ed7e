from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.config.safeguards import Safeguards
from elt_assets.sync.detect.delete_guard import (
    GuardVerdict,
    Harm,
    Harms,
    Limit,
    delete_limit,
    identities_changed,
    judge,
    too_many_rejected,
)
from elt_assets.sync.outcome import NO_RECENT_HARM, Certificate, RecentHarm

COMPLETE = Certificate(complete=True, terminal_page=True, records=100, pages=10)
DEFAULTS = Safeguards()
NO_DELETES = frozenset({Harm.DELETE})


def judged(
    certificate: Certificate = COMPLETE,
    *,
    unique: int = 99,
    deletes: int = 1,
    latest: int = 100,
    safeguards: Safeguards = DEFAULTS,
    history: tuple[int, ...] = (),
) -> GuardVerdict:
    return judge(
        certificate,
        Harms(unique=unique, deletes=deletes, missing=deletes, latest=latest),
        safeguards,
        history=history,
    )


def test_a_few_deletes_of_a_complete_extraction_pass() -> None:
    assert judged() == GuardVerdict()


@pytest.mark.parametrize(
    "certificate",
    [Certificate(), Certificate(reasons=("page limit of 8 reached",)), COMPLETE],
)
def test_without_deletes_there_is_nothing_to_guard(certificate: Certificate) -> None:
    assert judged(certificate, unique=0, deletes=0).deletes_pass


def test_an_incomplete_certificate_gives_its_own_reasons() -> None:
    reasons = ("page limit of 8 reached", "1 rejected records have no readable key")
    assert judged(Certificate(reasons=reasons)) == GuardVerdict(NO_DELETES, reasons)


def test_a_certificate_that_is_incomplete_without_a_reason_still_stops_deletes() -> None:
    assert judged(Certificate()) == GuardVerdict(
        NO_DELETES, ("the extraction has no complete certificate",)
    )


def test_an_empty_listing_deletes_nobody_whatever_the_limits_allow() -> None:
    open_door = Safeguards(max_delete_share=1, max_delete_count=10**9)
    found = judged(unique=0, deletes=3, latest=3, safeguards=open_door)
    assert found == GuardVerdict(
        NO_DELETES, ("the provider listed nobody and the latest table holds 3",)
    )


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
    assert delete_limit(DEFAULTS, removals=False).allowed(latest) == allowed
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
    unique: int, deletes: int, others: int, share: float, count: int
) -> None:
    latest = deletes + others
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


def harmed(
    recent: RecentHarm = NO_RECENT_HARM, safeguards: Safeguards = DEFAULTS, **harms: int
) -> GuardVerdict:
    """The verdict on a sync that deletes nothing, of 100 rows unless said otherwise."""
    found = Harms(**{"latest": 100, "unique": 100} | harms)
    return judge(COMPLETE, found, safeguards, recent=recent)


def test_a_fifth_may_be_deactivated_and_no_more() -> None:
    assert harmed(deactivations=20) == GuardVerdict()
    assert harmed(deactivations=21) == GuardVerdict(
        frozenset({Harm.DEACTIVATION}),
        ("21 of 100 would be deactivated and at most 20 may be (20%, 500 at most)",),
    )


def test_a_fifth_may_lose_a_value_and_no_more() -> None:
    lost = Harms(100, 100, losing=21, losses={"name": 1, "email": 20})
    assert judge(COMPLETE, lost, DEFAULTS) == GuardVerdict(
        frozenset({Harm.LOSS}),
        (
            "21 of 100 would be left without a value that they have (email 20, name 1) and at "
            "most 20 may be (20%, 500 at most)",
        ),
    )
    assert harmed(losing=20) == GuardVerdict()


def test_each_kind_of_harm_has_a_limit_of_its_own() -> None:
    limits = Safeguards(max_deactivate_count=1, max_loss_count=2)
    assert harmed(safeguards=limits, deactivations=1, losing=2) == GuardVerdict()
    assert harmed(safeguards=limits, deactivations=2).withheld == {Harm.DEACTIVATION}
    assert harmed(safeguards=limits, losing=3).withheld == {Harm.LOSS}
    assert harmed(safeguards=limits, deactivations=2, losing=3).withheld == {
        Harm.DEACTIVATION,
        Harm.LOSS,
    }
    assert harmed(safeguards=Safeguards(max_deactivate_share=0), deactivations=1).withheld
    assert harmed(safeguards=Safeguards(max_loss_share=0), losing=1).withheld


def test_withheld_deactivations_do_not_stop_deletes() -> None:
    found = Harms(100, 99, missing=1, deletes=1, deactivations=50)
    verdict = judge(COMPLETE, found, DEFAULTS)
    assert verdict.withheld == {Harm.DEACTIVATION}
    assert verdict.deletes_pass


def test_harm_of_the_last_day_counts() -> None:
    recent = RecentHarm(latest=100, deletes=19, deactivations=19, losses=19)
    assert harmed(recent, deactivations=1, losing=1) == GuardVerdict()
    assert harmed(recent, deactivations=2).reasons == (
        "2 of 100 would be deactivated, after 19 in the last 24 hours, and at most 20 may be "
        "(20%, 500 at most)",
    )
    assert harmed(recent, losing=2).withheld == {Harm.LOSS}
    found = Harms(81, 79, missing=2, deletes=2)
    assert judge(COMPLETE, found, DEFAULTS, recent=recent).withheld == NO_DELETES
    assert judge(COMPLETE, found, DEFAULTS) == GuardVerdict()


def test_what_was_done_before_asks_for_nothing_by_itself() -> None:
    assert harmed(RecentHarm(latest=100, deletes=90, deactivations=90, losses=90)) == GuardVerdict()


def test_the_share_is_of_the_rows_that_stood_before_the_last_day() -> None:
    found = Harms(90, 80, missing=10, deletes=10)
    assert (
        judge(COMPLETE, found, DEFAULTS, recent=RecentHarm(latest=100, deletes=10))
        == GuardVerdict()
    )
    assert (
        judge(COMPLETE, found, DEFAULTS, recent=RecentHarm(latest=99, deletes=10)) != GuardVerdict()
    )


def test_memberships_go_as_a_matter_of_routine() -> None:
    found = Harms(100, 50, missing=50, deletes=50)
    assert judge(COMPLETE, found, DEFAULTS, removals=True) == GuardVerdict()
    assert judge(COMPLETE, found, DEFAULTS).withheld == NO_DELETES
    more = Harms(100, 49, missing=51, deletes=51)
    assert judge(COMPLETE, more, DEFAULTS, removals=True).withheld == NO_DELETES
    many = Harms(100_000, 94_999, missing=5_001, deletes=5_001)
    assert judge(COMPLETE, many, DEFAULTS, removals=True).withheld == NO_DELETES


def test_groups_that_stand_are_not_emptied_as_a_matter_of_routine() -> None:
    found = Harms(100, 79, missing=21, deletes=21, orphaned=21, emptied=3)
    verdict = judge(COMPLETE, found, DEFAULTS, removals=True)
    assert verdict == GuardVerdict(
        NO_DELETES,
        (
            "21 of 100 would be removed from 3 groups that still stand and would be empty and at "
            "most 20 may be (20%, 500 at most)",
        ),
    )
    few = Harms(100, 60, missing=40, deletes=40, orphaned=20, emptied=3)
    assert judge(COMPLETE, few, DEFAULTS, removals=True) == GuardVerdict()


@pytest.mark.parametrize(
    ("latest", "unique", "inserts", "missing", "changed"),
    [
        (100, 100, 50, 50, True),
        (100, 100, 49, 50, False),
        (100, 100, 50, 49, False),
        (11, 11, 6, 6, True),
        (11, 11, 5, 6, False),
        (11, 11, 6, 5, False),
        (10, 10, 10, 10, True),
        (10, 10, 9, 9, False),
        (2, 2, 2, 2, True),
        (2, 1, 1, 2, False),
        (1, 1, 2, 1, False),
        (100, 300, 200, 0, False),
        (100, 0, 0, 100, False),
    ],
)
def test_most_keys_new_and_most_old_ones_gone_is_another_identity(
    latest: int, unique: int, inserts: int, missing: int, changed: bool
) -> None:
    harms = Harms(latest, unique, inserts, missing)
    assert identities_changed(harms, 0.5, complete=True) == changed
    verdict = judge(COMPLETE, harms, DEFAULTS)
    assert (Harm.IDENTITY in verdict.withheld) == changed


def test_a_short_incomplete_listing_says_nothing_about_the_keys() -> None:
    cut = Certificate(reasons=("page limit of 1 reached",))
    short = Harms(100, 49, inserts=49, missing=100)
    assert Harm.IDENTITY not in judge(cut, short, DEFAULTS).withheld
    assert Harm.IDENTITY in judge(COMPLETE, short, DEFAULTS).withheld
    long = Harms(100, 50, inserts=50, missing=100)
    assert Harm.IDENTITY in judge(cut, long, DEFAULTS).withheld


def test_changed_identities_are_said_in_numbers() -> None:
    assert judge(COMPLETE, Harms(100, 90, inserts=60, missing=70), DEFAULTS).reasons == (
        "70 of 100 rows are gone and 60 of 90 listed keys are new: the provider or the mapping "
        "may have changed the key of everybody",
    )


@pytest.mark.parametrize(("rows", "allowed"), [(0, 1), (3, 1), (10, 5), (11, 5), (20, 10)])
def test_a_limit_is_at_least_half_of_a_few_rows(rows: int, allowed: int) -> None:
    assert Limit(0.5, 500).allowed(rows) == allowed


def test_a_share_of_one_leaves_the_count_alone_to_limit() -> None:
    assert Limit(1, 500).allowed(100) == 500
    assert Limit(1, 500).allowed(4) == 500


@pytest.mark.parametrize(
    ("limit", "rows", "rule"),
    [
        (Limit(0.2, 500), 10, "half of 10 or fewer"),
        (Limit(0.2, 500), 11, "20%, 500 at most"),
        (Limit(0, 500), 10, "0%, 500 at most"),
    ],
)
def test_a_limit_says_which_rule_holds(limit: Limit, rows: int, rule: str) -> None:
    assert limit.rule(rows) == rule
