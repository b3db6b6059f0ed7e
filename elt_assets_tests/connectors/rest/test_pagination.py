"""Positions and the requests they become."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from elt_assets.connectors.json.page_envelope import Envelope
from elt_assets.connectors.rest.pagination import (
    Answer,
    CursorPaginator,
    LinkHeaderPaginator,
    NextUrlPaginator,
    SinglePage,
    Step,
    next_link,
)
from elt_assets.errors import PageUnreadable

URL = "https://api.example.com/v1/users?page=1"


def answer(cursor: str | int | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer("page 1", URL, headers or {}, Envelope(b"[]", 0, cursor, None))


def test_a_cursor_is_sent_back_as_it_came() -> None:
    paginator = CursorPaginator(("next",), "after")
    assert paginator.step(None) == Step()
    assert paginator.step("a b") == Step({"after": "a b"})
    assert paginator.step(0) == Step({"after": "0"})
    assert paginator.following(None, answer("x")) == "x"
    assert paginator.following(None, answer()) is None


def test_a_next_url_may_be_relative_to_the_page_that_gives_it() -> None:
    paginator = NextUrlPaginator(("next",))
    assert paginator.following(None, answer("?page=2")) == "https://api.example.com/v1/users?page=2"
    assert paginator.following(None, answer("https://x.example/2")) == "https://x.example/2"
    assert paginator.step("https://x.example/2") == Step(url="https://x.example/2")
    with pytest.raises(PageUnreadable, match="a number"):
        paginator.following(None, answer(2))


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
        LinkHeaderPaginator().following(None, answer(headers={"link": "https://x/2; rel=next"}))


def test_a_missing_link_header_is_the_last_page() -> None:
    assert LinkHeaderPaginator().following(None, answer()) is None


def test_a_single_page_has_no_next() -> None:
    assert SinglePage().following(None, answer("ignored")) is None
    assert SinglePage().step(None) == Step()
