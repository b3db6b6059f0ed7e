"""The liar's campaign: generated worlds and lies, each listing read, settled and judged.

In memory: no HTTP, no database. What is drawn depends on the seed alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.liar.desk import Desk, Row, Rules
from elt_assets_tests.campaign.liar.lies import LIES, Lie, fitting
from elt_assets_tests.campaign.liar.oracles import Scene, Watcher
from elt_assets_tests.campaign.liar.probing import Probing
from elt_assets_tests.campaign.liar.provider import Paging, Provider
from elt_assets_tests.campaign.liar.reader import Reading, read
from elt_assets_tests.campaign.liar.world import KEYS, World
from elt_assets_tests.campaign.shares import in_shares

LISTINGS = 5
"""Listings of one integration, one after the other."""
_SHARES = 8
_PAGINGS = tuple(Paging)
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Draw:
    """What is drawn for one integration: its provider, its lies and how restless its people are."""

    dice: random.Random
    people: int
    size: int
    paging: Paging
    declares_total: bool
    page_cap: int | None
    chosen: list[Lie]
    restless: bool
    probes: bool
    hours: int

    @classmethod
    def of(cls, dice: random.Random, *, lies: bool = True) -> Draw:
        """Four of five are small, where a page or two make a difference and limits hardly hold."""
        roll = dice.random
        small = roll() < 0.8
        paging, declares_total = _PAGINGS[int(roll() * len(_PAGINGS))], roll() < 0.5
        kinds = fitting(paging, declares_total)
        count = int(roll() * 3) * lies
        chosen = [kinds[int(roll() * len(kinds))].drawn(dice) for _ in range(count)]
        return cls(
            dice,
            people=int(roll() * 9) + 1 if small else int(roll() * 30) + 11,
            size=int(roll() * 3) + 2 if small else int(roll() * 6) + 4,
            paging=paging,
            declares_total=declares_total,
            page_cap=2 if roll() < 0.1 else None,
            chosen=chosen,
            restless=roll() < 0.6,
            # Without probes a lie about single records could not be told.
            probes=roll() < 0.5 or any(lie.single is not None for lie in chosen),
            hours=30 if roll() < 0.5 else 3,
        )

    def provider(self) -> Provider:
        """The provider, with nobody but these people."""
        return Provider(
            World.of(self.people),
            self.paging,
            self.dice,
            declares_total=self.declares_total,
            page_cap=self.page_cap,
        )

    def lies(self, listing: int) -> list[Lie]:
        """The lies of one listing; the first listing is mostly honest."""
        if not self.chosen or (listing == 0 and self.dice.random() < 0.8):
            return []
        return [lie.drawn(self.dice) if self.dice.random() < 0.3 else lie for lie in self.chosen]

    def moves(self) -> bool:
        """Whether somebody comes or goes before the next page."""
        return self.restless and self.dice.random() < 0.15


def liar_campaign(listings: int, seed: int, processes: int | None = None) -> Figures:
    """At least so many listings, on as many cores as there are."""
    shares = [seed + number for number in range(_SHARES)]
    run = partial(campaign, -(-listings // _SHARES))
    return in_shares(f"liar (seed {seed})", run, shares, processes)


def campaign(listings: int, seed: int, rules: Rules | None = None, *, lies: bool = True) -> Figures:
    """At least so many listings, judged by the product's rules or by others."""
    figures = Figures(f"liar (seed {seed})")
    for number in range(-(-listings // LISTINGS)):
        scenario(seed * 1_000_003 + number, figures, rules or Rules(), lies=lies)
    return figures


def scenario(seed: int, figures: Figures, rules: Rules, *, lies: bool = True) -> None:
    """One integration, from its first listing on."""
    dice = random.Random(seed)
    draw = Draw.of(dice, lies=lies)
    provider = draw.provider()
    world, seen = provider.world, figures.seen
    desk, watcher = Desk(rules), Watcher()
    moves = 0

    def before_page() -> None:
        nonlocal moves
        if draw.moves():
            moves += 1
            live(world, dice)

    for number in range(LISTINGS):
        provider.begin(draw.lies(number))
        if number:
            live(world, dice)
        told, moves = provider.fired.total(), 0
        start = frozenset(KEYS[one] for one in world.present)
        inactive = set(world.inactive)
        reading = read(
            provider,
            # A confirming listing has another page size.
            draw.size + 1 if desk.missing else draw.size,
            interrupted_at=int(dice.random() * 3) + 1 if dice.random() < 0.1 else None,
            listing_of=rules.listing_of,
            before_page=before_page,
        )
        seen["listings"] += 1
        if reading.failed:
            seen["listings that failed"] += 1
            continue
        listed = rows_of(reading, inactive)
        source = Probing(provider, draw.probes)
        table = frozenset(desk.rows)
        moment = _BEGIN + timedelta(hours=draw.hours * number)
        settled = desk.settle(reading, listed, source, moment)
        scene = Scene(
            start=start,
            end=frozenset(KEYS[one] for one in world.present),
            table=table,
            listed=frozenset(listed),
            reading=reading,
            answers=source.answers,
            settled=settled,
            quiet=not moves and provider.fired.total() == told,
        )
        if violations := watcher.judge(scene):
            figures.judge(f"scenario {seed} listing {number} {[*provider.fired]}", violations)
        seen["quiet listings"] += scene.quiet
        seen["complete listings"] += settled.certificate.complete
        seen["deletes applied"] += len(settled.deleted)
        seen["deletes pending"] += len(settled.pending)
        seen["syncs quarantined"] += bool(settled.verdict.withheld)
    figures.fired.update(provider.fired)


def never_often_enough(figures: Figures, least: int) -> dict[str, int]:
    """Every lie that was told less than `least` times, with how often it was."""
    return {name: figures.fired[name] for name in LIES if figures.fired[name] < least}


def live(world: World, dice: random.Random) -> None:
    """A leaver, a joiner, both, or a change of one person."""
    roll = dice.random()
    if roll < 0.4:
        world.leave(dice)
    if 0.3 < roll < 0.75:
        world.join(dice)
    if roll > 0.9:
        world.deactivate(dice)


def rows_of(reading: Reading, inactive: set[int]) -> dict[str, Row]:
    """What a listing says of everybody on it."""
    return {
        KEYS[one]: (
            not asked.answer.inactive and one not in inactive,
            not asked.answer.nameless,
        )
        for asked, people in zip(reading.asked, reading.pages, strict=True)
        for one in people
    }
