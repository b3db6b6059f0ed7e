"""The chaos campaign: chains of scenarios over real HTTP into real stores, judged at each step.

Chains run in as many processes as there are cores, each with an installation and a provider of its
own. The scenarios are drawn in `scenarios`; a sync is judged in `verdicts` and `oracles`; the
embedded provider injects the faults.
"""

from __future__ import annotations

import io
import logging
import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from elt_assets.config.settings import load_settings
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.registration import provider_data
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.campaign.chaos.scenarios import Chain, Scenario, chains
from elt_assets_tests.campaign.chaos.verdicts import Scene, Users, healed, judge
from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.oracles import (
    Violation,
    always,
    false_deletes,
    leaked_across_tenants,
    leaked_secrets,
)
from elt_assets_tests.campaign.shares import in_shares
from elt_assets_tests.campaign.state import read_state
from elt_assets_tests.testbed.faulty_provider.chaos import FAULTS
from elt_assets_tests.testbed.faulty_provider.fault import INCOMPLETE, RIGHT, Ending, Family
from elt_assets_tests.testbed.faulty_provider.faulty_process import FaultyProvider

TOKEN = "the-token-that-no-file-may-hold"
SEED = 20_261_122
_AT_ONCE = 12
"""Chains at a time in each process. Most of them wait for a provider."""
_HEALINGS = 4
_EVERY_ENDING = frozenset(Ending)


def campaign(
    scenarios: int, *, seed: int = SEED, processes: int | None = None, heal_each: bool = True
) -> Figures:
    """Run so many scenarios; without `heal_each` chains are healed at their end only."""
    all_chains = chains(seed, scenarios)
    workers = processes or os.cpu_count() or 1
    shares = [share for n in range(workers) if (share := all_chains[n::workers])]
    run = partial(run_share, seed=seed, heal_each=heal_each)
    return in_shares(f"chaos (seed {seed})", run, shares, processes)


def run_share(share: Sequence[Chain], seed: int, heal_each: bool) -> Figures:
    """Run chains side by side against one installation and one provider."""
    figures = Figures("share")
    with TemporaryDirectory(prefix="chaos-") as folder, _logged() as logged:
        home = Path(folder) / "home"
        layout = DemoLayout(
            integrations=0,
            others={str(chain.ref): chain.users for chain in share},
            seed=seed,
        )
        with FaultyProvider(layout, token=TOKEN) as provider, _platform(home) as platform:

            def run(chain: Chain) -> Figures:
                # A file of its own: integrations with one secret wait for each other's quota.
                token = Path(folder) / f"token-{chain.number}"
                token.write_text(TOKEN)
                return ChainRun(chain, platform, provider, home, token, heal_each).run()

            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for part in pool.map(run, share):
                    figures.add(part)
        figures.judge("home", leaked_secrets(home, [TOKEN]))
        if TOKEN in logged.getvalue():
            figures.judge("log", [Violation("leaked secret", "all", "in the log")])
    return figures


