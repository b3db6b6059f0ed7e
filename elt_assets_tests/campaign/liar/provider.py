"""A model provider: lists a world page by page and answers for one person, honestly or not.

Pure and in memory. Which lies there are is in `lies`; who reads, in `reader`.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from elt_assets_tests.campaign.liar.world import World

if TYPE_CHECKING:
    from elt_assets_tests.campaign.liar.lies import Lie


class Paging(StrEnum):
    """How the next page is asked for."""

    NUMBERS = "numbers"
    OFFSETS = "offsets"
    CURSORS = "cursors"

    @property
    def counted(self) -> bool:
        """Whether the reader counts, instead of being led from page to page."""
        return self is not Paging.CURSORS


class Single(StrEnum):
    """An answer about one person."""

    PRESENT = "present"
    GONE = "gone"
    PROXY = "proxy"
    """404, and HTML: not the API's own answer."""


@dataclass(slots=True)
class Answer:
    """One page. `following` is its cursor; a provider of counted pages gives none."""

    people: list[int]
    following: str | None
    total: int | None
    inactive: bool = False
    """Everybody on it is said to be inactive."""
    nameless: bool = False
    """Nobody on it has an e-mail address."""
    refused: bool = False
    """The position is no longer taken; there is no page."""


@dataclass(slots=True)
class Provider:
    """Answers about `world`. `page_cap` is the longest page that it serves, whatever is asked."""

    world: World
    paging: Paging
    dice: random.Random
    declares_total: bool = True
    page_cap: int | None = None
    lies: Sequence[Lie] = ()
    fired: Counter[str] = field(default_factory=Counter)
    served: list[list[int]] = field(default_factory=list)
    """The pages of the listing that is being read."""
    before: list[list[int]] = field(default_factory=list)
    """The pages of the listing before."""

    def begin(self, lies: Sequence[Lie]) -> None:
        """A new listing, with these lies in it."""
        self.lies = lies
        self.before, self.served = self.served, []

    def page(self, place: int | str | None, size: int) -> Answer:
        """The page at an offset or a cursor (None: the first)."""
        for lie in self.lies:
            if lie.place is not None:
                moved = lie.place(self, lie, place, size)
                if moved != place:
                    self.fired[lie.name] += 1
                    place = moved
        answer = self.honest(place, size)
        for lie in self.lies:
            if lie.answer is not None and lie.answer(self, lie, answer, size):
                self.fired[lie.name] += 1
        if answer.refused:
            answer.people, answer.following, answer.total = [], None, None
        else:
            self.served.append(answer.people)
        return answer

    def honest(self, place: int | str | None, size: int) -> Answer:
        """The page as it is. A cursor names the person after whom it goes on, or an offset."""
        present = self.world.present
        if self.page_cap is not None:
            size = min(size, self.page_cap)
        if place is None:
            start = 0
        elif isinstance(place, int):
            start = place
        else:
            number = int(place[1:])
            start = number if place[0] == "o" else bisect_right(present, number)
        people = present[start : start + size]
        following = None
        if not self.paging.counted and start + size < len(present):
            following = f"k{people[-1]}"
        return Answer(people, following, len(present) if self.declares_total else None)

    def one(self, number: int) -> Single:
        """The answer about one person."""
        answer = Single.PRESENT if self.world.has(number) else Single.GONE
        for lie in self.lies:
            if lie.single is not None:
                told = lie.single(self, lie, number, answer)
                if told is not answer:
                    self.fired[lie.name] += 1
                    answer = told
        return answer
