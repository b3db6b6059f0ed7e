"""Two honest tenants and a hostile one in one run, attack by attack: what it costs the honest ones.

Each run has a process of its own. The attacks stand in `attacks`.
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.hostile.attacks import ATTACKS, Hostile, rest
from elt_assets_tests.campaign.oracles import Violation
from elt_assets_tests.campaign.shares import PRELOADED
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

MOST_TIMES = 1.5
"""How much longer the honest ones may take."""
MOST_PAIRS = 4
"""How often an attack is repeated before its time counts."""
MOST_BYTES = 6 * 64 * 2**20
"""How much more memory a run may take: six times the largest page."""
PAGES, PAGE_SIZE = 50, 100
_AT_ONCE = 2
_ANSWERS_AFTER = 0.04


@dataclass(frozen=True)
class Run:
    """What one run came to."""

    seconds: float
    """Until the last honest tenant was done."""
    peak: int
    honest: tuple[str, ...]
    hostile: str | None


def honest(asked: Asked) -> Reply:
    """Fifty pages of people, each after a moment."""
    number = int(asked.query.get("cursor", "0"))
    time.sleep(_ANSWERS_AFTER)
    people = [
        {"id": f"u-{number}-{n}", "name": f"Person {n}", "email": f"p{n}@example.com"}
        for n in range(PAGE_SIZE)
    ]
    return as_json({"items": people, "next": str(number + 1) if number + 1 < PAGES else None})


def run(home: Path, honest_url: str, hostile: Hostile | None) -> Run:
    """Sync the tenants once, in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "elt_assets.connectors.sql.sql_source", *PRELOADED])
    with ProcessPoolExecutor(1, context) as process:
        return process.submit(synced, home, honest_url, hostile).result()


def hostile_campaign(folder: Path, repeats: int, names: tuple[str, ...] = ()) -> Figures:
    """Every attack, or those named, each in so many runs.

    Attacks run at once, because most of a run is waiting. What else the machine does meanwhile
    makes runs slower. An attack that takes too long is repeated by itself, next to a run without
    it, and the best of these pairs counts.
    """
    figures = Figures("hostile neighbours")
    chosen = names or tuple(ATTACKS)
    with Provider(honest) as provider:

        def runs_of(name: str, hostile: Hostile | None, first: int, count: int) -> list[Run]:
            return [
                run(folder / f"{name.replace(' ', '-')}-{n}", provider.url, hostile)
                for n in range(first, first + count)
            ]

        def attacked(name: str) -> list[Run]:
            with _attack(name, folder / f"of {name}") as hostile:
                return runs_of(name, hostile, 0, repeats)

        alone = runs_of("alone", None, 0, 2)
        seconds = min(one.seconds for one in alone)
        memory = min(one.peak for one in alone)
        figures.seen["ms for the honest ones alone"] = round(seconds * 1000)
        figures.seen["MiB for the honest ones alone"] = memory >> 20
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            attacks = dict(zip(chosen, pool.map(attacked, chosen), strict=True))
        for name, runs in attacks.items():
            times = min(one.seconds for one in runs) / seconds
            for pair in range(repeats, repeats + MOST_PAIRS):
                if times <= MOST_TIMES:
                    break
                (without,) = runs_of(f"alone next to {name}", None, pair, 1)
                with _attack(name, folder / f"of {name}, {pair}") as hostile:
                    runs += runs_of(name, hostile, pair, 1)
                times = min(times, runs[-1].seconds / without.seconds)
            peak = max(one.peak for one in runs)
            figures.seen[f"% of that time: {name}"] = round(times * 100)
            figures.seen[f"MiB: {name}"] = peak >> 20
            figures.fired[f"attack: {name}"] += sum(one.hostile == "failed" for one in runs)
            figures.judge(name, _violations(name, times, peak - memory, runs))
    figures.missing = figures.never_fired(f"attack: {name}" for name in chosen)
    return figures


@contextmanager
def _attack(name: str, made: Path) -> Iterator[Hostile]:
    made.mkdir()
    with ATTACKS[name](made) as hostile:
        yield hostile


def _violations(name: str, times: float, more: int, runs: list[Run]) -> Iterator[Violation]:
    if times > MOST_TIMES:
        yield Violation("slower", name, f"the honest ones took {times:.2f} times as long")
    if more > MOST_BYTES:
        yield Violation("memory", name, f"{more:,} bytes more")
    if any(status != "applied" for one in runs for status in one.honest):
        yield Violation("harmed", name, str([one.honest for one in runs]))


def synced(home: Path, honest_url: str, attack: Hostile | None) -> Run:
    """What that process does."""
    logging.disable(logging.CRITICAL)
    settings = load_settings(home=home, fetch_attempts=1, request_timeout=3)
    refs = [IntegrationRef("acme", "main"), IntegrationRef("globex", "main")]
    hostile = IntegrationRef("evil", "main")
    places = dict.fromkeys(refs, rest(honest_url))
    if attack is not None:
        # The hostile one first: it has its slot when the others begin.
        places = {hostile: attack, **places}
    status: dict[str, str] = {}
    with SyncService.open(settings) as platform:
        for ref, one in places.items():
            platform.registry.add(ref, one.provider, one.data)
        begun = time.monotonic()
        seconds = 0.0
        for outcome in platform.sync(USERS, list(places), sync_id="s1"):
            status[outcome.partition] = str(outcome.status)
            if outcome.partition != str(hostile):
                seconds = time.monotonic() - begun
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    honest_ones = tuple(status[str(ref)] for ref in refs)
    return Run(seconds, peak, honest_ones, status.get(str(hostile)))
