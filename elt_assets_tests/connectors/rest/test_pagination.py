"""Positions and the requests they become."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from elt_assets.connectors.json.page_envelope import Envelope
from elt_assets.connectors.rest.listing_course import Continuation
from elt_assets.connectors.rest.pagination import (
    CountingPaginator,
    CursorPaginator,
    LinkHeaderPaginator,
    NextUrlPaginator,
    PageAnswer,
    SinglePage,
    Step,
    another_size,
    next_link,
)
from elt_assets.errors import PageUnreadable

URL = "https://api.example.com/v1/users?page=1"


def answer(cursor: str | int | None = None, headers: Mapping[str, str] | None = None) -> PageAnswer:
    return PageAnswer("page 1", URL, headers or {}, Envelope(b"[]", 0, cursor, None))


def test_a_cursor_is_sent_back_as_it_came() -> None:
    paginator = CursorPaginator(("next",), "after")
    assert paginator.step(None) == Step()
    assert paginator.step("a b") == Step({"after": "a b"})
    assert paginator.step(0) == Step({"after": 0})
    assert paginator.led_to(answer("x")) == "x"
    assert paginator.led_to(answer()) is None


@pytest.mark.parametrize("token", [0, "0", -1, "-1", " ", "end"], ids=repr)
def test_a_token_that_says_that_nothing_follows_is_not_followed(token: str | int) -> None:
    assert (
        CursorPaginator(("next",), "after", stop=frozenset({"end"})).led_to(answer(token)) is None
    )
    header = CursorPaginator(None, "after", "x-next", stop=frozenset({"end"}))
    assert header.led_to(answer(headers={"x-next": str(token)})) is None
    assert header.led_to(answer(headers={"x-next": "10"})) == "10"


def test_a_next_url_may_be_relative_to_the_page_that_gives_it() -> None:
    paginator = NextUrlPaginator(("next",))
    assert paginator.led_to(answer("?page=2")) == "https://api.example.com/v1/users?page=2"
    assert paginator.led_to(answer("https://x.example/2")) == "https://x.example/2"
    assert paginator.led_to(answer(" /v2/users ")) == "https://api.example.com/v2/users"
    assert paginator.led_to(answer("//x.example/2")) == "https://x.example/2"
    assert paginator.led_to(answer(" ")) is None
    assert paginator.step("https://x.example/2") == Step(url="https://x.example/2")
    with pytest.raises(PageUnreadable, match="a number"):
        paginator.led_to(answer(2))


@pytest.mark.parametrize(
    ("written", "followed"),
    [
        ('?filter=status eq "A"&page=2', "?filter=status%20eq%20%22A%22&page=2"),
        ("?name=J\u00f6rg|{x}", "?name=J%C3%B6rg%7C%7Bx%7D"),
        ("?a=b%20c&d=e+f,g:h@i'j'", "?a=b%20c&d=e+f,g:h@i'j'"),
    ],
)
def test_characters_that_no_address_can_hold_are_escaped(written: str, followed: str) -> None:
    base = "https://api.example.com/v1/users"
    assert NextUrlPaginator(("next",)).led_to(answer(written)) == base + followed
    link = {"link": f"<{written}>; rel=next"}
    assert LinkHeaderPaginator().led_to(answer(headers=link)) == base + followed


@pytest.mark.parametrize("size", [*range(1, 60), 100, 200, 500, 1000])
def test_other_pages_seldom_begin_where_the_first_ones_do(size: int) -> None:
    other = another_size(size)
    assert other != size
    assert 1 <= other <= max(2, size)
    assert math.gcd(size, other) == 1


def test_only_what_asks_for_a_length_can_list_otherwise() -> None:
    numbered = CountingPaginator(Continuation.NUMBERED, "page", 1, "per_page", 100)
    assert numbered.otherwise().step(None).params == {"page": 1, "per_page": 83}
    fixed = CountingPaginator(Continuation.NUMBERED, "page", 1, None, 100)
    assert fixed.otherwise() == fixed
    cursor = CursorPaginator(("next",), "after")
    assert cursor.otherwise() is cursor


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://x/2>; rel="next"', "https://x/2"),
        ("<https://x/2>; rel=next", "https://x/2"),
        ('<https://x/2>; REL="NEXT"', "https://x/2"),
        ('<https://x/0>; rel="prev", <https://x/2>; rel="next"', "https://x/2"),
        ('<https://x/0>;rel="first prev",<https://x/2>;rel="last next"', "https://x/2"),
        ('<https://x/2?a=1,2;b=3>; title="a, <b>; rel=prev"; rel="next"', "https://x/2?a=1,2;b=3"),
        ('<https://x/9>; title="x; rel=\\"next\\""; rel="last"', None),
        ('<https://x/9>; rel="nextish"', None),
        ('<https://x/2>; rel="next"; rel="prev"', "https://x/2"),
        ('<https://x/0>; rel="prev"; rel="next"', None),
        ("", None),
        ('<https://x/2>; rel="next"; results="true"', "https://x/2"),
        (", <https://x/2>; crossorigin; rel=next", "https://x/2"),
        ("<https://x/2>; rel='next'", "https://x/2"),
        ("<https://x/9>; rel='last', <https://x/2>; rel='prev next';", "https://x/2"),
        ('<https://x/2>; rel="next";', "https://x/2"),
        ('<https://x/0>; rel="prev"; , <https://x/2>; rel="next" ;', "https://x/2"),
        ("<https://x/2?ids=1,2,3&a='b'>; rel=next", "https://x/2?ids=1,2,3&a='b'"),
        ("<https://x/2>; title*=UTF-8''n%c3%a4chste; rel=next", "https://x/2"),
        ("<https://x/2>; rel = next", "https://x/2"),
        ('</users?page=2>; rel="next"', "/users?page=2"),
        ("<https://x/2>; rel='next", ValueError),
        ('<https://x/1>; rel="self" rel2="y"', ValueError),
        ('https://x/2; rel="next"', ValueError),
        ('<https://x/2; rel="next"', ValueError),
    ],
)
def test_the_next_link_is_found_among_others(header: str, target: object) -> None:
    if target is ValueError:
        with pytest.raises(ValueError, match="unexpected text"):
            next_link(header)
    else:
        assert next_link(header) == target


def test_a_link_header_that_cannot_be_read_is_not_the_last_page() -> None:
    with pytest.raises(PageUnreadable, match="page 1 has a Link header"):
        LinkHeaderPaginator().led_to(answer(headers={"link": "https://x/2; rel=next"}))


def test_a_missing_link_header_is_the_last_page() -> None:
    assert LinkHeaderPaginator().led_to(answer()) is None


def test_a_single_page_has_no_next() -> None:
    assert SinglePage().led_to(answer("ignored")) is None
    assert SinglePage().step(None) == Step()
