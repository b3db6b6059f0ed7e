"""When a listing goes on and when it ends: the decisions alone, without a provider."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from elt_assets.connectors.rest.listing_course import (
    Continuation,
    Course,
    Facts,
    ListingCourse,
    ListingProgress,
    Meaning,
    Missing,
    Refusal,
    Turn,
)

Data = dict[str, Any]

NUMBERED = Course(Continuation.NUMBERED, max_pages=100, start=1)
COUNTED = Course(Continuation.COUNTED, max_pages=100)
TOKEN = Course(Continuation.TOKEN, max_pages=100)
ADDRESS = Course(Continuation.ADDRESS, max_pages=100)
SINGLE = Course(Continuation.SINGLE, max_pages=100)
COUNTING = pytest.mark.parametrize("course", [NUMBERED, COUNTED])


def turns(course: Course, *facts: Facts) -> list[Turn]:
    """What follows from each answer; the listing must go on up to the last of them."""
    listing = ListingCourse(course)
    found: list[Turn] = []
    for one in facts:
        assert not found or (found[-1].next is not None and found[-1].cut_short is None)
        found.append(listing.take(one))
    return found


def read(course: Course, provider: Callable[[ListingProgress], Facts]) -> list[Turn]:
    """Ask a provider until the listing ends or stops."""
    listing = ListingCourse(course)
    found: list[Turn] = []
    while not found or (found[-1].next is not None and found[-1].cut_short is None):
        found.append(listing.take(provider(listing.progress)))
    return found


def doubts(found: Iterable[Turn]) -> list[str]:
    return [doubt for turn in found for doubt in turn.doubts]


def by_offset(records: int, size: int, total: Callable[[int, int], int | None]) -> list[Turn]:
    """An offset listing; the total depends on the page's offset and length."""

    def provider(progress: ListingProgress) -> Facts:
        offset = progress.at or 0
        count = max(0, min(size, records - offset))
        return Facts(count, total=total(offset, count), mark=f"{offset}" if count else None)

    return read(COUNTED, provider)


@COUNTING
def test_a_total_ends_a_listing_only_on_a_page_shorter_than_the_longest(course: Course) -> None:
    found = turns(course, Facts(5, total=8), Facts(3, total=8))
    assert found[-1] == Turn(None, 8)


@COUNTING
def test_a_total_that_is_reached_on_a_full_page_is_tried_by_one_more_page(course: Course) -> None:
    found = turns(course, Facts(5, total=10), Facts(5, total=10), Facts(0, total=10))
    assert found[1].next is not None
    assert found[2] == Turn(None, 10)
    assert turns(course, Facts(3, total=3))[0].next is not None


def test_a_total_that_repeats_the_page_size_loses_nobody() -> None:
    found = by_offset(10, 4, lambda offset, count: count)
    assert sum(1 for turn in found) == 4
    assert found[-1].next is None
    assert doubts(found) == ["the provider's total 4 is smaller than the 8 records listed"]


def test_a_total_that_was_too_small_is_never_believed_again() -> None:
    found = by_offset(10, 4, lambda offset, count: 4 if offset == 4 else 10)
    assert [turn.total for turn in found] == [10, None, None, None]
    resumed = ListingCourse(COUNTED, found[1].next or ListingProgress())
    assert resumed.take(Facts(2, total=10)).next is not None


def test_a_total_of_what_is_left_is_too_small_in_the_end() -> None:
    found = by_offset(12, 5, lambda offset, _: 12 - offset)
    assert [turn.next and turn.next.listed for turn in found] == [5, 10, 12, None]
    assert doubts(found) == ["the provider's total 7 is smaller than the 10 records listed"]


@COUNTING
def test_without_a_total_an_empty_page_is_the_end(course: Course) -> None:
    found = turns(course, Facts(5), Facts(2), Facts(0))
    assert found[-1] == Turn(None)
    assert doubts(found) == []