@dataclass
class ChainRun:
    """One chain on its way."""

    chain: Chain
    platform: SyncService
    provider: FaultyProvider
    home: Path
    token: Path
    heal_each: bool
    syncs: int = 0
    most: int = 0
    alive: dict[str, list[str]] = field(default_factory=dict)
    figures: Figures = field(default_factory=lambda: Figures("chain"))

    def run(self) -> Figures:
        """Go through all scenarios and heal."""
        chain = self.chain
        self.platform.registry.add(chain.ref, "rest", self._provider_data())
        for number, scenario in enumerate(chain.scenarios):
            name = f"chain {chain.number} scenario {number} {scenario.fault}"
            self._scenario(name, scenario)
            following = chain.scenarios[number + 1 :]
            # Users are asked for only if so few are missing that their deletes may pass.
            asks = bool(following) and FAULTS[following[0].fault].single is not None
            if (self.heal_each and chain.heals) or asks or not following:
                self._heal(name)
            self.figures.seen["scenarios"] += 1
            self.figures.seen[f"scenarios with {chain.pages}"] += 1
        state = read_state(self.home, chain.ref)
        name = f"chain {chain.number}"
        self.figures.judge(name, always(state))
        self.figures.judge(name, false_deletes(state, self.alive))
        self.figures.judge(name, leaked_across_tenants(state, lambda _: True))
        self.figures.seen["changes checked"] += len(state.log)
        return self.figures

    def _scenario(self, name: str, scenario: Scenario) -> None:
        ref = self.chain.ref
        start = self._live(scenario, self._truth())
        before = self._users()
        self.provider.order_chaos(ref, scenario.plan(len(start), self.chain.page_size))
        outcome = self._sync()
        suffered = self.provider.lift_chaos(ref)
        end = self._truth()
        self.alive[outcome.sync_id] = sorted(start.keys() & end.keys())
        scene = Scene(
            before=before,
            after=self._users(),
            start=start,
            end=end,
            outcome=outcome,
            touched=frozenset(suffered.keys) | self._shifted(scenario, start, end),
            said=frozenset(suffered.keys)
            if FAULTS[scenario.fault].family is Family.LIE
            else frozenset(),
            most=self.most,
        )
        happened = suffered.fired.keys() & {scenario.fault, scenario.companion}
        self._judged(name, scene, self._allowed(scenario) if happened else RIGHT)
        self.figures.fired.update(suffered.fired)
        if suffered.strayed:
            self.figures.judge(name, [Violation("leaked secret", str(ref), "strayed")])
        if scene.ending is Ending.FAILED and scenario.retried:
            self._continue(name, scene)

    def _allowed(self, scenario: Scenario) -> frozenset[Ending]:
        """How the scenario may end here.

        Of counted pages several are asked for at once: which of them a fault meets is left
        to chance, and it may be one that nobody needs. A page that is short or empty is the
        end, which the declared total gives away.
        """
        also = RIGHT | INCOMPLETE if self.chain.counted else frozenset()
        return scenario.allowed | also

    def _shifted(self, scenario: Scenario, start: Users, end: Users) -> frozenset[str]:
        """Whom counted pages may hide or show twice while people move."""
        moves = self.chain.counted and FAULTS[scenario.fault].family is Family.WORLD
        return frozenset(start.keys() | end.keys()) if moves else frozenset()

    def _continue(self, name: str, failed: Scene) -> None:
        """Try the failed sync again, now that the provider behaves."""
        outcome = self._sync(failed.outcome.sync_id)
        self.figures.seen["failed syncs continued"] += 1
        self.figures.seen["batches not fetched again"] += outcome.resumed_batches
        scene = Scene(
            before=failed.after,
            after=self._users(),
            start=failed.start,
            end=failed.end,
            outcome=outcome,
            touched=failed.touched,
            said=failed.said,
            most=failed.most,
        )
        # A cursor that only the fault knew leads nowhere now, so it may fail again.
        self._judged(f"{name}, continued", scene, _EVERY_ENDING)

    def _judged(self, name: str, scene: Scene, allowed: frozenset[Ending]) -> None:
        self.figures.judge(name, judge(scene, allowed))
        self.figures.seen["records checked"] += len(scene.after)
        self.figures.seen[f"ended {scene.ending}"] += 1
        self.figures.seen["deletes applied"] += scene.outcome.counts.deletes
        if TOKEN in str(scene.outcome):
            self.figures.judge(name, [Violation("leaked secret", scene.outcome.partition, "said")])

    def _heal(self, name: str) -> None:
        """Sync until the table is as the provider is, as an operator would."""
        truth = self._truth()
        users = self._users()
        if users == truth:
            self.figures.seen["needed no healing"] += 1
            return
        for _ in range(_HEALINGS):
            outcome = self._sync()
            self.alive[outcome.sync_id] = sorted(truth)
            self.figures.seen["healing syncs"] += 1
            if outcome.status is Status.QUARANTINED and outcome.certificate.complete:
                self.platform.approve(self.chain.ref, "the campaign")
                self.figures.seen["quarantines approved"] += 1
            users = self._users()
            if users == truth:
                return
        self.figures.judge(name, healed(str(self.chain.ref), users, truth))

    def _live(self, scenario: Scenario, truth: Users) -> Users:
        """Let people leave, change and join; returns who is there then."""
        dice = random.Random(scenario.seed)
        picked = dice.sample(sorted(truth), min(scenario.leave + scenario.change, len(truth)))
        if not (picked or scenario.join):
            return truth
        self.provider.edit(
            self.chain.ref,
            remove=picked[: scenario.leave],
            change={
                key: {"profile": {"displayName": f"Renamed {scenario.seed}"}}
                for key in picked[scenario.leave :]
            },
            add=scenario.join,
        )
        return self._truth()

    def _sync(self, sync_id: str | None = None) -> Outcome:
        if sync_id is None:
            self.syncs += 1
            sync_id = f"sync-{self.syncs:03}"
        (outcome,) = self.platform.sync(
            USERS,
            [self.chain.ref],
            sync_id=sync_id,
            pages_per_batch=self.chain.pages_per_batch,
        )
        self.figures.seen["syncs"] += 1
        return outcome

    def _users(self) -> Users:
        rows = self.platform.records(USERS, self.chain.ref)
        users = {row["external_id"]: _content(row) for row in rows}
        self.most = max(self.most, len(users))
        if len(users) != len(rows):
            violation = Violation("duplicated", str(self.chain.ref), "a key with two rows")
            self.figures.judge("latest", [violation])
        return users

    def _truth(self) -> Users:
        return {user["external_id"]: _content(user) for user in self.provider.truth(self.chain.ref)}

    def _provider_data(self) -> dict[str, Any]:
        data = provider_data(
            self.provider.url,
            self.chain.ref,
            {"file": str(self.token)},
            limit=None if self.chain.counted else self.chain.page_size,
            single=self.chain.single,
        )
        users = data["streams"]["users"]
        if not self.chain.total:
            del users["total"]
        if self.chain.counted:
            counted = {"size_param": "limit", "size": self.chain.page_size}
            kind = {"numbers": "page", "offsets": "offset"}[self.chain.pages]
            users["pagination"] = {"type": kind, "param": kind, **counted}
            data["rate_limit"] = {"concurrency": 4}
        if self.chain.grace:
            data["safeguards"] = {"delete_confirmation": "grace"}
        return data


def never_often_enough(figures: Figures, least: int) -> dict[str, int]:
    """Every fault that happened less than `least` times, with how often it did."""
    return {name: figures.fired[name] for name in FAULTS if figures.fired[name] < least}


def _content(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("name", "email", "active", "attributes")}


@contextmanager
def _platform(home: Path) -> Iterator[SyncService]:
    settings = load_settings(
        home=home,
        fetch_attempts=4,
        fetch_first_wait=0.01,
        request_timeout=1.5,
        page_bytes=4 * 2**20,
        max_pages=40,
    )
    with SyncService.open(settings) as platform:
        yield platform


@contextmanager
def _logged() -> Iterator[io.StringIO]:
    """Everything that is logged meanwhile, at any level."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
