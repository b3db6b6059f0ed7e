"""The concurrency campaign: several processes at the same few integrations at the same time.

It starts clients, kills one now and then, and judges their notes and the stores. For each
integration, some order of the operations must explain every result.
"""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from elt_assets.errors import InvalidInput
from elt_assets.sync.outcome import Mode, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.campaign import oracles
from elt_assets_tests.campaign.concurrency import client
from elt_assets_tests.campaign.concurrency.client import Note, Shared
from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.histories import Expectation, History, Step, history
from elt_assets_tests.campaign.oracles import Violation
from elt_assets_tests.campaign.shares import PRELOADED, in_shares
from elt_assets_tests.campaign.state import State, forget, read_state

CLIENTS = 4
SHARES = 6
REQUIRED = {
    f"{act} {result}"
    for act, result in (
        ("sync", "applied"),
        ("sync", "unchanged"),
        ("approve", "applied"),
        ("undo", "applied"),
        ("rebuild", "done"),
        ("remove", "done"),
        ("disable", "done"),
        ("read", "done"),
        ("changes", "done"),
    )
} | {"client killed"}
_EXPECTED_REFUSALS = ("InvalidInput", "NotFound", "WarehouseBusy", "DatabaseBusy")


class Share(NamedTuple):
    """A part of the campaign."""

    folder: Path
    seeds: range


def concurrency_campaign(folder: Path, scenarios: int, seed: int = 0) -> Figures:
    """So many scenarios, in shares that run side by side."""
    seeds = range(seed, seed + scenarios)
    shares = [Share(folder / f"share-{n}", seeds[n::SHARES]) for n in range(SHARES)]
    return in_shares("concurrency", run_share, shares)


def run_share(share: Share) -> Figures:
    """One part of the campaign."""
    share.folder.mkdir()
    campaign = ConcurrencyCampaign(share.folder)
    for seed in share.seeds:
        campaign.scenario(seed)
    return campaign.figures


@dataclass
class ConcurrencyCampaign:
    """Runs scenarios of a few processes sharing a few integrations."""

    folder: Path
    seed: int = 0
    figures: Figures = field(default_factory=lambda: Figures("concurrency"))
    _context: Any = field(default_factory=lambda: multiprocessing.get_context("forkserver"))

    def __post_init__(self) -> None:
        self._context.set_forkserver_preload([client.__name__, *PRELOADED])

    def run(self, scenarios: int, operations: int = 25) -> Figures:
        """Run so many scenarios, each client doing so many operations."""
        for number in range(scenarios):
            self.scenario(self.seed + number, operations)
        return self.figures

    def scenario(self, seed: int, operations: int = 25) -> None:
        """Run the scenario of that seed."""
        dice = random.Random(seed)
        shared = Shared(self.folder / f"{seed}-home", _histories(seed))
        with shared.platform() as platform:
            for lived in shared.histories:
                platform.registry.add(lived.ref, "rest", lived.provider_data())
        processes = [
            self._context.Process(target=client.live, args=(shared, 100 * seed + n, operations))
            for n in range(CLIENTS)
        ]
        for process in processes:
            process.start()
        if dice.random() < 0.5:
            # A client is killed in the middle of its operation.
            processes[0].join(dice.uniform(0.5, 3))
            if processes[0].exitcode is None:
                processes[0].kill()
                self.figures.fired["client killed"] += 1
        for process in processes:
            process.join()
        notes = _notes(shared)
        for note in notes:
            self.figures.fired[f"{note.act} {note.status or 'done'}"] += 1
        with shared.platform() as platform:
            for lived in shared.histories:
                _register_again(platform, lived)
        for lived in shared.histories:
            name = f"scenario {seed}"
            mine = [note for note in notes if note.partition == lived.ref.partition_key]
            self.figures.judge(name, _unexpected(lived, mine))
            self.figures.judge(name, self._judge(shared, lived, mine))
            self.figures.judge(name, self._close(shared, lived))
        self.figures.seen["scenarios"] += 1
        self.figures.seen["operations"] += len(notes)
        forget(shared.home)
        for path in self.folder.glob(f"{seed}-home*"):
            path.unlink()

    def _judge(self, shared: Shared, lived: History, notes: list[Note]) -> list[Violation]:
        state = read_state(shared.home, lived.ref)
        self.figures.seen["records checked"] += len(state.latest) + len(state.staging)
        with shared.platform() as platform:
            epoch = platform.registry.get(lived.ref).created_at
        mine = [note for note in notes if note.epoch]
        listed = {
            lived.days[day].alive
            for partition, day in _listed(shared)
            if partition == lived.ref.partition_key
        }
        always_there = frozenset.intersection(*listed) if listed else frozenset()
        alive = {f"sync-{number}": always_there for number in range(client.SYNC_IDS)}
        return [
            *oracles.always(state),
            *oracles.false_deletes(state, alive),
            *oracles.leaked_across_tenants(
                state, lambda attributes: attributes.get("tenant") == lived.ref.partition_key
            ),
            *out_of_time(lived, mine),
            *unexplained(state, [note for note in mine if note.epoch == epoch]),
        ]

    def _close(self, shared: Shared, lived: History) -> list[Violation]:
        """Left alone the integration comes right, and removed it is gone."""
        for _ in lived.days:
            shared.next_day(lived)
        with shared.platform() as platform:
            platform.registry.set_enabled(lived.ref, True)
            for again in range(3):
                for outcome in platform.sync(
                    USERS, [lived.ref], sync_id=f"closing-{again}", mode=Mode.FULL
                ):
                    if outcome.status is Status.QUARANTINED:
                        platform.approve(lived.ref, "the campaign")
        state = read_state(shared.home, lived.ref)
        expectation = Expectation(lived)
        expectation.take(Step("sync", len(lived.days) - 1, ""))
        found = oracles.always(state) + oracles.against(state, expectation.users)
        with shared.platform() as platform:
            platform.remove(lived.ref)
        gone = read_state(shared.home, lived.ref)
        tables = gone.comparable() | {"stored": gone.stored, "named": gone.named}
        left = [name for name, rows in tables.items() if rows]
        return found + [Violation("left after removal", lived.ref.partition_key, n) for n in left]