@COUNTING
def test_counted_positions_follow_from_the_answers(course: Course) -> None:
    positions = [turn.next.at for turn in turns(course, Facts(5), Facts(3)) if turn.next]
    assert positions == ([2, 3] if course is NUMBERED else [5, 8])


@COUNTING
def test_a_provider_that_ignores_the_position_is_cut_short(course: Course) -> None:
    found = turns(course, Facts(5, total=5, mark="a"), Facts(5, total=5, mark="a"))
    assert "page 2 repeats page 1" in str(found[1].cut_short)


@COUNTING
def test_a_page_that_says_more_follow_is_not_the_last(course: Course) -> None:
    found = turns(course, Facts(5, total=8), Facts(3, total=8, more=True), Facts(0, more=True))
    assert doubts(found) == ["page 3 says that more records follow but gives no next page"]


@pytest.mark.parametrize("course", [TOKEN, ADDRESS])
def test_a_listing_goes_where_its_pages_lead(course: Course) -> None:
    found = turns(course, Facts(2, "b"), Facts(2, "c"), Facts(1))
    assert [turn.next.at for turn in found if turn.next] == ["b", "c"]
    assert found[-1] == Turn(None)


@pytest.mark.parametrize("course", [TOKEN, ADDRESS])
def test_an_empty_page_in_the_middle_is_a_doubt_said_once(course: Course) -> None:
    found = turns(course, Facts(2, "b"), Facts(0, "c"), Facts(0, "d"), Facts(2))
    assert doubts(found) == ["page 2 is empty although another page follows"]


def test_no_more_ends_a_listing_unless_the_total_says_otherwise() -> None:
    assert turns(TOKEN, Facts(2, "b", more=False))[0].next is None
    assert turns(TOKEN, Facts(2, "b", more=False, total=3))[0].next is not None
    found = turns(TOKEN, Facts(2, more=True))
    assert doubts(found) == ["page 1 says that more records follow but gives no next page"]


def test_a_last_page_that_gives_its_own_token_is_asked_for_once_more_and_not_kept_twice() -> None:
    found = turns(TOKEN, Facts(2, "b", mark="1"), Facts(1, "b", mark="2"), Facts(1, "b", mark="2"))
    assert found[-1] == Turn(None, repeated=True)
    assert doubts(found) == []


def test_a_token_that_names_where_reading_stands_is_followed_to_the_end() -> None:
    found = turns(
        TOKEN,
        Facts(2, "scroll", mark="1"),
        Facts(2, "scroll", mark="2"),
        Facts(2, "scroll", mark="3"),
        Facts(0, "scroll"),
    )
    assert found[-1] == Turn(None)
    assert doubts(found) == []


def test_a_token_of_its_own_on_a_page_that_reaches_the_total_is_the_end() -> None:
    found = turns(TOKEN, Facts(2, "b", total=3), Facts(1, "b", total=3))
    assert found[-1] == Turn(None, 3)


def test_the_same_page_for_another_token_is_no_end() -> None:
    found = turns(TOKEN, Facts(2, "b", mark="1"), Facts(2, "b", mark="1"))
    assert found[-1].cut_short == "page 2 leads back to a page already fetched"


def test_an_address_that_leads_to_its_own_page_is_a_circle_short_of_the_total() -> None:
    found = turns(ADDRESS, Facts(2, "b", total=3), Facts(1, "b", total=3))
    assert found[-1] == Turn(None, 3)
    found = turns(ADDRESS, Facts(2, "b", mark="1"), Facts(1, "b", mark="2"))
    assert found[-1].cut_short == "page 2 leads back to a page already fetched"


def test_a_circle_is_noticed_after_several_pages() -> None:
    found = turns(TOKEN, Facts(2, "b"), Facts(2, "c"), Facts(2, "b"))
    assert found[-1].cut_short == "page 3 leads back to a page already fetched"


