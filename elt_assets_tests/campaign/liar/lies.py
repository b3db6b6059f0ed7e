"""Every lie by name: one claim of a provider, and how it is wrong.

A lie changes the place that is asked for, the page, or the answer about one person. It has fired
when what came out is not what an honest provider would have said.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from elt_assets_tests.campaign.liar.provider import Answer, Paging, Provider, Single

Place = int | str | None


@dataclass(slots=True)
class Lie:
    """One lie as drawn for a listing: `at` is the page that it is about, `amount` its size."""

    name: str
    place: Callable[[Provider, Lie, Place, int], Place] | None = None
    answer: Callable[[Provider, Lie, Answer, int], bool] | None = None
    single: Callable[[Provider, Lie, int, Single], Single] | None = None
    at: int = 1
    amount: int = 1
    victim: int = 0

    def drawn(self, dice: random.Random) -> Lie:
        """This lie about a page, by an amount and of a person."""
        return Lie(
            self.name,
            self.place,
            self.answer,
            self.single,
            at=int(dice.random() * 3) + 1,
            amount=int(dice.random() * 3) + 1,
            victim=int(dice.random() * 1000),
        )


def _page(provider: Provider) -> int:
    """The number of the page that is being answered."""
    return len(provider.served) + 1


def _total(change: Callable[[Provider, Lie, Answer], int]) -> Callable[..., bool]:
    def act(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
        if answer.total is None:
            return False
        told, answer.total = answer.total, max(0, change(provider, lie, answer))
        return answer.total != told

    return act


def _ends_too_early(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    """No next page although there is one, or an empty one where records would be."""
    if provider.paging.counted:
        if _page(provider) <= lie.at or not answer.people:
            return False
        answer.people = []
        return True
    if _page(provider) < lie.at or answer.following is None:
        return False
    answer.following = None
    return True


def _next_link_lost(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    """As above, and the count is lost with it, as in an answer from a cache."""
    answer.total = None
    return _ends_too_early(provider, lie, answer, size)


def _no_end(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    """After the last page comes the first one again, or the last one without end."""
    present = provider.world.present
    if provider.paging.counted:
        if answer.people or not present:
            return False
        answer.people = present[-size:] if lie.amount > 1 else present[:size]
        return True
    if answer.following is not None or not answer.people:
        return False
    answer.following = f"k{answer.people[-1]}" if lie.amount > 1 else "o0"
    return True


def _offset_cursor(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    if answer.following is None or answer.following[0] == "o":
        return False
    answer.following = f"o{sum(map(len, provider.served)) + len(answer.people)}"
    return True


def _overlap(provider: Provider, lie: Lie, place: Place, size: int) -> Place:
    """Each page begins one record before the end of the page before it."""
    if isinstance(place, int):
        return max(0, place - (_page(provider) - 1))
    if place is None or not provider.served or not provider.served[-1]:
        return place
    return f"k{provider.served[-1][-1] - 1}"


def _page_repeats(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    """The records of the page before in place of this page's."""
    if _page(provider) != lie.at + 1 or not provider.served[-1] or not answer.people:
        return False
    answer.people = list(provider.served[-1])
    return True


def _position_ignored(provider: Provider, lie: Lie, place: Place, size: int) -> Place:
    return 0 if isinstance(place, int) else None


