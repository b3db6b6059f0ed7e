"""The same lies through the real engine: DuckDB, SQLite, and a source in this process.

So the SQL that compares, confirms and remembers who was missing is held to the same oracles.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from elt_assets.config.settings import load_settings
from elt_assets.connectors.mapping.expressions import Comparison
from elt_assets.connectors.mapping.expressions import Path as FieldPath
from elt_assets.connectors.rest.listing_course import BEGINNING, ListingCourse, ListingProgress
from elt_assets.connectors.source import Cursor, FieldMap, ListsOnly, Page
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.detect.delete_guard import GuardVerdict, Harm
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.liar.campaign import LISTINGS, Draw, live, rows_of
from elt_assets_tests.campaign.liar.desk import Row, Settled
from elt_assets_tests.campaign.liar.oracles import Scene, Watcher
from elt_assets_tests.campaign.liar.probing import Probing
from elt_assets_tests.campaign.liar.provider import Provider
from elt_assets_tests.campaign.liar.reader import COURSES, Reading, steps
from elt_assets_tests.campaign.liar.world import KEYS
from elt_assets_tests.campaign.oracles import Violation
from elt_assets_tests.sync.worlds import PROVIDER_DATA

FIELDS: FieldMap = {
    "external_id": FieldPath(("id",)),
    "name": FieldPath(("name",)),
    "email": FieldPath(("email",)),
    "active": Comparison(FieldPath(("status",)), "ACTIVE"),
}


@dataclass
class Situation:
    """One integration's provider, and what its source was told in the sync that is under way."""

    provider: Provider
    draw: Draw
    moves: int = 0
    inactive: set[int] = field(default_factory=set)
    reading: Reading | None = None
    probing: Probing | None = None

    def before_page(self) -> None:
        """Let somebody come or go now and then."""
        if self.draw.moves():
            self.moves += 1
            live(self.provider.world, self.draw.dice)


@dataclass
class LiarSource(ListsOnly):
    """A source over a model provider; a cursor is the listing's own progress."""

    situation: Situation
    records: tuple[str, ...] = ("items",)
    fields: FieldMap = field(default_factory=lambda: FIELDS)
    snapshot: bool = False
    resumable: bool = True
    size: int = 0

    def __post_init__(self) -> None:
        self.size = self.situation.draw.size

    @property
    def probes(self) -> bool:
        return self.situation.draw.probes

    def probe(self, missing: Any, listed: Any) -> Any:
        assert self.situation.probing is not None
        return self.situation.probing.probe(missing, listed)

    def otherwise(self) -> None:
        self.size = self.situation.draw.size + 1

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        situation = self.situation
        provider = situation.provider
        course = COURSES[provider.paging]
        progress = BEGINNING if cursor is None else msgspec.convert(cursor, ListingProgress)
        if cursor is None or situation.reading is None:
            situation.reading = Reading(provider.paging)
            provider.served = []
        listing = ListingCourse(course, progress)
        for people, answer, turn in steps(
            provider, self.size, listing, situation.reading, situation.before_page
        ):
            records = [
                {
                    "id": KEYS[one],
                    "name": "Somebody",
                    "email": None if answer.nameless else f"{KEYS[one]}@example.com",
                    "status": "INACTIVE"
                    if answer.inactive or one in situation.inactive
                    else "ACTIVE",
                }
                for one in people
            ]
            yield Page(
                msgspec.json.encode({"items": records}),
                len(people),
                None if turn.next is None else msgspec.to_builtins(turn.next),
                total=turn.total,
                cut_short=turn.cut_short,
                doubts=turn.doubts,
            )

    def close(self) -> None:
        return


class Installation:
    """A platform whose integrations read model providers."""

    def __init__(self, home: Path) -> None:
        self._situations: dict[str, Situation] = {}
        self.platform = SyncService.open(load_settings(home=home), open_source=self._open)

    def _open(self, provider: str, data: Mapping[str, Any], stream: str, **_: Any) -> LiarSource:
        return LiarSource(self._situations[data["permission_source_name"]])

    def scenario(self, seed: int, figures: Figures) -> None:
        """One integration, from its first listing on, as in the campaign in memory."""
        dice = random.Random(seed)
        draw = Draw.of(dice)
        ref = IntegrationRef("liar", f"s{seed}")
        provider = draw.provider()
        situation = self._situations[str(ref)] = Situation(provider, draw)
        data = PROVIDER_DATA | {"permission_source_name": str(ref)}
        self.platform.registry.add(ref, "rest", data)
        watcher = Watcher()
        for number in range(LISTINGS):
            provider.begin(draw.lies(number))
            if number:
                live(provider.world, dice)
            self._listing(situation, ref, number, watcher, figures)
        figures.fired.update(provider.fired)

    def _listing(
        self,
        situation: Situation,
        ref: IntegrationRef,
        number: int,
        watcher: Watcher,
        figures: Figures,
    ) -> None:
        provider = situation.provider
        told, moved = provider.fired.total(), situation.moves
        before = self._rows(ref)
        start = frozenset(KEYS[one] for one in provider.world.present)
        situation.inactive, situation.reading = set(provider.world.inactive), None
        situation.probing = Probing(provider)
        (outcome,) = self.platform.sync(USERS, [ref], sync_id=f"sync-{number}", pages_per_batch=2)
        figures.seen["listings through the engine"] += 1
        reading = situation.reading
        if outcome.status is Status.FAILED or reading is None:
            figures.seen["syncs that failed"] += 1
            if "unexpected error" in (outcome.error or ""):
                violation = Violation("unexpected error", str(ref), outcome.error or "")
                figures.judge(f"{ref} listing {number}", [violation])
            return
        after = self._rows(ref)
        scene = Scene(
            start=start,
            end=frozenset(KEYS[one] for one in provider.world.present),
            table=frozenset(before),
            listed=frozenset(rows_of(reading, situation.inactive)),
            reading=reading,
            answers=situation.probing.answers,
            settled=settled(outcome, before, after),
            quiet=provider.fired.total() == told and situation.moves == moved,
        )
        if violations := watcher.judge(scene):
            figures.judge(f"{ref} listing {number} {[*provider.fired]}", violations)
        figures.seen["deletes applied"] += outcome.counts.deletes

    def _rows(self, ref: IntegrationRef) -> dict[str, Row]:
        return {
            row["external_id"]: (bool(row["active"]), row["email"] is not None)
            for row in self.platform.records(USERS, ref)
        }

    def close(self) -> None:
        """Close the stores."""
        self.platform.close()


def settled(outcome: Outcome, before: dict[str, Row], after: dict[str, Row]) -> Settled:
    """What a sync did, by the table before and after it."""
    kept = before.keys() & after.keys()
    withheld = {Harm.DELETE} if outcome.counts.withheld_deletes else set()
    return Settled(
        outcome.certificate,
        GuardVerdict(frozenset(withheld), outcome.reasons),
        inserted=after.keys() - before.keys(),
        deleted=before.keys() - after.keys(),
        deactivated={key for key in kept if before[key][0] and not after[key][0]},
        lost={key for key in kept if before[key][1] and not after[key][1]},
    )