def test_the_page_limit_cuts_short() -> None:
    listing = ListingCourse(Course(Continuation.TOKEN, max_pages=2))
    assert listing.take(Facts(1, "b")).cut_short is None
    assert listing.take(Facts(1, "c")).cut_short == "page limit of 2 reached (ELT_ASSETS_MAX_PAGES)"


@pytest.mark.parametrize("course", [NUMBERED, COUNTED, TOKEN, ADDRESS, SINGLE])
def test_a_missing_list_on_the_first_page_is_not_an_empty_one(course: Course) -> None:
    (turn,) = turns(course, Facts(0, missing=Missing.NULL))
    assert (
        turn.cut_short == "page 1 has null where its list should be and follows no page of records"
    )
    assert turns(course, Facts(0, total=0, missing=Missing.NULL)) == [Turn(None, 0)]


@pytest.mark.parametrize("missing", Missing)
def test_a_missing_list_after_records_is_the_end(missing: Missing) -> None:
    for course in (NUMBERED, COUNTED):
        assert turns(course, Facts(2), Facts(0, missing=missing))[-1] == Turn(None)


@pytest.mark.parametrize("missing", [Missing.NULL, Missing.NO_CONTENT])
def test_a_page_that_is_led_to_may_have_no_list(missing: Missing) -> None:
    assert turns(TOKEN, Facts(2, "b"), Facts(0, missing=missing))[-1] == Turn(None)


@pytest.mark.parametrize("course", [TOKEN, ADDRESS])
def test_a_page_that_is_led_to_and_not_there_is_the_end_where_the_total_was_reached(
    course: Course,
) -> None:
    gone = Facts(0, missing=Missing.NOT_THERE)
    assert turns(course, Facts(2, "b", total=2), gone)[-1] == Turn(None)
    assert turns(course, Facts(2, "b"), gone)[-1].cut_short == (
        "page 1 leads to page 2, which has 404 Not Found"
    )


def test_a_missing_list_after_an_empty_page_is_no_end() -> None:
    found = turns(TOKEN, Facts(2, "b"), Facts(0, "c"), Facts(0, missing=Missing.NULL))
    assert str(found[-1].cut_short).startswith("page 3 has null")


def test_a_list_under_a_parent_may_be_null() -> None:
    course = Course(Continuation.TOKEN, max_pages=9, under_parent=True)
    assert turns(course, Facts(0, missing=Missing.NULL)) == [Turn(None)]


def test_one_page_is_all_there_is() -> None:
    assert turns(SINGLE, Facts(3)) == [Turn(None)]
    assert doubts(turns(SINGLE, Facts(3, more=True))) == [
        "page 1 says that more records follow but gives no next page"
    ]


@COUNTING
def test_a_page_that_is_not_there_after_records_is_the_end(course: Course) -> None:
    listing = ListingCourse(course)
    assert listing.meaning(Refusal.NOT_THERE) is Meaning.FAILURE
    listing.take(Facts(2))
    assert listing.meaning(Refusal.NOT_THERE) is Meaning.END
    assert listing.meaning(Refusal.GONE) is Meaning.END
    assert listing.meaning(Refusal.BAD_REQUEST) is Meaning.FAILURE


@COUNTING
def test_the_page_that_tries_a_total_may_be_refused(course: Course) -> None:
    listing = ListingCourse(course)
    listing.take(Facts(2, total=4))
    assert listing.meaning(Refusal.BAD_REQUEST) is Meaning.FAILURE
    listing.take(Facts(2, total=4))
    assert listing.meaning(Refusal.BAD_REQUEST) is Meaning.END


@COUNTING
def test_the_page_after_one_that_says_that_no_more_follow_may_be_refused(course: Course) -> None:
    listing = ListingCourse(course)
    listing.take(Facts(2, more=False))
    assert listing.meaning(Refusal.BAD_REQUEST) is Meaning.END


@COUNTING
@pytest.mark.parametrize("last", [{"total": 4}, {"more": False}])
def test_numbers_beyond_the_last_page_may_lead_to_it_again(course: Course, last: Data) -> None:
    found = turns(
        course, Facts(2, mark="1"), Facts(2, mark="2", **last), Facts(2, mark="2", **last)
    )
    assert found[-1] == Turn(None, last.get("total"), repeated=True)
    assert doubts(found) == []


