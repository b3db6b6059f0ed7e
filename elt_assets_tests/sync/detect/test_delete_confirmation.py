"""A missing record needs a second witness: which one is chosen, and what it decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from elt_assets.config.safeguards import Confirmation
from elt_assets.connectors.source import Presence
from elt_assets.errors import PermanentError
from elt_assets.sync.detect.delete_confirmation import (
    EarlierAbsence,
    confirm_deletes,
    second_witness,
)
from elt_assets.sync.outcome import Certificate

SNAPSHOT = Certificate(complete=True, snapshot=True)
PAGES = Certificate(complete=True)
EARLIER = EarlierAbsence("2026-01-01T00:00:00Z", repeated=7)


@pytest.mark.parametrize(
    ("chosen", "certificate", "probes", "expected"),
    [
        (None, SNAPSHOT, True, "none"),
        (None, SNAPSHOT, False, "none"),
        ("none", SNAPSHOT, True, "none"),
        ("probe", SNAPSHOT, True, "probe"),
        ("grace", SNAPSHOT, True, "grace"),
        (None, PAGES, True, "probe"),
        (None, PAGES, False, "grace"),
        ("grace", PAGES, True, "grace"),
        ("probe", PAGES, True, "probe"),
        ("probe", PAGES, False, "grace"),
    ],
)
def test_the_second_witness_is_the_chosen_or_the_best_there_is(
    chosen: Confirmation | None, certificate: Certificate, probes: bool, expected: str
) -> None:
    assert second_witness(chosen, certificate, probes=probes) == expected


def test_a_snapshot_read_in_two_attempts_needs_a_second_witness() -> None:
    twice = Certificate(complete=True, snapshot=True, extraction_runs=2)
    assert second_witness(None, twice, probes=True) == "probe"
    assert second_witness("none", twice, probes=True) == "none"


def test_pages_that_can_shift_may_not_do_without_one() -> None:
    with pytest.raises(PermanentError, match="'none' is refused"):
        second_witness("none", PAGES, probes=True)


@dataclass
class Missing:
    """Stands for a detection with missing rows, of which some were missed before."""

    keys: Sequence[str]
    missed: Sequence[str] = ()
    state: dict[str, str] = field(default_factory=dict)
    earlier: list[tuple[int | None, str]] = field(default_factory=list)

    def candidates(self) -> list[tuple[str, str]]:
        return [(f"id-{key}", key) for key in self.keys]

    def listed(self) -> list[str]:
        return ["somebody"]

    def shield(self, ids: Iterable[str]) -> None:
        self.state |= dict.fromkeys(ids, "shielded")

    def hold_back(self, ids: Iterable[str]) -> None:
        self.state |= dict.fromkeys(ids, "pending")

    def hold_back_newly_missing(
        self, repeated: int | None, *, ids: Iterable[str] | None = None, missed_before: str
    ) -> None:
        self.earlier.append((repeated, missed_before))
        concerned = [i for i, _ in self.candidates()] if ids is None else ids
        self.hold_back(i for i in concerned if i.removeprefix("id-") not in self.missed)


@dataclass
class Asked:
    """A source that answers about single records; keeps what it was asked."""

    answers: Mapping[str, Presence] = field(default_factory=dict)
    asked: list[tuple[list[str], list[str]]] = field(default_factory=list)

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]:
        self.asked.append(([*missing], [*listed]))
        return {key: self.answers.get(key, Presence.GONE) for key in missing}


def confirmed(missing: Missing, witness: Confirmation, source: Asked) -> int:
    """How many rows are there after all."""
    return confirm_deletes(missing, witness, source, EARLIER)  # type: ignore[arg-type]


def test_without_a_need_for_one_nobody_is_asked_or_held_back() -> None:
    missing, source = Missing("ab"), Asked()
    assert confirmed(missing, "none", source) == 0
    assert (missing.state, missing.earlier, source.asked) == ({}, [], [])


def test_a_second_listing_confirms_whom_the_first_missed_too() -> None:
    missing, source = Missing("ab", missed="b"), Asked()
    assert confirmed(missing, "grace", source) == 0
    assert missing.state == {"id-a": "pending"}
    assert missing.earlier == [(7, "2026-01-01T00:00:00Z")]
    assert source.asked == []


def test_with_nobody_missing_nobody_is_asked() -> None:
    missing, source = Missing(""), Asked()
    assert confirmed(missing, "probe", source) == 0
    assert (missing.earlier, source.asked) == ([], [])


def test_a_probe_confirms_shields_or_leaves_it_to_the_second_listing() -> None:
    missing = Missing("abc", missed="c")
    source = Asked({"b": Presence.UNKNOWN, "c": Presence.UNKNOWN})
    assert confirmed(missing, "probe", source) == 0
    assert missing.state == {"id-b": "pending"}
    assert missing.earlier == [(7, "2026-01-01T00:00:00Z")]
    assert source.asked == [(["a", "b", "c"], ["somebody"])]


def test_where_every_probe_is_clear_no_second_listing_is_asked() -> None:
    missing = Missing("ab")
    assert confirmed(missing, "probe", Asked()) == 0
    assert (missing.state, missing.earlier) == ({}, [])
    assert confirmed(missing, "probe", Asked({"a": Presence.PRESENT})) == 1
    assert (missing.state, missing.earlier) == ({"id-a": "shielded"}, [])


def test_a_listing_that_a_probe_refutes_is_no_witness_where_probes_are_unclear() -> None:
    missing = Missing("abc", missed="abc")
    answers = {"a": Presence.PRESENT, "b": Presence.UNKNOWN}
    assert confirmed(missing, "probe", Asked(answers)) == 1
    assert missing.state == {"id-a": "shielded", "id-b": "pending"}
    assert missing.earlier == []
