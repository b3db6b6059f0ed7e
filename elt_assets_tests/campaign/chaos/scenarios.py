"""Scenarios: which fault meets which small world, drawn from a seed.

A chain is a series of scenarios over one integration. The module also sets the share of every
fault.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from elt_assets.identifiers import IntegrationRef
from elt_assets_tests.testbed.faulty_provider.chaos import FAULTS
from elt_assets_tests.testbed.faulty_provider.fault import (
    ALWAYS,
    RIGHT,
    Ending,
    Endings,
    Family,
    Fault,
    Need,
    Order,
    Plan,
)

LENGTH = 5
"""Scenarios of one chain, one after the other over the same integration."""

Pages = Literal["cursors", "numbers", "offsets"]
_PAGES: tuple[Pages, ...] = ("cursors", "cursors", "cursors", "cursors", "numbers", "offsets")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What people do before one sync, and what the provider does during it.

    `place` is where in the listing the fault strikes, from 0 to 1. `retried` says that a
    failed sync is continued before a new one heals.
    """

    fault: str
    lasting: bool
    place: float
    companion: str | None
    leave: int
    change: int
    join: int
    retried: bool
    seed: int

    @property
    def allowed(self) -> Endings:
        """How the sync may end if the fault happens."""
        fault = FAULTS[self.fault]
        endings = fault.lasting if self.lasting else fault.fleeting
        if endings is None:
            raise ValueError(f"{self.fault} does not come in this form")
        return endings

    def plan(self, people: int, page_size: int) -> Plan:
        """The plan for a listing of so many people."""
        fault = FAULTS[self.fault]
        pages = max(1, ceil(people / page_size))
        first = min(fault.from_page, pages)
        last = max(first, pages - 1 if fault.before_last else pages)
        at = first + round(self.place * (last - first))
        orders = [Order(self.fault, at, ALWAYS if self.lasting else fault.answers)]
        if self.companion is not None:
            orders.append(Order(self.companion, at + fault.answers))
        return Plan(orders, seed=self.seed)


@dataclass(frozen=True, slots=True)
class Chain:
    """One integration and the scenarios it goes through.

    Counted `pages` are fetched several at once, each on its own. `single` lets the platform
    ask for one person before it deletes. What `heals` is made right after every scenario, so
    that the next one begins with the truth; the others are made right at the end.
    """

    number: int
    ref: IntegrationRef
    users: int
    page_size: int
    pages_per_batch: int
    total: bool
    grace: bool
    scenarios: tuple[Scenario, ...]
    pages: Pages = "cursors"
    single: bool = False
    heals: bool = True

    @property
    def counted(self) -> bool:
        """Whether who joins or leaves meanwhile moves others from one page to another."""
        return self.pages != "cursors"


def chains(seed: int, scenarios: int) -> list[Chain]:
    """At least so many scenarios, every fault in every form in turn."""
    dice = random.Random(seed)
    forms = [
        (fault, lasting)
        for fault in FAULTS.values()
        for lasting in (False, True)
        if (fault.lasting if lasting else fault.fleeting) is not None
    ]
    dice.shuffle(forms)
    # Each fault once before any comes a second time, in whatever form.
    seen: set[str] = set()
    first = [form for form in forms if not (form[0].name in seen or seen.add(form[0].name))]
    waiting = deque([*first, *(form for form in forms if form not in first)])
    return [_chain(dice, number, waiting) for number in range(ceil(scenarios / LENGTH))]


def _chain(dice: random.Random, number: int, waiting: deque[tuple[Fault, bool]]) -> Chain:
    pages = _PAGES[number % len(_PAGES)]
    # Counted pages without a count end at the first empty one, whatever it is empty for.
    total, grace = number % 4 != 3 or pages != "cursors", number % 5 == 1
    single = number % 2 == 0 and not grace
    held = (
        (Need.TOTAL, total),
        (Need.GRACE, grace),
        (Need.CURSOR, pages == "cursors"),
        (Need.SINGLE, single),
    )
    has = {need for need, met in held if met}
    page_size = dice.choice((5, 7, 8, 10))
    return Chain(
        number=number,
        ref=IntegrationRef(f"chaos-{number % 3}", f"chain-{number:05}"),
        # More than two pages always; one unusable record of so many is below the limit.
        users=dice.randint(24, 36),
        page_size=page_size,
        pages_per_batch=dice.choice((1, 2, 3, 10)),
        total=total,
        grace=grace,
        scenarios=(
            # In a first sync no user is missing, so none is asked for.
            _scenario(dice, *_next(waiting, has - {Need.SINGLE}), first=True),
            *(_scenario(dice, *_next(waiting, has), first=False) for _ in range(LENGTH - 1)),
        ),
        pages=pages,
        single=single,
        heals=number % 2 == 0,
    )


def _next(waiting: deque[tuple[Fault, bool]], has: set[Need]) -> tuple[Fault, bool]:
    """The form that waited longest among those that this integration can have."""
    for place, (fault, lasting) in enumerate(waiting):
        if fault.needs <= has:
            del waiting[place]
            waiting.append((fault, lasting))
            return fault, lasting
    raise LookupError("no fault fits")


def _scenario(dice: random.Random, fault: Fault, lasting: bool, *, first: bool) -> Scenario:
    mass = dice.random() < 0.1
    leave = 0 if first else dice.choice((9, 10)) if mass else dice.randint(0, 3)
    if fault.single is not None:
        leave = leave or 1
    return Scenario(
        fault=fault.name,
        lasting=lasting,
        place=dice.random(),
        companion=dice.choice(_COMPANIONS) if dice.random() < 0.25 else None,
        leave=leave,
        change=0 if first else dice.randint(0, 3),
        join=0 if first else max(0, leave + dice.randint(-1, 1)),
        retried=dice.random() < 0.5,
        seed=dice.randrange(2**32),
    )


_COMPANIONS: Sequence[str] = sorted(
    fault.name
    for fault in FAULTS.values()
    if fault.fleeting == RIGHT and fault.lasting == {Ending.FAILED} and fault.family is Family.HTTP
)
