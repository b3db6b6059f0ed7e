"""Every rule of the verdicts is shown what it must catch, and what it must leave alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from elt_assets.sync.outcome import Certificate, Counts, Outcome, Status
from elt_assets_tests.campaign.chaos.verdicts import Scene, Users, healed, judge
from elt_assets_tests.testbed.faulty_provider.fault import FAILED, INCOMPLETE, RIGHT, Ending

ANYTHING = frozenset(Ending)
WHOLE = Certificate(complete=True)
PARTIAL = Certificate(complete=False, reasons=("the provider counts 4 and listed 3",))


def users(*keys: str, name: str = "N") -> dict[str, dict[str, Any]]:
    return {key: {"name": name} for key in keys}


def scene(
    before: Users,
    after: Users,
    truth: Users,
    *,
    end: Users | None = None,
    status: Status = Status.APPLIED,
    certificate: Certificate = WHOLE,
    touched: frozenset[str] = frozenset(),
    error: str | None = None,
    **counts: int,
) -> Scene:
    outcome = Outcome(
        partition="a:b",
        stream="users",
        sync_id="s",
        status=status,
        certificate=certificate,
        error=error,
        counts=Counts(unique=len(after), **counts),
    )
    return Scene(before, after, truth, truth if end is None else end, outcome, touched)


def found(of: Scene, allowed: frozenset[Ending] = ANYTHING) -> set[str]:
    return {violation.oracle for violation in judge(of, allowed)}


def test_a_right_sync_is_right() -> None:
    right = scene(users("a", "gone"), users("a", "b"), users("a", "b"))
    assert judge(right, RIGHT) == []


def test_a_failed_sync_that_changed_nothing_is_loud_enough() -> None:
    failed = scene(
        users("a"), users("a"), users("a", "b"), status=Status.FAILED, error="page 2: 500"
    )
    assert judge(failed, FAILED) == []


def test_an_incomplete_sync_that_deletes_nobody_is_loud_enough() -> None:
    partial = scene(users("a", "gone"), users("a", "gone"), users("a", "b"), certificate=PARTIAL)
    assert judge(partial, INCOMPLETE) == []


@pytest.mark.parametrize("status", [Status.APPLIED, Status.FAILED])
@pytest.mark.parametrize("certificate", [WHOLE, PARTIAL])
def test_a_planted_false_delete_is_caught_however_the_sync_ended(
    status: Status, certificate: Certificate
) -> None:
    planted = scene(
        users("a", "b"),
        users("a"),
        users("a", "b"),
        status=status,
        certificate=certificate,
        error="x",
        touched=frozenset({"b"}),
    )
    assert "false delete" in found(planted)


def test_who_left_or_came_while_pages_were_read_may_be_there_or_not() -> None:
    start, end = users("a", "left"), users("a", "came")
    for after in (users("a"), users("a", "left"), users("a", "came"), users("a", "left", "came")):
        assert judge(scene(users("a", "left"), after, start, end=end), RIGHT) == []


def test_a_planted_loss_is_caught() -> None:
    assert found(scene({}, users("a"), users("a", "b"))) == {"lost"}


def test_a_withheld_insert_is_no_loss_if_the_sync_is_quarantined() -> None:
    def withheld(status: Status, inserts: int) -> set[str]:
        row, truth = users("a"), users("a", "b")
        return found(scene(row, row, truth, status=status, withheld_inserts=inserts))

    assert withheld(Status.QUARANTINED, 1) == set()
    assert withheld(Status.APPLIED, 1) == {"lost"}
    assert withheld(Status.QUARANTINED, 0) == {"lost"}


def test_a_newcomer_whose_record_was_spoiled_is_not_lost() -> None:
    spoiled = scene({}, users("a"), users("a", "b"), touched=frozenset({"b"}))
    assert judge(spoiled, RIGHT) == []


def test_a_planted_stale_row_is_caught() -> None:
    stale = scene(users("a", name="old"), users("a", name="old"), users("a", name="new"))
    assert found(stale) == {"stale overwrite"}
    assert found(replace(stale, touched=frozenset({"a"}))) == set()


def test_a_planted_invention_is_caught_even_where_a_fault_touched_the_record() -> None:
    invented = scene(users("a"), users("a", name="no one's"), users("a"), touched=frozenset({"a"}))
    assert found(invented) == {"stale overwrite"}


def test_a_row_that_should_be_gone_is_caught_unless_the_counts_say_why() -> None:
    kept = scene(users("a", "gone"), users("a", "gone"), users("a"))
    assert found(kept) == {"should be gone"}
    for reason in ("withheld_deletes", "pending_deletes", "shielded_deletes"):
        counted = scene(users("a", "gone"), users("a", "gone"), users("a"), **{reason: 1})
        assert judge(counted, RIGHT) == []


def test_a_row_from_nowhere_is_caught_in_a_right_and_in_an_incomplete_sync() -> None:
    assert found(scene({}, users("a", "phantom"), users("a"))) == {"should be gone"}
    partial = scene({}, users("a", "phantom"), users("a"), certificate=PARTIAL)
    assert found(partial) == {"nobody's row"}


def test_a_delete_without_proof_is_caught_by_its_row_and_by_its_count() -> None:
    by_row = scene(users("a", "gone"), users("a"), users("a"), certificate=PARTIAL)
    assert found(by_row) == {"delete without proof"}
    by_count = scene(users("a"), users("a"), users("a"), certificate=PARTIAL, deletes=1)
    assert found(by_count) == {"delete without proof"}


def test_a_failed_sync_that_changed_something_is_caught() -> None:
    planted = scene({}, users("a"), users("a"), status=Status.FAILED, error="no")
    assert found(planted) == {"applied by a failed sync"}


@pytest.mark.parametrize("error", [None, "", "Traceback\n  File"])
def test_a_failure_that_does_not_say_why_in_one_line_is_caught(error: str | None) -> None:
    planted = scene(users("a"), users("a"), users("a"), status=Status.FAILED, error=error)
    assert found(planted) == {"failed without a clear line"}


def test_a_partial_listing_without_a_reason_is_caught() -> None:
    planted = scene({}, users("a"), users("a"), certificate=Certificate(complete=False))
    assert found(planted) == {"incomplete without a reason"}


def test_an_ending_that_the_fault_does_not_allow_is_caught() -> None:
    fine = scene({}, users("a"), users("a"))
    assert found(fine, FAILED) == {"unexpected ending"}
    assert found(fine, INCOMPLETE) == {"unexpected ending"}
    assert found(fine, RIGHT) == set()


def test_a_listing_of_nobody_that_is_quarantined_counts_as_incomplete() -> None:
    nobody = scene(users("a"), users("a"), users("a", "b"), status=Status.QUARANTINED)
    emptied = replace(
        nobody,
        outcome=Outcome("a:b", "users", "s", Status.QUARANTINED, certificate=WHOLE, reasons=("0",)),
    )
    assert emptied.ending is Ending.INCOMPLETE
    assert found(emptied, INCOMPLETE) == set()


@pytest.mark.parametrize("name", ["active", "email"])
def test_many_who_lose_what_they_still_have_are_caught(name: str) -> None:
    keys = [f"u{number}" for number in range(20)]
    whole = {key: {"name": "N", "active": True, "email": "a@b"} for key in keys}
    limit = 4

    def after(harmed: int) -> Scene:
        changed = {key: whole[key] | {name: None} for key in keys[:harmed]}
        lied = scene(whole, whole | changed, whole)
        return replace(lied, touched=frozenset(keys), said=frozenset(keys))

    assert found(after(limit)) == set()
    assert found(after(limit + 1)) == {"many harmed"}


def test_what_a_provider_claims_of_untouched_people_is_caught() -> None:
    lied = scene(users("a"), users("a", name="Other"), users("a"))
    assert found(lied) == {"stale overwrite"}
    assert found(replace(lied, touched=frozenset("a"), said=frozenset("a"))) == set()


def test_every_difference_that_remains_after_healing_is_caught() -> None:
    oracles = [
        violation.oracle
        for violation in healed(
            "a:b", users("a", "extra") | users("b", name="old"), users("a", "b", "missing")
        )
    ]
    assert sorted(oracles) == ["lost", "should be gone", "stale overwrite"]
    assert healed("a:b", users("a"), users("a")) == []