def _register_again(platform: SyncService, lived: History) -> None:
    """A client may have been killed while it removed, or before it registered again."""
    try:
        platform.registry.add(lived.ref, "rest", lived.provider_data(), if_absent=True)
    except InvalidInput:
        platform.remove(lived.ref)
        platform.registry.add(lived.ref, "rest", lived.provider_data())


def out_of_time(lived: History, notes: list[Note]) -> list[Violation]:
    """Operations that ended before others began and yet came after them, or at the same time."""
    settled = [note for note in notes if note.version is not None]
    return [
        Violation("order", lived.ref.partition_key, f"{one.sync_id} and {other.sync_id}")
        for one, other in combinations(sorted(settled, key=lambda note: note.begun), 2)
        if one.epoch == other.epoch
        and (
            one.version == other.version
            or (one.ended < other.begun and (one.version or 0) > (other.version or 0))
        )
    ]


def unexplained(state: State, notes: list[Note]) -> list[Violation]:
    """Readings that show the latest table as it was at no moment of the reading."""
    contents: list[list[tuple[str, str]]] = [[]]
    rows: dict[str, str] = {}
    for version in range(1, state.version + 1):
        for change in state.log:
            if change["version"] == version:
                if change["change_type"] == "DELETE":
                    rows.pop(change["external_id"], None)
                else:
                    rows[change["external_id"]] = change["content_hash"]
        contents.append(sorted(rows.items()))
    return [
        Violation("unexplained reading", state.ref.partition_key, str(note.versions))
        for note in notes
        if note.act == "read"
        and not note.error
        and note.seen not in contents[note.versions[0] : note.versions[1] + 1]
    ]


def missing_operations(figures: Figures) -> list[str]:
    """What should have happened at least once and did not."""
    return figures.never_fired(REQUIRED)


def _histories(seed: int) -> list[History]:
    made: list[History] = []
    number = 1_000 * seed
    while len(made) < 3:
        lived = history(number, days=6)
        if lived.way == "none":
            # Extractions may be cut off and continued on another day: the platform decides.
            made.append(replace(lived, way=None))
        number += 1
    return made


def _unexpected(lived: History, notes: list[Note]) -> Iterator[Violation]:
    for note in notes:
        refused = note.status == "refused" and not note.error.startswith(_EXPECTED_REFUSALS)
        busy = "in use" in note.error or "locked" in note.error or "changing" in note.error
        gone = "removed" in note.error or "not registered" in note.error
        refused = refused and not gone
        if refused or (note.status == "failed" and not (busy or gone)):
            yield Violation("unexpected error", lived.ref.partition_key, note.error)


def _notes(shared: Shared) -> list[Note]:
    lines = shared.notes.read_bytes().splitlines() if shared.notes.exists() else []
    return [msgspec.json.decode(line, type=Note) for line in lines]


def _listed(shared: Shared) -> Counter[tuple[str, int]]:
    lines = shared.listings.read_bytes().splitlines() if shared.listings.exists() else []
    return Counter(tuple(msgspec.json.decode(line)) for line in lines)
