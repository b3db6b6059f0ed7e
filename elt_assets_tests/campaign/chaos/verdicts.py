"""Verdicts: whether the result of one sync is right, or was visibly not applied.

A verdict compares it with what the table held before, what the provider held when the sync began
and ended, and which records a fault touched. The functions are pure, so that each rule can be
tested with a planted violation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from elt_assets.sync.outcome import Outcome, Status
from elt_assets_tests.campaign.oracles import Violation, documented_limit
from elt_assets_tests.testbed.faulty_provider.fault import Ending, Endings

Users = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Scene:
    """One sync: the table around it, the provider around it, and what it said.

    `touched` are the keys whose records a fault touched: these may have come out as they
    were before, or not at all if they are new. Of those `said` the provider claimed something
    well formed that is not so: they may have come out so too, but no more than the limit allows.
    """

    before: Users
    after: Users
    start: Users
    end: Users
    outcome: Outcome
    touched: frozenset[str] = frozenset()
    said: frozenset[str] = frozenset()
    most: int = 0
    """The most rows that the table had in the last 24 hours, which limits are a share of."""

    @property
    def ending(self) -> Ending:
        """How the sync says that it ended."""
        if self.outcome.status is Status.FAILED:
            return Ending.FAILED
        withheld = self.outcome.status is Status.QUARANTINED and self.outcome.counts.unique == 0
        complete = self.outcome.certificate.complete and not withheld
        return Ending.RIGHT if complete else Ending.INCOMPLETE


def judge(scene: Scene, allowed: Endings) -> list[Violation]:
    """Everything wrong with the scene."""
    ending = scene.ending
    found = [*_false_deletes(scene), *_mass_harm(scene)]
    if ending not in allowed:
        said = scene.outcome.error or "; ".join(scene.outcome.certificate.reasons)
        found += _each(scene, "unexpected ending", [f"{ending} ({said})"])
    match ending:
        case Ending.FAILED:
            found += _failed(scene)
        case Ending.INCOMPLETE:
            found += _incomplete(scene)
        case Ending.RIGHT:
            found += _right(scene)
    return found


def healed(partition: str, after: Users, truth: Users) -> list[Violation]:
    """Differences that remain although the provider behaves again."""
    found = {
        "lost": truth.keys() - after.keys(),
        "should be gone": after.keys() - truth.keys(),
        "stale overwrite": {key for key in after.keys() & truth.keys() if after[key] != truth[key]},
    }
    return [
        Violation(oracle, partition, f"{key} after healing")
        for oracle, keys in found.items()
        for key in sorted(keys)
    ]


def _false_deletes(scene: Scene) -> list[Violation]:
    """Whoever was with the provider all the time and had a row must still have one."""
    alive = scene.start.keys() & scene.end.keys()
    return _each(scene, "false delete", (scene.before.keys() & alive) - scene.after.keys())


def _mass_harm(scene: Scene) -> list[Violation]:
    """Of those who were active, or had an address, and still are so, few may lose it at once."""
    alive = scene.before.keys() & scene.start.keys() & scene.end.keys() & scene.after.keys()
    limit = documented_limit(max(len(scene.before), scene.most))
    found = []
    for name in ("active", "email"):
        kept = (scene.before, scene.start, scene.end)
        harmed = [
            key
            for key in alive
            if all(users[key].get(name) for users in kept) and not scene.after[key].get(name)
        ]
        if len(harmed) > limit:
            found += _each(scene, "many harmed", [f"{len(harmed)} lost {name}"])
    return found


def _failed(scene: Scene) -> list[Violation]:
    changed = {
        key
        for key in scene.before.keys() | scene.after.keys()
        if scene.before.get(key) != scene.after.get(key)
    }
    found = _each(scene, "applied by a failed sync", changed)
    if not scene.outcome.error or "\n" in scene.outcome.error.strip():
        found += _each(scene, "failed without a clear line", [scene.outcome.error])
    return found


def _incomplete(scene: Scene) -> list[Violation]:
    gone = scene.before.keys() - scene.after.keys()
    found = _each(scene, "delete without proof", gone)
    if scene.outcome.counts.deletes:
        found += _each(scene, "delete without proof", [f"counts {scene.outcome.counts.deletes}"])
    if not (scene.outcome.certificate.reasons or scene.outcome.reasons):
        found += _each(scene, "incomplete without a reason", [scene.outcome.sync_id])
    strangers = scene.after.keys() - scene.before.keys() - scene.start.keys() - scene.end.keys()
    found += _each(scene, "nobody's row", strangers - scene.touched)
    known = scene.after.keys() - strangers - scene.touched
    return found + _each(
        scene, "stale overwrite", {k for k in known if scene.after[k] not in _versions(scene, k)}
    )


def _right(scene: Scene) -> list[Violation]:
    alive = scene.start.keys() & scene.end.keys()
    known = scene.start.keys() | scene.end.keys()
    lost = alive - scene.after.keys() - scene.touched - scene.before.keys()
    asked = scene.outcome.status is Status.QUARANTINED
    withheld = scene.outcome.counts.withheld_inserts if asked else 0
    found = _each(scene, "lost", lost) if len(lost) > withheld else []
    now = {key: (scene.start.get(key), scene.end.get(key)) for key in known}
    wrong = {
        key
        for key in scene.after.keys() & known
        if scene.after[key] not in now[key] and not (key in scene.touched and _excused(scene, key))
    }
    found += _each(scene, "stale overwrite", wrong)
    gone = scene.after.keys() - known - scene.touched
    counts = scene.outcome.counts
    kept = counts.withheld_deletes + counts.pending_deletes + counts.shielded_deletes
    if not gone <= scene.before.keys() or len(gone) > kept:
        found += _each(scene, "should be gone", gone)
    return found


def _excused(scene: Scene, key: str) -> bool:
    """Whether a touched record is as it was before, or went through more than two versions."""
    return (
        key in scene.said
        or scene.after[key] == scene.before.get(key)
        or scene.start.get(key) != scene.end.get(key)
    )


def _versions(scene: Scene, key: str) -> tuple[object, ...]:
    return scene.before.get(key), scene.start.get(key), scene.end.get(key)


def _each(scene: Scene, oracle: str, details: Iterable[object]) -> list[Violation]:
    return [
        Violation(oracle, scene.outcome.partition, str(detail))
        for detail in sorted(map(str, details))
    ]