def _empty_page(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    """A page whose records are missing and whose next link is not."""
    if _page(provider) != lie.at + 1 or not answer.people:
        return False
    answer.people = []
    return True


def _cap(own_total: bool) -> Callable[..., bool]:
    def act(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
        """Nothing is listed beyond a number of records."""
        cap = lie.amount * 2
        room = max(0, cap - sum(map(len, provider.served)))
        fired = len(answer.people) > room
        if fired:
            answer.people = answer.people[:room]
        if answer.following is not None and room <= len(answer.people):
            answer.following, fired = None, True
        if own_total and answer.total is not None and answer.total > cap:
            answer.total, fired = cap, True
        return fired

    return act


def _skips_one(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    """One person twice in the place of another, so that the count is right."""
    if not provider.served or not provider.served[0] or _page(provider) != lie.at + 1:
        return False
    if not answer.people:
        return False
    answer.people = [provider.served[0][0], *answer.people[1:]]
    return True


def _hides_one(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    """A person whom the provider consistently does not know."""
    present = provider.world.present
    if not present:
        return False
    hidden = present[lie.victim % len(present)]
    fired = hidden in answer.people
    if fired:
        answer.people = [one for one in answer.people if one != hidden]
    if answer.total is not None:
        answer.total, fired = max(0, answer.total - 1), True
    return fired


def _not_for(provider: Provider, lie: Lie, number: int, answer: Single) -> Single:
    return Single.GONE


def _not_for_one(provider: Provider, lie: Lie, number: int, answer: Single) -> Single:
    return Single.GONE if number % 7 != lie.victim % 7 else answer


def _proxy(provider: Provider, lie: Lie, number: int, answer: Single) -> Single:
    return Single.PROXY if answer is Single.GONE or lie.amount > 1 else answer


def _still_there(provider: Provider, lie: Lie, number: int, answer: Single) -> Single:
    return Single.PRESENT


def _inactive(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    answer.inactive = True
    return bool(answer.people)


def _nameless(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    answer.nameless = True
    return bool(answer.people)


def _other_keys(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    """Everybody has another key, as after a change of the identity provider."""
    answer.people = [-number for number in answer.people]
    return bool(answer.people)


def _refused(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    if _page(provider) != lie.at + 1 or lie.amount == 0:
        return False
    lie.amount = 0
    answer.refused = True
    return True


def _unchanged(provider: Provider, lie: Lie, answer: Answer, size: int) -> bool:
    """The page as it was in the listing before, under a 304."""
    place = _page(provider) - 1
    if place >= len(provider.before) or provider.before[place] == answer.people:
        return False
    answer.people = list(provider.before[place])
    return True


_CAP = "lists_no_more_than_so_many"
LIES: dict[str, Lie] = {
    lie.name: lie
    for lie in (
        Lie("total_too_low", answer=_total(lambda p, lie, a: (a.total or 0) - lie.amount)),
        Lie("total_too_high", answer=_total(lambda p, lie, a: (a.total or 0) + lie.amount)),
        Lie("total_is_the_page", answer=_total(lambda p, lie, a: len(a.people))),
        Lie("total_moves", answer=_total(lambda p, lie, a: (a.total or 0) + len(p.served))),
        Lie("total_is_an_estimate", answer=_total(lambda p, lie, a: (a.total or 0) // 4 * 4)),
        Lie("ends_too_early", answer=_ends_too_early),
        Lie("next_link_lost", answer=_next_link_lost),
        Lie("no_end", answer=_no_end),
        Lie("cursor_is_an_offset", answer=_offset_cursor),
        Lie("pages_overlap", place=_overlap),
        Lie("page_repeats", answer=_page_repeats),
        Lie("position_ignored", place=_position_ignored),
        Lie("empty_page_in_the_middle", answer=_empty_page),
        Lie(_CAP, answer=_cap(False)),
        Lie(f"{_CAP}_and_counts_those", answer=_cap(True)),
        Lie("skips_one_and_lists_another_twice", answer=_skips_one),
        Lie("hides_one_person", answer=_hides_one),
        Lie("404_for_every_single_record", single=_not_for),
        Lie("404_for_some_who_are_there", single=_not_for_one),
        Lie("404_of_a_proxy", single=_proxy),
        Lie("a_leaver_is_still_there_when_asked_for", single=_still_there),
        Lie("everybody_inactive", answer=_inactive),
        Lie("attribute_lost", answer=_nameless),
        Lie("identities_changed", answer=_other_keys),
        Lie("position_refused", answer=_refused),
        Lie("unchanged_though_it_changed", answer=_unchanged),
    )
}

ONLY_LED = frozenset({"cursor_is_an_offset"})


def fitting(paging: Paging, declares_total: bool) -> list[Lie]:
    """The lies that a provider of this kind can tell."""
    return [
        lie
        for lie in LIES.values()
        if (declares_total or not lie.name.startswith("total"))
        and not (paging.counted and lie.name in ONLY_LED)
    ]
