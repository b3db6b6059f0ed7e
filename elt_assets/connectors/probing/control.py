"""The control: a record that was just listed and has to be answered as present.

The module chooses it among the listed keys. A provider may answer 404 for every record, and a
server in front of it for every key with a `/`, so the control's key has every special character
that the missing keys have.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_SPECIAL = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)
_NOT_ASCII = "non-ASCII"
_ENOUGH = 2
"""Keys of one kind that can be controls at the same time."""


@dataclass(frozen=True, slots=True)
class Controls:
    """The keys of controls, and `covered`: the missing keys whose answers they can confirm.

    Where each record has a request of its own, `first` is the control. A filter for several
    records has `first` at its beginning and `last` at its end.
    """

    first: str
    last: str | None
    covered: tuple[str, ...]


def special(key: str) -> frozenset[str]:
    """The characters of a key that servers treat in ways of their own in a path or a filter.

    A dot counts: some servers take what follows it for a format. All characters beyond ASCII
    count as one.
    """
    return frozenset(found if found.isascii() else _NOT_ASCII for found in _SPECIAL.findall(key))


def controls(missing: Sequence[str], listed: Iterable[str]) -> Controls | None:
    """The listed keys that cover the most missing ones; None if no key covers any."""
    wanted = Counter(special(key) for key in missing)
    examples: dict[frozenset[str], list[str]] = {}
    for key in listed:
        found = examples.setdefault(special(key), [])
        if len(found) < _ENOUGH and key not in found:
            found.append(key)

    def worth(has: frozenset[str]) -> tuple[int, int]:
        return sum(count for needs, count in wanted.items() if needs <= has), -len(has)

    ranked = sorted(examples, key=worth, reverse=True)
    if not ranked or worth(ranked[0])[0] == 0:
        return None
    best = ranked[0]
    covered = tuple(key for key in missing if special(key) <= best)
    needed = frozenset[str]().union(*map(special, covered))
    others = (key for has in ranked if needed <= has for key in examples[has])
    first = examples[best][0]
    return Controls(first, next((key for key in others if key != first), None), covered)
