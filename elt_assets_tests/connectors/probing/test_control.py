"""Which listed record is the control, and of which missing keys it says something."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.connectors.probing.control import controls, special


@pytest.mark.parametrize(
    ("missing", "listed", "first", "covered"),
    [
        (["u8"], ["u1", "u2"], "u1", ["u8"]),
        (["a/b"], ["u1", "c/d"], "c/d", ["a/b"]),
        (["a/b"], ["u1"], None, []),
        (["u1", "a/b"], ["u2"], "u2", ["u1"]),
        (["a%b"], ["a/b"], None, []),
        (["o'brien"], ["d'arcy", "smith"], "d'arcy", ["o'brien"]),
        (["ada@acme.example"], ["u1", "bob@acme.example"], "bob@acme.example", None),
        (["j.doe"], ["jdoe"], None, []),
        (["zoë"], ["čapek"], "čapek", ["zoë"]),
        (["auth0|5f"], ["auth0|6a"], "auth0|6a", ["auth0|5f"]),
        (["u1"], [], None, []),
    ],
)
def test_a_control_needs_the_same_escaping(
    missing: list[str], listed: list[str], first: str | None, covered: list[str] | None
) -> None:
    found = controls(missing, listed)
    if first is None:
        assert found is None
    else:
        assert found is not None
        assert (found.first, list(found.covered)) == (
            first,
            missing if covered is None else covered,
        )


def test_the_control_that_covers_most_is_taken_and_the_plainest_of_those() -> None:
    found = controls(["a/b", "c/d", "e f"], ["x y", "p/q.r", "m/n"])
    assert found is not None
    assert (found.first, found.covered) == ("m/n", ("a/b", "c/d"))


def test_a_filter_has_two_different_controls() -> None:
    found = controls(["a/b"], ["c/d", "c/d", "e.f/g"])
    assert found is not None
    assert (found.first, found.last) == ("c/d", "e.f/g")
    alone = controls(["a/b"], ["c/d", "u1"])
    assert alone is not None
    assert alone.last is None


KEYS = st.lists(st.text("ab/%'. é|", min_size=1, max_size=4), max_size=8, unique=True)


@given(KEYS, KEYS)
def test_a_control_has_every_special_character_of_what_it_covers(
    missing: list[str], listed: list[str]
) -> None:
    found = controls(missing, listed)
    possible = [key for key in missing if any(special(key) <= special(other) for other in listed)]
    assert (found is None) is not bool(possible)
    if found is None:
        return
    assert found.first in listed
    for key in missing:
        assert (key in found.covered) is (special(key) <= special(found.first))
        assert key not in found.covered or found.last is None or special(key) <= special(found.last)
    best = max(sum(special(key) <= special(one) for key in missing) for one in listed)
    assert len(found.covered) == best
