"""The liar's world: who is with a provider, in the order in which it lists them.

People are numbers, so that a million listings are cheap; their keys are texts.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from dataclasses import dataclass, field

_GAP = 64
"""Numbers left free between two people, for those who join between them."""


class _Keys(dict[int, str]):
    def __missing__(self, number: int) -> str:
        key = self[number] = f"u{number:05}"
        return key


KEYS = _Keys()
"""Each person's key."""


def number_of(key: str) -> int:
    """The person of a key."""
    return int(key[1:])


@dataclass(slots=True)
class World:
    """People by number, in listing order; nobody who has left comes back."""

    present: list[int]
    inactive: set[int] = field(default_factory=set)
    used: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, people: int) -> World:
        """A world of so many people."""
        present = [_GAP * number for number in range(1, people + 1)]
        return cls(present, used=set(present))

    def leave(self, dice: random.Random) -> None:
        """Let one person leave, wherever in the listing."""
        if self.present:
            del self.present[int(dice.random() * len(self.present))]

    def join(self, dice: random.Random) -> None:
        """Let one person join, at the end or between two others."""
        highest = max(self.used, default=0)
        number = highest + _GAP if dice.random() < 0.5 else int(dice.random() * highest) + 1
        if number not in self.used:
            self.used.add(number)
            insort(self.present, number)

    def deactivate(self, dice: random.Random) -> None:
        """Let one person be disabled."""
        if self.present:
            self.inactive.add(self.present[int(dice.random() * len(self.present))])

    def has(self, number: int) -> bool:
        """Whether that person is there."""
        place = bisect_left(self.present, number)
        return place < len(self.present) and self.present[place] == number
