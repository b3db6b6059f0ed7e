"""The engine's decisions over a table kept in memory.

What is decided is the product's own: certificate, confirmation and guard. What its SQL does, the
comparison of keys and the memory of who was missing, is done here in sets; `test_engine_liar`
holds the SQL to the same oracles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from elt_assets.config.safeguards import Safeguards
from elt_assets.connectors.rest.listing_course import ListingCourse
from elt_assets.connectors.source import Presence
from elt_assets.sync.detect import delete_confirmation, delete_guard
from elt_assets.sync.extract import certificate as certificates
from elt_assets.sync.outcome import Certificate, Mode
from elt_assets_tests.campaign.liar.reader import ListingOf, Reading

SAFEGUARDS = Safeguards()
Row = tuple[bool, bool]
"""Whether the person is active, and has an e-mail address."""


class Probes(Protocol):
    """The part of a source that confirmation asks."""

    @property
    def probes(self) -> bool: ...

    def probe(self, missing: Sequence[str], listed: Sequence[str]) -> Mapping[str, Presence]: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What is tested; planted violations replace one of them."""

    listing_of: ListingOf = ListingCourse
    certify: Callable[..., Certificate] = certificates.certify
    with_keys: Callable[..., Certificate] = certificates.with_keys
    second_witness: Callable[..., str] = delete_confirmation.second_witness
    confirm_deletes: Callable[..., int] = delete_confirmation.confirm_deletes
    judge: Callable[..., delete_guard.GuardVerdict] = delete_guard.judge


@dataclass(slots=True)
class Settled:
    """What one sync did, by key."""

    certificate: Certificate
    verdict: delete_guard.GuardVerdict = field(default_factory=delete_guard.GuardVerdict)
    inserted: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    deactivated: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    shielded: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Missing:
    """Stands for the product's `Detection` where deletes are confirmed."""

    keys: set[str]
    seen: Sequence[str]
    since: Mapping[str, str]
    shielded: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)

    def candidates(self) -> list[tuple[str, str]]:
        return [(key, key) for key in sorted(self.keys)]

    def listed(self) -> list[str]:
        return [*self.seen]

    def shield(self, ids: Iterable[str]) -> None:
        self.shielded.update(ids)

    def hold_back(self, ids: Iterable[str]) -> None:
        self.pending.update(ids)

    def hold_back_newly_missing(
        self, repeated: int | None, *, ids: Iterable[str] | None = None, missed_before: str
    ) -> None:
        for key in self.keys if ids is None else ids:
            if self.since.get(key, "9") > missed_before:
                self.pending.add(key)


@dataclass(slots=True)
class Desk:
    """One integration's table and what is remembered about it."""

    rules: Rules = field(default_factory=Rules)
    rows: dict[str, Row] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    harm: list[tuple[datetime, int, int, int, int]] = field(default_factory=list)

    def settle(
        self, reading: Reading, listed: dict[str, Row], source: Probes, moment: datetime
    ) -> Settled:
        """Judge and apply one listing, in the order in which the engine does."""
        rules, rows = self.rules, self.rows
        keys = certificates.ListedKeys(len(listed), _on_several_pages(reading))
        sealed = rules.with_keys(rules.certify(reading.state()), keys, Mode.FULL)
        done = Settled(sealed)
        done.inserted = listed.keys() - rows.keys()
        updates = {key for key, row in listed.items() if key in rows and rows[key] != row}
        done.deactivated = {key for key in updates if rows[key][0] and not listed[key][0]}
        done.lost = {key for key in updates if rows[key][1] and not listed[key][1]}
        missing = rows.keys() - listed.keys()
        if updates or missing:
            done.verdict = rules.judge(
                sealed,
                delete_guard.Harms(
                    latest=len(rows),
                    unique=len(listed),
                    inserts=len(done.inserted),
                    missing=len(missing),
                    deletes=len(missing),
                    deactivations=len(done.deactivated),
                    losing=len(done.lost),
                    losses={"email": len(done.lost)} if done.lost else {},
                ),
                SAFEGUARDS,
                recent=self._recent(moment),
            )
        withheld = done.verdict.withheld
        passing = set(missing)
        if withheld & {delete_guard.Harm.DELETE, delete_guard.Harm.IDENTITY}:
            passing = set()
        if delete_guard.Harm.IDENTITY in withheld:
            done.inserted = set()
        if delete_guard.Harm.DEACTIVATION in withheld:
            updates -= done.deactivated
        if delete_guard.Harm.LOSS in withheld:
            updates -= done.lost
        if passing:
            passing = self._confirmed(done, passing, [*listed], source, moment)
        done.deleted = passing
        done.deactivated &= updates
        done.lost &= updates
        self._apply(done, listed, updates, moment)
        return done

    def _confirmed(
        self, done: Settled, missing: set[str], listed: list[str], source: Probes, moment: datetime
    ) -> set[str]:
        rules = self.rules
        found = _Missing(missing, listed, self.missing)
        witness = rules.second_witness(None, done.certificate, probes=source.probes)
        earlier = delete_confirmation.EarlierAbsence(_text(moment))
        present = rules.confirm_deletes(found, witness, source, earlier)
        done.certificate = certificates.contradicted(done.certificate, present)
        done.shielded, done.pending = found.shielded, found.pending
        return missing - found.shielded - found.pending

    def _apply(
        self, done: Settled, listed: dict[str, Row], updates: set[str], moment: datetime
    ) -> None:
        rows = self.rows
        before = len(rows)
        for key in done.deleted:
            del rows[key]
        for key in done.inserted | updates:
            rows[key] = listed[key]
        deletes_withheld = bool(
            done.verdict.withheld & {delete_guard.Harm.DELETE, delete_guard.Harm.IDENTITY}
        ) and any(key not in listed for key in rows)
        there = listed.keys() | done.shielded
        self.missing = {key: at for key, at in self.missing.items() if key not in there}
        if done.certificate.complete and not deletes_withheld:
            text = _text(moment)
            self.missing = {key: self.missing.get(key, text) for key in done.pending}
        harms = (len(done.deleted), len(done.deactivated), len(done.lost))
        self.harm.append((moment, before, *harms))

    def _recent(self, moment: datetime) -> delete_guard.RecentHarm:
        recent = [one for one in self.harm if one[0] > moment - timedelta(hours=24)]
        if not recent:
            return delete_guard.RecentHarm()
        return delete_guard.RecentHarm(
            latest=recent[0][1],
            deletes=sum(one[2] for one in recent),
            deactivations=sum(one[3] for one in recent),
            losses=sum(one[4] for one in recent),
        )


def _on_several_pages(reading: Reading) -> int:
    people = reading.people
    if len(people) == len(set(people)):
        return 0
    seen: dict[int, int] = {}
    for page in reading.pages:
        for one in set(page):
            seen[one] = seen.get(one, 0) + 1
    return sum(1 for times in seen.values() if times > 1)


def _text(moment: datetime) -> str:
    return moment.isoformat()
