"""Two honest tenants and a hostile one in one run, attack by attack: what it costs the honest ones.

Each run has a process of its own. The attacks stand in `attacks`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.hostile.attacks import ATTACKS, Hostile, rest
from elt_assets_tests.campaign.oracles import Violation
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

MOST_TIMES = 1.5
"""How much longer the honest ones may take."""
MOST_PAIRS = 4
"""How often an attack is repeated before its time counts."""
MOST_BYTES = 6 * 64 * 2**20
"""How much more memory a run may take: six times the largest page."""
PAGES, PAGE_SIZE = 50, 100
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
    described = "" if hostile is None else json.dumps(asdict(hostile))
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(home), honest_url, described],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return Run(found["seconds"], found["peak"], tuple(found["honest"]), found["hostile"])


def hostile_campaign(folder: Path, repeats: int, names: tuple[str, ...] = ()) -> Figures:
    """Every attack, or those named, each in so many runs.

    What else the machine does meanwhile makes runs slower. An attack that takes too long is
    repeated next to a run without it, and the best of these pairs counts.
    """
    figures = Figures("hostile neighbours")
    with Provider(honest) as provider:

        def runs_of(name: str, hostile: Hostile | None, first: int, count: int) -> list[Run]:
            return [
                run(folder / f"{name.replace(' ', '-')}-{n}", provider.url, hostile)
                for n in range(first, first + count)
            ]

        alone = runs_of("alone", None, 0, 2)
        seconds = min(one.seconds for one in alone)
        memory = min(one.peak for one in alone)
        figures.seen["ms for the honest ones alone"] = round(seconds * 1000)
        figures.seen["MiB for the honest ones alone"] = memory >> 20
        for name in names or tuple(ATTACKS):
            made = folder / f"of {name}"
            made.mkdir()
            with ATTACKS[name](made) as hostile:
                runs = runs_of(name, hostile, 0, repeats)
                times = min(one.seconds for one in runs) / seconds
                for pair in range(repeats, repeats + MOST_PAIRS):
                    if times <= MOST_TIMES:
                        break
                    (without,) = runs_of(f"alone next to {name}", None, pair, 1)
                    runs += runs_of(name, hostile, pair, 1)
                    times = min(times, runs[-1].seconds / without.seconds)
            peak = max(one.peak for one in runs)
            figures.seen[f"% of that time: {name}"] = round(times * 100)
            figures.seen[f"MiB: {name}"] = peak >> 20
            figures.fired[f"attack: {name}"] += sum(one.hostile == "failed" for one in runs)
            figures.judge(name, _violations(name, times, peak - memory, runs))
    figures.missing = figures.never_fired(f"attack: {name}" for name in names or ATTACKS)
    return figures


def _violations(name: str, times: float, more: int, runs: list[Run]) -> Iterator[Violation]:
    if times > MOST_TIMES:
        yield Violation("slower", name, f"the honest ones took {times:.2f} times as long")
    if more > MOST_BYTES:
        yield Violation("memory", name, f"{more:,} bytes more")
    if any(status != "applied" for one in runs for status in one.honest):
        yield Violation("harmed", name, str([one.honest for one in runs]))


def main(home: str, honest_url: str, attack: str) -> None:
    """One run; prints its figures as JSON."""
    from elt_assets.config.settings import load_settings
    from elt_assets.identifiers import IntegrationRef
    from elt_assets.sync.service import SyncService
    from elt_assets.sync.streams import USERS

    settings = load_settings(home=Path(home), fetch_attempts=1, request_timeout=3)
    refs = [IntegrationRef("acme", "main"), IntegrationRef("globex", "main")]
    hostile = IntegrationRef("evil", "main")
    places = dict.fromkeys(refs, rest(honest_url))
    if attack:
        # The hostile one first: it has its slot when the others begin.
        places = {hostile: Hostile(**json.loads(attack)), **places}
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
    print(
        json.dumps(
            {
                "seconds": seconds,
                "peak": peak,
                "honest": [status[str(ref)] for ref in refs],
                "hostile": status.get(str(hostile)),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:4])
