"""What must hold after each listing of a provider that may lie, whatever the product decided.

Each oracle knows the world and what the provider said, and nothing of how the product judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from elt_assets.connectors.source import Presence
from elt_assets_tests.campaign.liar.desk import Settled
from elt_assets_tests.campaign.liar.explain import fits
from elt_assets_tests.campaign.liar.reader import Reading
from elt_assets_tests.campaign.oracles import Violation, documented_limit

HARMED = "harmed"
MANY_HARMED = "more harmed than the limit"
STAYED = "a leaver stayed without a reason"
SHORT_BUT_COMPLETE = "a listing that lost a user called complete"
HONEST_DOUBTED = "an honest listing of a still world doubted"
NO_REASON = "incomplete or withheld without a reason"
ORACLES = (HARMED, MANY_HARMED, STAYED, SHORT_BUT_COMPLETE, HONEST_DOUBTED, NO_REASON)


@dataclass(frozen=True, slots=True)
class Scene:
    """One listing: who was there when it began and when its sync ended, and what came of it.

    `answers` are what probes said, `table` the keys before, `quiet` says that nobody lied and
    nobody moved.
    """

    start: frozenset[str]
    end: frozenset[str]
    table: frozenset[str]
    listed: frozenset[str]
    reading: Reading
    answers: dict[str, Presence]
    settled: Settled
    quiet: bool


@dataclass(slots=True)
class Watcher:
    """Follows one integration from listing to listing.

    `absences` counts, for each key of the table, listings that lacked it and that an honest
    provider could have sent, since it was last seen. `waiting` counts, for each leaver, complete
    listings since.
    """

    absences: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    partition: str = "liar"

    def judge(self, scene: Scene) -> list[Violation]:
        """Everything wrong with one listing and what followed."""
        settled, listed = scene.settled, scene.listed
        found: list[Violation] = []
        there = scene.start & scene.end
        honest = fits(scene.reading)
        present = {key for key, answer in scene.answers.items() if answer is Presence.PRESENT}
        contradicted = bool(present - listed)
        for key in listed | present:
            self.absences.pop(key, None)
        for key in scene.table - listed - present:
            self.absences[key] = self.absences.get(key, 0) + honest
        for key in sorted(settled.deleted & there):
            gone = scene.answers.get(key) is Presence.GONE
            # One who was skipped proves a listing wrong, but not a valid answer about another.
            absent = self.absences.get(key, 0) > 1 and not contradicted
            if not honest or not (gone or absent):
                found.append(self._violation(HARMED, key))
        found += self._above_limits(scene, there)
        lost = there - listed
        if lost and settled.certificate.complete and (not honest or contradicted):
            found.append(self._violation(SHORT_BUT_COMPLETE, min(lost)))
        found += self._leavers(scene, present)
        if scene.quiet and not (settled.certificate.complete and scene.start == listed):
            found.append(
                self._violation(HONEST_DOUBTED, "; ".join(settled.certificate.reasons) or "lost")
            )
        if not settled.certificate.complete and not settled.certificate.reasons:
            found.append(self._violation(NO_REASON, "certificate"))
        if settled.verdict.withheld and not settled.verdict.reasons:
            found.append(self._violation(NO_REASON, "verdict"))
        return found

    def _above_limits(self, scene: Scene, there: frozenset[str]) -> Iterator[Violation]:
        """No sync may harm more of those who are there than the documented limit."""
        settled = scene.settled
        limit = documented_limit(len(scene.table))
        for what, keys in (
            ("deleted", settled.deleted),
            ("deactivated", settled.deactivated),
            ("lost an attribute", settled.lost),
        ):
            if len(keys & there) > limit:
                yield self._violation(MANY_HARMED, f"{len(keys & there)} {what}")

    def _leavers(self, scene: Scene, present: set[str]) -> Iterator[Violation]:
        settled = scene.settled
        gone = scene.table - scene.start - scene.listed
        for key in [key for key in self.waiting if key not in gone]:
            del self.waiting[key]
        conclusive = settled.certificate.complete and not settled.verdict.withheld
        for key in gone:
            if key in present:
                self.waiting[key] = 0
            elif conclusive:
                self.waiting[key] = self.waiting.get(key, 0) + 1
                if self.waiting[key] > 1 and key not in settled.deleted:
                    yield self._violation(STAYED, key)

    def _violation(self, oracle: str, detail: str) -> Violation:
        return Violation(oracle, self.partition, detail)
