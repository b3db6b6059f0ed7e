"""The crash campaign: histories whose workers die, compared with twins whose workers do not.

It chooses moments, starts workers, recovers, simulates power loss, and passes the stores to the
oracles. Workers are forked from a server process that has imported everything and holds no thread
and no database, so that a death costs a fork and not an interpreter.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from elt_assets.config.settings import Settings, load_settings
from elt_assets.errors import EltAssetsError, InvalidInput
from elt_assets.storage.ducklake import lake_upkeep
from elt_assets.storage.from_settings import warehouses
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.state.store_tables import warehouse_layout
from elt_assets.sync.streams import USERS
from elt_assets_tests.campaign import oracles
from elt_assets_tests.campaign.crash import worker
from elt_assets_tests.campaign.crash.moments import (
    BOUNDARIES,
    BOUNDARIES_ON_A_LAKE,
    Death,
    Moments,
)
from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.histories import Expectation, History, Step, history
from elt_assets_tests.campaign.oracles import Violation
from elt_assets_tests.campaign.shares import PRELOADED, in_shares
from elt_assets_tests.campaign.state import (
    State,
    forget,
    has_begun,
    installation,
    landed,
    read_state,
)

RANDOM = "at a random instant"
CUT = "power loss: unwritten tail cut off"
TORN = "power loss: written page torn"
REPORTED = "power losses that were reported"
SHARES = 8
_DEATHS_IN_A_SHARE = 15
"""At least; a few of many histories cost more than the same deaths in fewer."""
_FAR_APART = 100_000
_HOPELESS = 150
"""Deaths in a share after which a boundary that no process has reached is given up."""
_PAGE = {".db": 4_096, ".duckdb": 16_384}
_DEADLY = {f"SIGKILL {RANDOM}", "segmentation fault", "SIGTERM"}
STEPS = {
    f"steps: {kind}"
    for kind in ("full sync", "incremental sync", "retry", "approve", "undo", "rebuild")
}
_DEATHS: tuple[Death, ...] = ("segmentation fault", "SIGTERM")
_STATUS = {-signal.SIGKILL: "SIGKILL", -signal.SIGSEGV: "SIGSEGV", 128 + signal.SIGTERM: "SIGTERM"}


class Share(NamedTuple):
    """A part of the campaign."""

    folder: Path
    seed: int
    kills: int
    power_losses: int
    boundaries: frozenset[str]
    """A process must have died at each of these, and the share continues until then."""


def crash_campaign(folder: Path, kills: int, power_losses: int, seed: int = 0) -> Figures:
    """So many deaths and losses of power, in shares that do not depend on the machine."""
    boundaries = sorted(boundaries_of(load_settings()))
    count = min(SHARES, max(1, kills // _DEATHS_IN_A_SHARE))
    shares = [
        Share(
            folder / f"share-{number}",
            seed + number * _FAR_APART,
            _part(kills, number, count),
            _part(power_losses, number, count),
            frozenset(boundaries[number::count]),
        )
        for number in range(count)
    ]
    return in_shares("crash", run_share, shares)


def run_share(share: Share) -> Figures:
    """One part of the campaign."""
    share.folder.mkdir()
    campaign = CrashCampaign(share.folder, share.seed, boundaries=share.boundaries)
    return campaign.run(share.kills, share.power_losses)


def _part(total: int, number: int, count: int) -> int:
    return (total + number) // count


@dataclass
class Twin:
    """A history lived without interruption: what each step consists of, and where it led."""

    moments: list[list[str]]
    states: list[State]
    seconds: list[float]


@dataclass
class CrashCampaign:
    """Kills workers until `kills` have died; every boundary is visited in turn.

    Those of `boundaries` come first, and are waited for.
    """

    folder: Path
    seed: int = 0
    boundaries: frozenset[str] = frozenset()
    figures: Figures = field(default_factory=lambda: Figures("crash"))
    _context: Any = field(default_factory=lambda: multiprocessing.get_context("forkserver"))
    _deaths: int = 0

    def __post_init__(self) -> None:
        self._context.set_forkserver_preload([worker.__name__, *PRELOADED])

    def run(self, kills: int, power_losses: int) -> Figures:
        """Live histories until enough workers have died, then cut tails off."""
        seed = self.seed
        while self._deaths < kills or self._spared():
            self._live(seed)
            seed += 1
        for number in range(power_losses):
            self._lose_power(seed + number)
        return self.figures

    def _spared(self) -> list[str]:
        """Boundaries at which no process has died yet; none once it is clear that none will."""
        if self._deaths > _HOPELESS:
            return []
        return self.figures.never_fired(f"SIGKILL {boundary}" for boundary in self.boundaries)

    def _live(self, seed: int) -> None:
        """One history with a death or two in every step, and its twin without."""
        lived, dice = history(seed), random.Random(seed)
        name = f"history {seed} ({lived.way or 'default'}{', soft' if lived.soft else ''})"
        home, twin_home = self.folder / f"{seed}-dying", self.folder / f"{seed}-twin"
        twin = self._uninterrupted(lived, twin_home)
        expectation = Expectation(lived)
        terminated = self.figures.fired["SIGTERM"]
        for number, step in enumerate(lived.steps):
            for _ in range(dice.choice((1, 1, 2))):
                self._deadly_attempt(name, lived, step, home, twin, number, dice)
            self._recover(name, lived, step, home)
            if expectation.take(step):
                self.figures.seen[_kind(step, expectation)] += 1
            state = read_state(home, lived.ref)
            found = oracles.always(state)
            found += oracles.false_deletes(state, lived.alive())
            found += oracles.leaked_across_tenants(
                state, lambda attributes: attributes.get("tenant") == lived.ref.partition_key
            )
            # Left to itself the platform may wait for a second look after an interruption;
            # the closing syncs give it that.
            if lived.way is not None or number == len(lived.steps) - 1:
                found += oracles.against(state, expectation.users)
            if lived.way is not None:
                as_grouped = self.figures.fired["SIGTERM"] == terminated
                found += oracles.differs(state, twin.states[number], batches=as_grouped)
            self.figures.judge(f"{name}, {step.act} {step.sync_id}", found)
            self.figures.seen["records checked"] += len(state.latest) + len(state.staging)
        self._look_after(name, lived, home)
        self.figures.seen["histories"] += 1
        self._forget(home, twin_home)

    def _look_after(self, name: str, lived: History, home: Path) -> None:
        """Where workers left something behind in a lake, upkeep takes that and nothing else."""
        before = read_state(home, lived.ref)
        if not before.stored:
            return
        self.figures.seen["writes that nothing named"] += len(oracles.left_behind(before))
        settings = installation(home)
        records = warehouses(settings, warehouse_layout())
        with patch.object(lake_upkeep, "_UNNAMED", 0), closing(records):
            records.look_after(dry_run=False)
        after = read_state(home, lived.ref)
        found = oracles.always(after) + oracles.left_behind(after) + oracles.differs(after, before)
        self.figures.judge(f"{name}, looked after", found)

    def _uninterrupted(self, lived: History, home: Path) -> Twin:
        twin = Twin([], [], [])
        expectation = Expectation(lived)
        for step in lived.steps:
            moments = Moments()
            started = time.perf_counter()
            with worker.open_platform(home, lived, step, moments) as platform:
                worker.take(platform, lived, step)
            twin.seconds.append(time.perf_counter() - started)
            twin.moments.append(moments.names)
            twin.states.append(read_state(home, lived.ref))
            expectation.take(step)
            self.figures.judge(
                f"history {lived.seed}, uninterrupted, {step.act} {step.sync_id}",
                oracles.always(twin.states[-1])
                + oracles.against(twin.states[-1], expectation.users),
            )
        return twin

    def _deadly_attempt(
        self,
        name: str,
        lived: History,
        step: Step,
        home: Path,
        twin: Twin,
        number: int,
        dice: random.Random,
    ) -> None:
        names = twin.moments[number]
        chance = dice.random()
        if chance < 0.2:
            fired = f"SIGKILL {RANDOM}"
            status = self._killed_after(home, lived, step, dice.uniform(0, twin.seconds[number]))
        else:
            death: Death = "SIGKILL" if chance < 0.8 else dice.choice(_DEATHS)
            fatal = self._rarest(twin, number, dice)
            fired = f"SIGKILL {names[fatal]}" if death == "SIGKILL" else death
            status = self._dies(home, lived, step, fatal, death)
        if status in _STATUS:
            self._deaths += 1
            self.figures.fired[fired] += 1
            self.figures.seen["workers killed"] += 1
        elif status not in (0, 3):
            broken = Violation("worker broke", lived.ref.partition_key, f"exit {status}")
            self.figures.judge(f"{name}, {step.act} {step.sync_id}", [broken])

    def _rarest(self, twin: Twin, number: int, dice: random.Random) -> int:
        """A moment of the kind visited least so far, and among those met in the fewest steps."""
        names = twin.moments[number]
        met = Counter(name for step in twin.moments for name in set(step))
        ranks = [
            (self.figures.fired[f"SIGKILL {name}"], name not in self.boundaries, met[name])
            for name in names
        ]
        return dice.choice([n for n, rank in enumerate(ranks) if rank == min(ranks)])

    def _dies(
        self, home: Path, lived: History, step: Step, fatal: int, death: Death = "SIGKILL"
    ) -> int:
        before, served = self._landed(home, lived), len(_served(home))
        process = self._context.Process(target=worker.work, args=(home, lived, step, fatal, death))
        process.start()
        process.join()
        self._check_pages(home, lived, step, before, served)
        return int(process.exitcode)

    def _killed_after(self, home: Path, lived: History, step: Step, seconds: float) -> int:
        before, served = self._landed(home, lived), len(_served(home))
        process = self._context.Process(target=worker.work, args=(home, lived, step))
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        self._check_pages(home, lived, step, before, served)
        return int(process.exitcode)

    def _landed(self, home: Path, lived: History) -> dict[str, int]:
        if not has_begun(home):
            return {}
        return landed(home, lived.ref)

    def _check_pages(
        self, home: Path, lived: History, step: Step, before: dict[str, int], served: int
    ) -> None:
        pages = _served(home)[served:]
        self.figures.seen["pages served"] += len(pages)
        self.figures.judge(
            f"history {lived.seed}, {step.sync_id}",
            # What maps kept records again has no page to ask for.
            oracles.refetched(
                State(lived.ref),
                sys.maxsize if step.act == "retry" else before.get(step.sync_id, 0),
                pages,
            ),
        )

    def _recover(self, name: str, lived: History, step: Step, home: Path) -> None:
        before, served = self._landed(home, lived), len(_served(home))
        with worker.open_platform(home, lived, step, Moments()) as platform:
            outcome = worker.take(platform, lived, step)
        if outcome is not None and not outcome.status.settled:
            stuck = Violation("does not settle", outcome.partition, outcome.error or "")
            self.figures.judge(f"{name}, {step.sync_id}", [stuck])
        self._check_pages(home, lived, step, before, served)

    def _lose_power(self, seed: int) -> None:
        """Kill a worker, cut the logs of both stores anywhere, and see what is made of it."""
        lived, dice = history(seed, plain=True), random.Random(seed)
        home, twin_home = self.folder / f"{seed}-power", self.folder / f"{seed}-twin"
        twin = self._uninterrupted(lived, twin_home)
        cut_at = dice.randrange(len(lived.steps) - 1)
        for step in lived.steps[:cut_at]:
            with worker.open_platform(home, lived, step, Moments()) as platform:
                worker.take(platform, lived, step)
        step, names = lived.steps[cut_at], twin.moments[cut_at]
        # Most is at stake once the latest table has changed and its file is not closed yet.
        applied = names.index("after the commit of applying")
        fatal = dice.randrange(*dice.choice(((0, applied), (applied, len(names) - 1))))
        self._dies(home, lived, step, fatal)
        whole = self.folder / f"{seed}-whole"
        shutil.copytree(home, whole)
        for again, (accident, strike) in enumerate(
            ((CUT, _cut_tails), (CUT, _cut_tails), (CUT, _cut_tails), (TORN, _tear_a_page))
        ):
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(whole, home)
            struck = strike(home, dice)
            if struck:
                self.figures.fired[accident] += 1
                self._heal(f"power loss {seed}.{again}, {struck}", lived, step, home)
        self._forget(home, twin_home, whole)

    def _heal(self, name: str, lived: History, step: Step, home: Path) -> None:
        """Sync until the end of the history; on the way right or loudly not applied."""
        reported = 0
        for following in lived.steps[lived.steps.index(step) :]:
            attempt = self._attempt(lived, following, home)
            while isinstance(attempt, str):
                reported += 1
                if reported > 10:
                    stuck = Violation("does not settle", lived.ref.partition_key, attempt)
                    self.figures.judge(name, [stuck])
                    return
                self._remedy(attempt, lived, following, home)
                attempt = self._attempt(lived, following, home)
            outcome, state = attempt
            expectation = Expectation(lived)
            expectation.take(following)
            # Whoever left while deletes wait for a second look may still be there.
            found = oracles.lost(state, expectation.users) + oracles.stale(state, expectation.users)
            if following is lived.steps[-1]:
                found += oracles.not_in_truth(state, expectation.users)
            found += oracles.changed_twice(state)
            if not outcome.recorded:
                # A sync that the ledger knows as applied is not done again; the next one
                # finds what the log lacks.
                found += oracles.does_not_replay(state)
            found += oracles.false_deletes(state, lived.alive()) + oracles.duplicated(state)
            self.figures.judge(f"{name}, then {following.sync_id}", found)
            self.figures.seen["records checked"] += len(state.latest) + len(state.staging)
        self.figures.seen[REPORTED] += bool(reported)
        self.figures.seen["power losses"] += 1

    def _attempt(self, lived: History, step: Step, home: Path) -> tuple[Outcome, State] | str:
        """A sync and all it left behind, or what was said about not being able to."""
        try:
            with worker.open_platform(home, lived, step, Moments()) as platform:
                outcome = worker.take(platform, lived, step)
            assert outcome is not None
            if outcome.status is Status.FAILED:
                return outcome.error or "no reason"
            return outcome, read_state(home, lived.ref)
        except EltAssetsError as error:
            return str(error)

    def _remedy(self, complaint: str, lived: History, step: Step, home: Path) -> None:
        """Do what the error says."""
        if "rebuild it from the change logs" in complaint:
            for file in home.glob("oltp.db*"):
                file.unlink()
        with worker.open_platform(home, lived, step, Moments()) as platform:
            if "move it away" in complaint:
                platform.warehouses.remove(lived.ref)
            elif "rebuild" in complaint:
                platform.registry.add(lived.ref, "rest", lived.provider_data(), if_absent=True)
                with suppress(InvalidInput):
                    # Nothing was ever logged, or not all: then the next sync is the remedy.
                    platform.rebuild(USERS, lived.ref)

    def _forget(self, *homes: Path) -> None:
        for home in homes:
            forget(home)
            worker.served_file(home).unlink(missing_ok=True)


def _kind(step: Step, expectation: Expectation) -> str:
    if step.act != "sync":
        return f"steps: {step.act}"
    return "steps: full sync" if expectation.everybody else "steps: incremental sync"


def _cut_tails(home: Path, dice: random.Random) -> str:
    """Cut one or both write-ahead logs at any byte; say which and where."""
    logs = [
        path
        for path in sorted((*home.rglob("*.wal"), *home.glob("*-wal")))
        if path.stat().st_size > 0
    ]
    told = []
    for path in dice.sample(logs, dice.randint(1, len(logs))) if logs else []:
        size = path.stat().st_size
        keep = dice.randrange(size)
        with path.open("r+b") as file:
            file.truncate(keep)
        told.append(f"{path.name} cut from {size} to {keep}")
    (home / "oltp.db-shm").unlink(missing_ok=True)
    return ", ".join(told)


def _tear_a_page(home: Path, dice: random.Random) -> str:
    """Write zeros over a page of one store, or end its file there; say which and where."""
    files = (*home.glob("oltp.db"), *sorted(home.rglob("*.duckdb")))
    written = [file for file in files if file.stat().st_size]
    if not written:
        return ""
    file = dice.choice(written)
    size = file.stat().st_size
    length = _PAGE[file.suffix]
    place = dice.randrange(0, size, length)
    with file.open("r+b") as opened:
        if dice.random() < 0.3:
            opened.truncate(place)
            return f"{file.name} ends at {place} of {size}"
        opened.seek(place)
        opened.write(bytes(min(length, size - place)))
    return f"{file.name} has zeros at {place} of {size}"


def _served(home: Path) -> list[int]:
    file = worker.served_file(home)
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def boundaries_of(settings: Settings) -> frozenset[str]:
    """Every kind of moment between two writes that the stores have."""
    return BOUNDARIES if settings.warehouse_url is None else BOUNDARIES_ON_A_LAKE


def missing_boundaries(figures: Figures) -> list[str]:
    """The kinds of death, and of steps to die in, that a campaign should have seen and did not."""
    settings = load_settings()
    required = {f"SIGKILL {boundary}" for boundary in boundaries_of(settings)} | _DEADLY
    seen = STEPS
    if settings.operational_url is None:
        # A loss of power is played on files; a server has its own.
        required, seen = required | {CUT, TORN}, seen | {REPORTED}
    return [
        *figures.never_fired(required),
        *sorted(seen - {name for name, times in figures.seen.items() if times}),
    ]