@COUNTING
def test_a_last_page_that_was_the_first_proves_no_number(course: Course) -> None:
    found = turns(course, Facts(2, total=2, mark="1"), Facts(2, total=2, mark="1"))
    assert str(found[-1].cut_short).startswith("page 2 repeats page 1")


@pytest.mark.parametrize("course", [TOKEN, ADDRESS])
def test_a_position_is_refused_by_its_provider_when_it_is_old(course: Course) -> None:
    listing = ListingCourse(course, ListingProgress(3, "c", 4, 2, 2))
    assert {listing.meaning(refusal) for refusal in Refusal} == {Meaning.POSITION_REFUSED}
    listing.take(Facts(2, "d"))
    assert listing.meaning(Refusal.NOT_THERE) is Meaning.END
    assert listing.meaning(Refusal.BAD_REQUEST) is Meaning.FAILURE
    assert listing.meaning(Refusal.GONE) is Meaning.POSITION_REFUSED
    assert listing.meaning(Refusal.EXPIRED) is Meaning.POSITION_REFUSED


def test_a_saved_number_that_is_refused_outright_is_dropped() -> None:
    assert ListingCourse(NUMBERED, ListingProgress(3, 3)).meaning(Refusal.BAD_REQUEST) is (
        Meaning.POSITION_REFUSED
    )


def test_a_listing_goes_on_from_a_checkpoint_as_if_it_had_not_stopped() -> None:
    facts = [
        Facts(5, total=14, mark="a"),
        Facts(5, total=14, mark="b"),
        Facts(4, total=14, mark="c"),
    ]
    whole = turns(COUNTED, *facts)
    for at in range(1, len(facts)):
        saved = msgspec.json.encode(whole[at - 1].next)
        listing = ListingCourse(COUNTED, msgspec.json.decode(saved, type=ListingProgress))
        assert [listing.take(one) for one in facts[at:]] == whole[at:]


@COUNTING
def test_counted_pages_are_known_beforehand_up_to_the_total(course: Course) -> None:
    listing = ListingCourse(course)
    facts = Facts(5, total=14)
    place = listing.take(facts).next
    ahead = []
    while place is not None:
        place = listing.ahead(place, facts)
        ahead.append(place and place.at)
    assert ahead == ([3, None] if course is NUMBERED else [10, None])
    assert ListingCourse(TOKEN).ahead(ListingProgress(2, "b"), Facts(5)) is None


@pytest.mark.parametrize(
    ("course", "good", "bad"),
    [
        (NUMBERED, [2], [1, "2", True, None, {}]),
        (COUNTED, [1], [0, "2", True, None]),
        (TOKEN, ["x", 3], [True, None, {}]),
        (ADDRESS, ["https://x"], [True, None, []]),
    ],
)
def test_a_position_fits_its_kind(course: Course, good: list[object], bad: list[object]) -> None:
    assert all(course.fits(position) for position in good)
    assert not any(course.fits(position) for position in bad)


@pytest.mark.parametrize(("total", "last"), [(1000, 100), (1100, 100), (None, 100), (1000, 40)])
def test_a_listing_that_comes_as_far_as_the_provider_lets_it_is_cut_short(
    total: int | None, last: int
) -> None:
    course = Course(Continuation.NUMBERED, 100, start=1, reach=1000)
    listing = ListingCourse(
        course, ListingProgress(page=10, at=10, listed=1000 - last, longest=100)
    )
    turn = listing.take(Facts(last, total=total))
    assert turn.next is None
    assert turn.cut_short == "the provider allows paging through 1,000 records at most"
    listing = ListingCourse(course, ListingProgress(page=10, at=10, listed=899, longest=100))
    assert listing.take(Facts(100, total=999)).cut_short is None
